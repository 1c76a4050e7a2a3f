//! Topology hints (A.7).

use super::fixture::*;
use crate::model::*;

/// A ready endpoint with hints: `z:A` for a zone, `n:B` for a node.
fn hinted(number: u8, node: &str, hints: &str) -> String {
    let of = |prefix: &str| {
        let names = hints.split_whitespace().filter_map(|hint| hint.strip_prefix(prefix));
        names.map(|name| format!("{{name: {name}}}")).collect::<Vec<_>>().join(", ")
    };
    format!(
        "{{addresses: [10.1.0.{number}], nodeName: {node}, targetRef: {{kind: Pod, name: p{number}}}, conditions: {{ready: true}}, hints: {{forZones: [{}], forNodes: [{}]}}}},",
        of("z:"),
        of("n:"),
    )
}

/// The last parts of the addresses that take new flows, and of those that are kept out.
fn used(policy: &str, zone: Option<&str>, endpoints: &str) -> (Vec<u8>, Vec<u8>) {
    let labels = zone.map(|zone| format!(", labels: {{topology.kubernetes.io/zone: {zone}}}")).unwrap_or_default();
    let nodes = NODES.replacen("metadata: {name: n1}", &format!("metadata: {{name: n1{labels}}}"), 1);
    let service = service(&format!("externalTrafficPolicy: {policy}"));
    let (desired, problems) = run_alone(&format!("{nodes}{service}{}", slice("s", endpoints)), &options());
    assert_eq!(problems, [""; 0]);
    let port = desired.services.values().next().expect("one port");
    let numbers = |state| {
        let backends = port.backends.iter().filter(|backend| backend.state == state);
        backends
            .map(|backend| match backend.address.ip() {
                std::net::IpAddr::V4(address) => address.octets()[3],
                std::net::IpAddr::V6(address) => address.octets()[15],
            })
            .collect::<Vec<_>>()
    };
    (numbers(BackendState::Active), numbers(BackendState::Excluded))
}

fn check_hints(what: &str, zone: Option<&str>, hints: &[&str], expected: &[u8]) {
    let endpoints: String = (1..).zip(hints).map(|(number, hints)| hinted(number, "n2", hints)).collect();
    let (active, excluded) = used("Cluster", zone, &endpoints);
    assert_eq!(active, expected, "{what}");
    assert_eq!(active.len() + excluded.len(), hints.len(), "{what}: the others are kept out and keep their flows");
}

/// A.7 (topology.go:164-218): by node, where all ready endpoints have a hint by node and one of them names this one.
#[test]
fn a7_hints_by_node() {
    check_hints("mine", None, &["n:n1", "n:n2", "n:n1 n:n2"], &[1, 3]);
    check_hints("nobody's mine", None, &["n:n2", "n:n3"], &[1, 2]);
    check_hints("one has none", None, &["n:n1", "n:n2", ""], &[1, 2, 3]);
}

/// A.7 (topology.go:164-218): by zone, where all ready endpoints have a hint by zone, this node has a zone, and one of
/// them is for it.
#[test]
fn a7_hints_by_zone() {
    check_hints("mine", Some("a"), &["z:a", "z:b", "z:a z:b"], &[1, 3]);
    check_hints("nobody's mine", Some("c"), &["z:a", "z:b"], &[1, 2]);
    check_hints("one has none", Some("a"), &["z:a", "z:b", ""], &[1, 2, 3]);
    check_hints("the node has no zone", None, &["z:a", "z:b"], &[1, 2]);
    check_hints("the node's zone is empty", Some("''"), &["z:''", "z:b"], &[1, 2]);
}

/// A.7 (endpointslice trafficdist, PreferSameNode): by node first; where nobody is for this node, by zone.
#[test]
fn a7_by_node_before_by_zone() {
    check_hints("both", Some("a"), &["z:a n:n1", "z:a n:n2", "z:b n:n3"], &[1]);
    check_hints("gone from this node", Some("a"), &["z:a n:n2", "z:b n:n3"], &[1]);
    check_hints("one has no node", Some("a"), &["z:a n:n1", "z:a"], &[1, 2]);
    check_hints("gone from node and zone", Some("c"), &["z:a n:n2", "z:b n:n3"], &[1, 2]);
}

/// A.7: endpoints that are not ready need no hints, and get no flows by them.
#[test]
fn a7_only_ready_endpoints_count() {
    let unready = endpoint("10.1.0.7", "n2", "u", "ready: false");
    let terminating = endpoint("10.1.0.8", "n2", "t", "ready: false, serving: true, terminating: true");
    let endpoints = format!("{}{}{unready}{terminating}", hinted(1, "n2", "z:a"), hinted(2, "n2", "z:b"));
    assert_eq!(used("Cluster", Some("a"), &endpoints), (vec![1], vec![2]));
    // A hint on one that is not ready is none for the zone.
    let unready = hinted(3, "n2", "z:c").replace("ready: true", "ready: false");
    let endpoints = format!("{}{}{unready}", hinted(1, "n2", "z:a"), hinted(2, "n2", "z:b"));
    assert_eq!(used("Cluster", Some("c"), &endpoints), (vec![1, 2], vec![]));
}

/// A.4 (topology.go:48-154): where only terminating endpoints are left, hints do not count.
#[test]
fn a7_not_among_terminating_endpoints() {
    let terminating = |number, hints| {
        hinted(number, "n2", hints).replace("ready: true", "ready: false, serving: true, terminating: true")
    };
    let endpoints = format!("{}{}", terminating(1, "z:a"), terminating(2, "z:b"));
    assert_eq!(used("Cluster", Some("a"), &endpoints), (vec![1, 2], vec![]));
}

/// A.7: policy Local does not look at hints.
#[test]
fn a7_not_with_policy_local() {
    let endpoints = format!("{}{}", hinted(1, "n1", "z:b n:n2"), hinted(2, "n1", "z:a n:n1"));
    assert_eq!(used("Local", Some("a"), &endpoints), (vec![1, 2], vec![]));
}

/// A.7 (metaproxier.go): hints are weighed in each family by itself.
#[test]
fn a7_families_are_separate() {
    let v6 = slice_with("t", "IPv6", "{name: '', port: 8080}", &endpoint("fd01::9", "n1", "p9", ""));
    let v4 = slice("s", &format!("{}{}", hinted(1, "n2", "n:n1"), hinted(2, "n2", "n:n2")));
    check_endpoints(
        "one of IPv6 has no hint",
        &format!("{v4}{v6}"),
        "default/p1=10.1.0.1:8080 | default/p9=[fd01::9]:8080 | default/p2=10.1.0.2:8080(excluded)",
    );
}

/// Two nodes of one zone choose the same backends, two of different zones need not: with hints by zone it is the zone
/// that nodes agree in.
#[test]
fn a7_nodes_of_a_zone_agree() {
    let nodes: String = [("n1", "a"), ("n2", "a"), ("n3", "b")]
        .iter()
        .map(|(name, zone)| {
            format!(
                "{{apiVersion: v1, kind: Node, metadata: {{name: {name}, labels: {{topology.kubernetes.io/zone: {zone}}}}}, status: {{addresses: [{{type: InternalIP, address: 10.0.0.{}}}]}}}}\n---\n",
                &name[1..]
            )
        })
        .collect();
    let endpoints = format!("{}{}{}", hinted(1, "n1", "z:a"), hinted(2, "n3", "z:b"), hinted(3, "n2", "z:a"));
    let manifests = format!("{nodes}{}{}", service(""), slice("s", &endpoints));
    let pool = |node: &str| {
        let (desired, problems) = run_alone(&manifests, &Options { node: node.to_owned(), ..options() });
        assert_eq!(problems, [""; 0]);
        let port = desired.services.into_values().next().expect("one port");
        port.pools.v4.iter().map(|index| port.backends[*index].identity.clone()).collect::<Vec<_>>()
    };
    assert_eq!(pool("n1"), ["default/p1", "default/p3"]);
    assert_eq!(pool("n1"), pool("n2"));
    assert_eq!(pool("n3"), ["default/p2"]);
}
