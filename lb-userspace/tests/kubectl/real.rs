//! Answers of the program itself, on maps of the kernel's: so that the plugin understands what nodes say. Needs root and a
//! BPF file system.

#[path = "../inspect/pinned.rs"]
mod pinned;

use pinned::Pinned;

use crate::fake::{Cluster, Said};

/// Two nodes with the same maps and no agent.
fn cluster(pinned: &Pinned) -> Cluster {
    let mut cluster = Cluster::new();
    let script = format!(
        "shift\nLIMPET_PIN_DIR={} LIMPET_SOCKET=/nonexistent/agent.sock {} \"$@\"\n",
        pinned.root().display(),
        env!("CARGO_BIN_EXE_limpet")
    );
    for node in ["n1", "n2"] {
        cluster.pod(node, &script);
    }
    cluster
}

fn squeezed(said: &Said) -> Vec<String> {
    said.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn every_question_is_answered() {
    let pinned = Pinned::new("kubectl");
    let cluster = cluster(&pinned);
    let cases = [
        ("get services -A", "NODE NAMESPACE NAME PORT PROTOCOL AFFINITY FRONTENDS BACKENDS", 0),
        ("get backends", "NODE NAMESPACE NAME ADDRESS PROTOCOL BACKEND-NODE STATE SERVICE SHARE", 0),
        ("get nodes --merge", "all 2 n1 10.0.0.1 this node 1", 0),
        ("get counters --node n2", "n2 ingress local-new forward 7 new flow to a Pod on this node", 0),
        ("get flows web", "NODE PROTOCOL CLIENT FRONTEND BACKEND STATE AGE", 0),
        ("get clients -A -o wide", "NODE ", 0),
        ("status", "n1 down no - - - 3 0", 1),
        ("breaks -A", "all 2 TOTAL ", 0),
        ("why 198.51.100.7", "NODE ", 0),
        ("describe service default/web", "NODE all 2", 0),
        ("skew default/web", "NODE ", 0),
        // Nobody is held there.
        ("forget 198.51.100.7 default/web --dry-run", "NODE MATCHED FORGOTTEN", 1),
    ];
    for (line, expected, code) in cases {
        let said = cluster.plugin(line);
        assert_eq!(said.code, Some(code), "{line}: {said:?}");
        assert!(squeezed(&said).iter().any(|line| line.starts_with(expected)), "{line}: {}", said.stdout);
        assert!(!said.stdout.contains("UNREACHABLE"), "{line}: {}", said.stdout);
        let value = cluster.plugin(&format!("{} -o json", line.replace(" -o wide", ""))).json();
        let asked = if line.contains("--node") { 1 } else { 2 };
        assert_eq!(value["nodes"].as_object().unwrap().len(), asked, "{line}: {value}");
    }
    let said = cluster.plugin("describe service default/wep");
    assert_eq!(said.code, Some(5), "{said:?}");
    assert!(said.stdout.contains("did you mean default/web?"), "{said:?}");
}
