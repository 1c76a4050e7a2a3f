//! Nodes that do not answer are listed with the reason, and the exit code says so.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::fake::{Cluster, pod, quoted};

fn nodes(name: &str) -> String {
    quoted(&json!({"header": ["NAME", "BACKENDS"], "rows": [[name, "1"]]}).to_string())
}

#[test]
fn nodes_without_an_answer_are_listed_below() {
    let mut cluster = Cluster::new();
    cluster.pod("n1", &nodes("n1"));
    let hanging = format!("echo $$ > {}\nexec sleep 1000\n", cluster.path("hanging").display());
    cluster.pod("n2", &hanging);
    let failing = "echo 'error: Internal error: dial tcp 10.0.0.3:10250: connection refused' >&2; (exit 1)\n";
    cluster.pod("n3", failing);
    let refused =
        "echo 'limpet: cannot read: run as root' >&2; echo 'command terminated with exit code 1' >&2; (exit 1)\n";
    cluster.pod("n4", refused);
    cluster.pod("n5", "echo not JSON\n");
    cluster.other_pod(pod("n6", "Pending", &json!({"waiting": {"reason": "ImagePullBackOff"}})));
    cluster.other_pod(pod("n7", "Running", &json!({"terminated": {"exitCode": 2, "reason": "Error"}})));
    let mut unscheduled = pod("n8", "Pending", &json!({}));
    let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n8"]}]}]);
    unscheduled["spec"]["nodeName"] = json!(null);
    unscheduled["spec"]["affinity"] =
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    cluster.other_pod(unscheduled);

    let said = cluster.plugin("get nodes --timeout 1");
    assert_eq!((said.code, said.stderr.as_str()), (Some(5), ""), "{said:?}");
    let (table, unreachable) = said.stdout.split_once("\n\n").unwrap();
    assert_eq!(table, "NODE  NAME  BACKENDS\nn1    n1    1");
    let lines: Vec<&str> = unreachable.lines().collect();
    let expected = [
        ("UNREACHABLE", "REASON"),
        ("n2", "no answer within 1s (--timeout)"),
        ("n3", "error: Internal error: dial tcp 10.0.0.3:10250: connection refused"),
        ("n4", "cannot read: run as root"),
        ("n5", "answers with something else than JSON: expected ident at line 1 column 2"),
        ("n6", "its Pod does not run: Pending (ImagePullBackOff)"),
        ("n7", "its Pod does not run: Running (Error)"),
        ("n8", "its Pod does not run: Pending"),
    ];
    assert_eq!(lines.len(), expected.len(), "{unreachable}");
    for (line, (node, reason)) in lines.iter().zip(expected) {
        assert!(line.starts_with(&format!("{node} ")) && line.ends_with(reason), "{line}: {reason}");
    }
    is_gone(&fs::read_to_string(cluster.path("hanging")).unwrap());

    let value = cluster.plugin("get nodes -o json --timeout 1 --node n3,n6 --node n1 --node n9");
    assert_eq!(value.code, Some(5), "{value:?}");
    let document = value.json();
    assert_eq!(document["nodes"]["n1"], json!({"header": ["NAME", "BACKENDS"], "rows": [["n1", "1"]]}));
    assert_eq!(document["nodes"].as_object().unwrap().len(), 1);
    let unreachable = document["unreachable"].as_array().unwrap();
    let names: Vec<_> = unreachable.iter().map(|it| it["node"].as_str().unwrap()).collect();
    assert_eq!(names, ["n3", "n6", "n9"]);
    assert_eq!(unreachable[1]["pod"], "kube-system/limpet-n6");
    assert_eq!(unreachable[2]["reason"], "no Pod of Limpet is on a node of this name");
}

/// Waits until no process has this number.
fn is_gone(pid: &str) {
    let process = format!("/proc/{}", pid.trim());
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::exists(&process).unwrap() {
        assert!(Instant::now() < deadline, "{process} still runs");
        std::thread::yield_now();
    }
}

#[test]
fn nodes_that_the_daemonset_is_for_and_have_no_pod_are_counted() {
    let mut cluster = Cluster::new();
    cluster.pod("n1", &nodes("n1"));
    let set = |desired: u32| {
        json!({
            "metadata": {"name": "limpet", "namespace": "kube-system", "uid": "u1"},
            "status": {
                "desiredNumberScheduled": desired, "currentNumberScheduled": 1, "numberMisscheduled": 0, "numberReady": 1,
            },
        })
    };
    cluster.list("daemonsets", &[set(3)]);
    let said = cluster.plugin("get nodes");
    assert_eq!(said.code, Some(5), "{said:?}");
    assert!(said.stdout.contains("2 of the 3 nodes that DaemonSet limpet is for have no Pod"), "{said:?}");
    assert_eq!(cluster.plugin("get nodes --node n1").code, Some(0), "nobody asked for the others");
    cluster.list("daemonsets", &[set(1)]);
    assert_eq!(cluster.plugin("get nodes").code, Some(0));
    cluster.says("daemonsets", "echo 'Error from server (Forbidden): no' >&2; exit 1\n");
    let said = cluster.plugin("get nodes");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("nodes without a Pod of Limpet are not known: ") && said.stderr.contains("Forbidden"));
}

#[test]
fn a_pod_that_is_being_replaced_is_not_asked() {
    let mut cluster = Cluster::new();
    cluster.pod("n1", &nodes("n1"));
    let mut old = pod("n1", "Running", &json!({"running": {}}));
    old["metadata"]["name"] = json!("limpet-a");
    old["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    cluster.other_pod(old.clone());
    let said = cluster.plugin("get nodes");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    assert!(cluster.calls().last().unwrap().contains(" limpet-n1 "), "{:?}", cluster.calls());
    // Two that stay are one too many.
    old["metadata"]["deletionTimestamp"] = json!(null);
    old["metadata"]["namespace"] = json!("other");
    old["metadata"]["name"] = json!("limpet-z");
    cluster.other_pod(old);
    let said = cluster.plugin("get nodes");
    assert!(
        said.stderr.contains("node n1 has more than one Pod of Limpet: kube-system/limpet-n1 is asked"),
        "{said:?}"
    );
}

#[test]
fn without_pods_or_kubectl_there_is_nobody_to_ask() {
    let cluster = Cluster::new();
    let said = cluster.plugin("status");
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.stderr.contains("no Pod in any namespace has the label app.kubernetes.io/name=limpet"), "{said:?}");

    let log = "echo 'E1122 17:08:38.709797 8085 memcache.go:265] \"Unhandled Error\"' >&2\n";
    cluster
        .says("pods", &format!("{log}echo 'error: You must be logged in to the server (Unauthorized)' >&2; exit 1\n"));
    let said = cluster.plugin("status");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr.contains("cannot list pods with kubectl: ") && said.stderr.contains("Unauthorized"),
        "{said:?}"
    );

    let said = cluster.plugin_alone("status");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("cannot run kubectl"), "{said:?}");
}

#[test]
fn what_nodes_say_beside_is_told_with_the_nodes_that_do() {
    let mut cluster = Cluster::new();
    for node in ["n1", "n2", "n3"] {
        let note = if node == "n2" { "" } else { "echo 'limpet: agent: not in step' >&2\n" };
        cluster.pod(node, &(nodes(node) + note));
    }
    let said = cluster.plugin("get nodes");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), "limpet: n1,n3: agent: not in step\n"), "{said:?}");
}

#[test]
fn a_cell_is_one_line_without_tricks_whatever_a_node_says() {
    let mut cluster = Cluster::new();
    cluster.pod("n1", &nodes("x\\u001b[31m\\ny"));
    cluster.pod("n2", "printf 'evil \\033[31m\\nmore' >&2; (exit 1)\n");
    let said = cluster.plugin("get nodes");
    assert!(!said.stdout.contains('\u{1b}') && !said.stderr.contains('\u{1b}'), "{said:?}");
    assert_eq!(said.stdout.lines().count(), 5, "{said:?}");
}

#[test]
fn nodes_of_two_versions_are_not_put_into_one_table() {
    let mut cluster = Cluster::new();
    cluster.pod("n1", &nodes("n1"));
    cluster.pod("n2", &quoted(&json!({"header": ["NAME", "NEW", "BACKENDS"], "rows": [["n2", "x", "1"]]}).to_string()));
    let said = cluster.plugin("get nodes");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("node n2 answers with other columns"), "{said:?}");
    assert_eq!(cluster.plugin("get nodes --node n2").code, Some(0));
}
