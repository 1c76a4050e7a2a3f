//! Which addresses a Service has (A.3), and who gets one that two want.

use super::fixture::*;
use crate::model::*;

/// A.3 (serviceport.go:203-235, util/utils.go:214-219): load-balancer addresses, external IPs and node ports by type; an
/// address of ipMode Proxy and a name are none.
#[test]
fn a3_frontends_by_type() {
    let with = |spec: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{{spec} ports: [{{port: 80, nodePort: 30080}}]}}, status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.7}}, {{ip: 192.0.2.8, ipMode: Proxy}}, {{ip: 192.0.2.9, ipMode: VIP}}, {{hostname: lb.example}}]}}}}}}"
        )
    };
    let node_ports = "NodePort 10.0.0.1:30080, NodePort 203.0.113.1:30080, NodePort fd00::1:30080";
    check("ClusterIP", &with("type: ClusterIP,"), &["default/web:/TCP |  |  |  | "], &[]);
    check("NodePort", &with("type: NodePort,"), &[&format!("default/web:/TCP | {node_ports} |  |  | ")], &[]);
    check(
        "LoadBalancer",
        &with("type: LoadBalancer,"),
        &[&format!(
            "default/web:/TCP | LoadBalancerIp 192.0.2.7:80, LoadBalancerIp 192.0.2.9:80, {node_ports} |  |  | "
        )
        .replace(
            "LoadBalancerIp 192.0.2.9:80, NodePort 10.0.0.1:30080, NodePort 203.0.113.1:30080",
            "LoadBalancerIp 192.0.2.9:80, NodePort 203.0.113.1:30080",
        )
        .replace("| LoadBalancerIp 192.0.2.7", "| NodePort 10.0.0.1:30080, LoadBalancerIp 192.0.2.7")],
        &[],
    );
    check(
        "an address from two fields is one frontend",
        &with("type: LoadBalancer, externalIPs: [192.0.2.7], ipFamilies: [IPv4],"),
        &[
            "default/web:/TCP | NodePort 10.0.0.1:30080, LoadBalancerIp 192.0.2.7:80, LoadBalancerIp 192.0.2.9:80, NodePort 203.0.113.1:30080 |  |  | ",
        ],
        &[],
    );
}

/// A.3 (util/utils.go:188-212): addresses are filtered by the Service's families, and those left out are named.
#[test]
fn a3_families() {
    let with = |spec: &str| service(spec).replace("[192.0.2.1]", "[192.0.2.1, '2001:db8::1']");
    let v4 = "default/web:/TCP | ExternalIp 192.0.2.1:80 |  |  | ";
    let v6 = "default/web:/TCP | ExternalIp 2001:db8::1:80 |  |  | ";
    let both = "default/web:/TCP | ExternalIp 192.0.2.1:80, ExternalIp 2001:db8::1:80 |  |  | ";
    let no_v4 = "Service default/web: spec.externalIPs[0]: 192.0.2.1 is IPv4, which the Service is not";
    let no_v6 = "Service default/web: spec.externalIPs[1]: 2001:db8::1 is IPv6, which the Service is not";
    for (spec, expected, problems) in [
        ("ipFamilies: [IPv4]", v4, &[no_v6][..]),
        ("ipFamilies: [IPv6, IPv4]", both, &[]),
        ("clusterIP: 10.96.0.1", v4, &[no_v6]),
        ("clusterIPs: ['fd96::1']", v6, &[no_v4]),
        ("", both, &[]),
    ] {
        check(spec, &with(spec), &[expected], problems);
    }
}

/// Two Services that ask for one frontend: the older one has it, whatever the names say.
#[test]
fn two_services_claim_one_frontend() {
    let named = |name: &str, created: &str| service("").replace("name: web}", &format!("name: {name}{created}}}"));
    let older = ", creationTimestamp: '2020-01-01T00:00:00Z'";
    let newer = ", creationTimestamp: '2021-01-01T00:00:00Z'";
    for (what, a, b, winner) in
        [("by age", newer, older, "b"), ("by name", older, older, "a"), ("no age is younger", "", older, "b")]
    {
        let (desired, problems) = run(&format!("{}{}", named("a", a), named("b", b)));
        let holders: Vec<&str> = desired
            .services
            .iter()
            .filter(|(_, port)| !port.frontends.is_empty())
            .map(|(name, _)| name.name.as_str())
            .collect();
        assert_eq!(holders, [winner], "{what}");
        let loser = if winner == "a" { "b" } else { "a" };
        assert_eq!(
            problems,
            [format!(
                "error: all.yaml: Service default/{loser}: spec.externalIPs[0]: 192.0.2.1:80/TCP of default/{loser}:/TCP is already that of default/{winner}:/TCP (all.yaml) in spec.externalIPs[0]; the older Service has it, or the first by name where ages are not given"
            )],
            "{what}"
        );
    }
}

/// A.3 (core types.go, ipMode): only `VIP`, or none, makes an address; a word that nobody knows is no promise.
#[test]
fn a3_ip_modes() {
    let with = |mode: &str| {
        load_balancer("ipFamilies: [IPv4]")
            .replace("{ip: 192.0.2.7}, {ip: '2001:db8::7'}", &format!("{{ip: 192.0.2.7{mode}}}"))
            .replace("port: 80}", "port: 80, nodePort: 30080}")
    };
    let node_ports = "NodePort 10.0.0.1:30080, NodePort 203.0.113.1:30080";
    let both = "NodePort 10.0.0.1:30080, LoadBalancerIp 192.0.2.7:80, NodePort 203.0.113.1:30080";
    for (mode, expected) in
        [("", both), (", ipMode: VIP", both), (", ipMode: Proxy", node_ports), (", ipMode: Other", node_ports)]
    {
        check(mode, &with(mode), &[&format!("default/web:/TCP | {expected} |  |  | ")], &[]);
    }
}

/// A.3 (util/utils.go:188-212): with two families each has its own addresses and its own endpoints, whichever is first.
#[test]
fn a3_two_families() {
    let v6 = slice_with("t", "IPv6", "{name: '', port: 8080}", &endpoint("fd01::1", "n1", "a", ""));
    let v4 = slice("s", &endpoint("10.1.0.1", "n1", "a", ""));
    for families in ["[IPv4, IPv6]", "[IPv6, IPv4]"] {
        check(
            families,
            &format!("{}{v4}{v6}", load_balancer(&format!("ipFamilies: {families}"))),
            &[
                "default/web:/TCP | LoadBalancerIp 192.0.2.7:80, LoadBalancerIp 2001:db8::7:80 | default/a=10.1.0.1:8080 | default/a=[fd01::1]:8080 | ",
            ],
            &[],
        );
    }
}

/// A.3: an external IP may be a node's own address, as for kube-proxy.
#[test]
fn a3_an_external_ip_of_the_node() {
    check(
        "own address",
        &service("").replace("[192.0.2.1]", "[10.0.0.1]"),
        &["default/web:/TCP | ExternalIp 10.0.0.1:80 |  |  | "],
        &[],
    );
}

/// This node's own tunnel cannot be a frontend.
#[test]
fn a_frontend_on_the_tunnel_port() {
    let on = |address: &str, protocol: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{externalIPs: ['{address}'], ports: [{{port: 6081, protocol: {protocol}}}]}}}}"
        )
    };
    check(
        "tunnel",
        &on("10.0.0.1", "UDP"),
        &["default/web:/UDP |  |  |  | "],
        &["spec.externalIPs[0]: 10.0.0.1:6081/UDP is this node's tunnel"],
    );
    let options = Options { local_addresses: vec!["10.5.0.1".parse().expect("an address")], ..options() };
    let problem = "spec.externalIPs[0]: 10.5.0.1:6081/UDP is this node's tunnel";
    check_with("device", &options, &on("10.5.0.1", "UDP"), &["default/web:/UDP |  |  |  | "], &[problem]);
    check("tcp", &on("10.0.0.1", "TCP"), &["default/web:/TCP | ExternalIp 10.0.0.1:6081 |  |  | "], &[]);
    check("elsewhere", &on("10.0.0.2", "UDP"), &["default/web:/UDP | ExternalIp 10.0.0.2:6081 |  |  | "], &[]);
}

/// Without its own Node object a node has no node ports, and nothing may be taken away.
#[test]
fn the_own_node_is_missing() {
    let options = Options { node: "n7".to_owned(), ..options() };
    let (desired, problems) = run_alone(&format!("{NODES}{}", service("type: NodePort")), &options);
    assert!(!desired.complete);
    assert_eq!(lines(&desired), ["default/web:/TCP | ExternalIp 192.0.2.1:80 |  |  | "]);
    assert!(problems[0].starts_with("error: Node n7: this node has no Node object"), "{problems:?}");
}

/// Tunnel addresses are the first InternalIP of each family.
#[test]
fn node_addresses() {
    let (desired, _) = run("");
    let expected = NodeAddresses { v4: Some([10, 0, 0, 2].into()), v6: None };
    assert_eq!(desired.nodes.get("n2"), Some(&expected));
}

/// What nodes and Pods send is not outside traffic (A.5): their addresses are known, so that it is left to kube-proxy.
#[test]
fn a5_nodes_and_pods_are_inside() {
    let node = |rest: &str| format!("{{apiVersion: v1, kind: Node, metadata: {{name: n9}}, {rest}}}\n---\n");
    let cases: [(&str, &str, &[&str]); 5] = [
        (
            "addresses of both kinds, no name",
            "status: {addresses: [{type: InternalIP, address: 10.0.0.9}, {type: ExternalIP, address: 203.0.113.9}, {type: Hostname, address: n9}]}",
            &["10.0.0.9/32", "203.0.113.9/32"],
        ),
        ("the network of its Pods", "spec: {podCIDR: 10.244.9.0/24}", &["10.244.9.0/24"]),
        ("of both families", "spec: {podCIDRs: [10.244.9.0/24, 'fd00:9::/64']}", &["10.244.9.0/24", "fd00:9::/64"]),
        ("bits behind the prefix", "spec: {podCIDR: 10.244.9.7/24}", &["10.244.9.0/24"]),
        ("what would hold everybody, and what is none", "spec: {podCIDRs: [0.0.0.0/0, '::/0', x]}", &[]),
    ];
    for (what, rest, expected) in cases {
        let (desired, _) = run_alone(&node(rest), &options());
        let found: Vec<String> = desired.inside.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{what}");
    }
}
