//! What is asked in the Pods, and how the answers are put together.

use serde_json::json;

use crate::fake::{Cluster, quoted};

fn services(rows: &[[&str; 7]]) -> String {
    let header = ["NAMESPACE", "NAME", "PORT", "PROTOCOL", "AFFINITY", "FRONTENDS", "BACKENDS"];
    quoted(&json!({"header": header, "rows": rows}).to_string())
}

const WEB: [&str; 7] = ["default", "web", "http", "TCP", "None", "203.0.113.10:80 + 1 more", "2/1"];
const CART: [&str; 7] = ["shop", "cart", "-", "UDP", "ClientIP", "[2001:db8::20]:53", "0/0"];

#[test]
fn rows_of_all_nodes_are_one_table_sorted_by_node() {
    let mut cluster = Cluster::new();
    cluster.pod("n2", &services(&[WEB]));
    cluster.pod("n1", &services(&[WEB, CART]));
    let said = cluster.plugin("get services -A");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let expected = "\
NODE  NAMESPACE  NAME  PORT  PROTOCOL  AFFINITY  FRONTENDS                 BACKENDS
n1    default    web   http  TCP       None      203.0.113.10:80 + 1 more  2/1
n1    shop       cart  -     UDP       ClientIP  [2001:db8::20]:53         0/0
n2    default    web   http  TCP       None      203.0.113.10:80 + 1 more  2/1
";
    assert_eq!(said.stdout, expected);

    let merged = cluster.plugin("get svc -A --merge --no-headers");
    let expected = "\
all 2  default  web   http  TCP  None      203.0.113.10:80 + 1 more  2/1
n1     shop     cart  -     UDP  ClientIP  [2001:db8::20]:53         0/0
";
    assert_eq!((merged.code, merged.stdout.as_str()), (Some(0), expected), "{merged:?}");
}

#[test]
fn the_question_goes_through_the_users_kubectl_as_it_was_asked() {
    let mut cluster = Cluster::new();
    cluster.pod("n1", &services(&[]));
    let exec = "exec --namespace=kube-system limpet-n1 --container=agent -- limpet";
    let cases = [
        ("get svc -A", "get services --cells --all-namespaces"),
        ("get services -n shop -o wide --no-headers", "get services --cells --output=wide --namespace=shop"),
        (
            "get -n shop clients web --client 198.51.100.7 --limit=5",
            "get clients --cells --client=198.51.100.7 --limit=5 --namespace=shop -- web",
        ),
        ("get nodes --node n1 --timeout 5 --at-once 1", "get nodes --cells"),
    ];
    for (asked, told) in cases {
        let said = cluster.plugin(asked);
        assert_eq!(said.code, Some(0), "{asked}: {said:?}");
        assert_eq!(*cluster.calls().last().unwrap(), format!("{exec} {told}"), "{asked}");
    }
    let said = cluster.plugin("get nodes --context other --kubeconfig /k --limpet-namespace balancing");
    assert_eq!(said.code, Some(0), "{said:?}");
    let calls = cluster.calls();
    let flags = "--context=other --kubeconfig=/k";
    let selector = "--selector app.kubernetes.io/name=limpet --output=json";
    assert_eq!(
        calls[calls.len() - 3..],
        [
            format!("{flags} get pods {selector} --namespace=balancing"),
            format!("{flags} get daemonsets {selector} --namespace=balancing"),
            format!("{flags} {exec} get nodes --cells"),
        ]
    );
}

#[test]
fn the_program_is_a_plugin_by_its_name_and_by_a_command() {
    let mut cluster = Cluster::new();
    cluster.pod("n1", &services(&[WEB]));
    let plugin = cluster.plugin("get services");
    let limpet = std::path::Path::new(env!("CARGO_BIN_EXE_limpet"));
    let command = cluster.run(limpet, &["kubectl", "get", "services"]);
    assert_eq!(plugin.stdout, command.stdout);
    assert_eq!((plugin.code, command.code), (Some(0), Some(0)));
    let calls = cluster.calls();
    assert_eq!(calls[..3], calls[3..]);
    let with_places = cluster.run(limpet, &["kubectl", "--pin-dir", "/p", "get", "services"]);
    assert_eq!(with_places.code, Some(0), "{with_places:?}");
    assert!(
        cluster.calls().last().unwrap().ends_with("limpet get services --cells --pin-dir=/p"),
        "{:?}",
        cluster.calls()
    );
    assert!(cluster.plugin("--help").stdout.contains("Usage: kubectl limpet "));
}

#[test]
fn wrong_usage_is_refused_before_anything_is_run() {
    let mut cluster = Cluster::new();
    cluster.pod("n1", "");
    let cases = [
        ("get pods", "unrecognized subcommand"),
        ("why web", "an IPv4 or IPv6 address"),
        ("get svc -n a -A", "cannot be used with"),
        ("get svc --timeout 0", "1..=3600"),
        ("agent --node n1", "unrecognized subcommand"),
        ("breaks --watch", "--watch follows one node"),
        ("forget 198.51.100.7", "--yes"),
        ("", "Usage: kubectl limpet"),
    ];
    for (line, expected) in cases {
        let said = cluster.plugin(line);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{line}: {said:?}");
        assert!(said.stderr.contains(expected), "{line}: {said:?}");
    }
    assert_eq!(cluster.calls(), Vec::<String>::new());
}

#[test]
fn no_more_nodes_at_a_time_than_is_said() {
    let mut cluster = Cluster::new();
    for node in ["n1", "n2", "n3", "n4"] {
        cluster.pod(node, &services(&[]));
    }
    assert_eq!(cluster.plugin("get services --at-once 1").code, Some(0));
    let expected: Vec<String> = ["n1", "n2", "n3", "n4"]
        .iter()
        .flat_map(|node| [format!("begin limpet-{node}"), format!("end limpet-{node}")])
        .collect();
    assert_eq!(cluster.order(), expected);
}

#[test]
fn nodes_that_say_the_same_are_told_together() {
    let mut cluster = Cluster::new();
    for (node, text) in [("n1", "to web-0"), ("n2", "to web-1"), ("n3", "to web-0")] {
        cluster.pod(node, &quoted(text));
    }
    let said = cluster.plugin("why 198.51.100.7 shop/cart");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    assert_eq!(said.stdout, "NODE n1,n3\nto web-0\n\nNODE n2\nto web-1\n");
    assert!(
        cluster.calls().last().unwrap().ends_with("-- limpet why -- 198.51.100.7 shop/cart"),
        "{:?}",
        cluster.calls()
    );
}

#[test]
fn breaks_are_summed_by_service() {
    let mut cluster = Cluster::new();
    let service = |name: &str| json!({"namespace": "shop", "name": name, "port": "", "protocol": "TCP"});
    let event = |seconds: u64| {
        json!({
            "seconds_ago": seconds, "service": service("cart"), "client": "198.51.100.7", "reason": "expired",
            "from": "shop/cart-1", "to": "shop/cart-2", "held_seconds": 60,
        })
    };
    let says = |web: u64, cart: u64, events: serde_json::Value| {
        let total =
            |name: &str, reasons: serde_json::Value| json!({"service": service(name), "reasons": reasons, "total": 0});
        let totals = [
            total("cart", json!({"expired": cart, "evicted": 0})),
            total("web", json!({"expired": 0, "backend-gone": web})),
        ];
        quoted(&json!({"node": null, "totals": totals, "events": events, "lost_events": 0}).to_string())
    };
    cluster.pod("n1", &says(3, 2, json!([event(9)])));
    cluster.pod("n2", &says(0, 5, json!([event(30), event(4)])));
    cluster.pod("n3", &says(0, 0, json!(null)));
    let said = cluster.plugin("breaks -A");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let expected = "\
NODE   SERVICE         BACKEND-GONE  EXPIRED  TOTAL
n1,n2  shop/cart:/TCP  0             7        7
n1     shop/web:/TCP   3             0        3
n1,n2  TOTAL           3             7        10

NODE  AGE  SERVICE         CLIENT        REASON   FROM         TO           HELD
n2    30s  shop/cart:/TCP  198.51.100.7  expired  shop/cart-1  shop/cart-2  1m
n1    9s   shop/cart:/TCP  198.51.100.7  expired  shop/cart-1  shop/cart-2  1m
n2    4s   shop/cart:/TCP  198.51.100.7  expired  shop/cart-1  shop/cart-2  1m
";
    assert_eq!(said.stdout, expected);
    let wide = cluster.plugin("breaks -A -o wide");
    let squeezed: Vec<String> =
        wide.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(squeezed.iter().any(|line| line.starts_with("n2 shop/cart:/TCP ") && line.ends_with(" 5")), "{squeezed:?}");
}

#[test]
fn forgotten_clients_are_counted_by_node() {
    let mut cluster = Cluster::new();
    let says = |matched: u64, code: u8| {
        let done = json!({"matched": matched, "forgotten": matched, "dry_run": false, "clients": []});
        quoted(&done.to_string()) + &format!("sh -c 'exit {code}'\n")
    };
    cluster.pod("n1", &says(2, 0));
    cluster.pod("n2", &says(0, 1));
    let said = cluster.plugin("forget 198.51.100.7 shop/cart --yes");
    assert_eq!(said.stdout, "NODE  MATCHED  FORGOTTEN\nn1    2        2\nn2    0        0\n");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(cluster.calls().last().unwrap().ends_with("limpet forget --output=json --yes -- 198.51.100.7 shop/cart"));
    cluster.says("limpet-n1", &says(0, 1));
    assert_eq!(cluster.plugin("forget 198.51.100.7 --yes").code, Some(1), "nobody was there to forget");
}
