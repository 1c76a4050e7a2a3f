//! Traffic policies (A.4, A.5), and what becomes of packets where nobody is (A.11).

use super::fixture::*;
use crate::model::*;

/// A.4, A.5 (topology.go:48-154, nftables/proxier.go:1541-1548): with policy Local only this node's endpoints are asked,
/// and ready ones elsewhere do not keep a terminating local one from serving.
#[test]
fn a4_local_policy() {
    let remote = endpoint("10.1.0.1", "n2", "a", "ready: true");
    let local = endpoint("10.1.0.2", "n1", "b", "ready: true");
    let terminating = endpoint("10.1.0.3", "n1", "c", "ready: false, serving: true, terminating: true");
    let dying = endpoint("10.1.0.4", "n1", "d", "ready: false, serving: false, terminating: true");
    for (what, endpoints, pool, draining) in [
        (
            "ready",
            format!("{remote}{local}{terminating}"),
            "default/b=10.1.0.2:8080",
            "default/a=10.1.0.1:8080(excluded) default/c=10.1.0.3:8080",
        ),
        (
            "terminating",
            format!("{remote}{terminating}"),
            "default/c=10.1.0.3:8080",
            "default/a=10.1.0.1:8080(excluded)",
        ),
        (
            "terminating and not serving",
            format!("{remote}{dying}"),
            "",
            "default/a=10.1.0.1:8080(excluded) default/d=10.1.0.4:8080",
        ),
        ("none here", remote.clone(), "", "default/a=10.1.0.1:8080(excluded)"),
    ] {
        check(
            what,
            &format!("{}{}", service("externalTrafficPolicy: Local"), slice("s", &endpoints)),
            &[&format!("default/web:/TCP | ExternalIp 192.0.2.1:80 | {pool} |  | {draining}")],
            &[],
        );
    }
}

/// A.4 (topology.go:48-154): with policy Cluster it does not matter where an endpoint is, for the fall-back neither.
#[test]
fn a4_cluster_policy() {
    let terminating = "ready: false, serving: true, terminating: true";
    let (here, there) = (endpoint("10.1.0.1", "n1", "a", terminating), endpoint("10.1.0.2", "n2", "b", terminating));
    let ready = endpoint("10.1.0.3", "n2", "c", "");
    check_endpoints(
        "a remote ready one keeps a local terminating one from serving",
        &slice("s", &format!("{here}{ready}")),
        "default/c=10.1.0.3:8080 |  | default/a=10.1.0.1:8080",
    );
    check_endpoints(
        "all that terminate serve",
        &slice("s", &format!("{here}{there}")),
        "default/a=10.1.0.1:8080 default/b=10.1.0.2:8080 |  | ",
    );
}

/// A.5 (nftables/proxier.go:1310-1316): `internalTrafficPolicy` is about cluster IPs alone.
#[test]
fn a5_internal_policy_changes_nothing_outside() {
    let endpoints = slice("s", &endpoint("10.1.0.1", "n2", "a", ""));
    check(
        "internal",
        &format!("{}{endpoints}", service("internalTrafficPolicy: Local")),
        &["default/web:/TCP | ExternalIp 192.0.2.1:80 | default/a=10.1.0.1:8080 |  | "],
        &[],
    );
}

const HERE: &str = "n1";
const THERE: &str = "n2";

/// A.11 (nftables/proxier.go:1299-1324): nobody anywhere is told to the client, nobody here is not; by family.
#[test]
fn a11_what_becomes_of_packets_where_nobody_is() {
    let ready = "ready: true";
    let terminating = "ready: false, serving: true, terminating: true";
    let dying = "ready: false, serving: false, terminating: true";
    let unready = "ready: false";
    for (what, policy, endpoints, expected) in [
        ("none at all", "Cluster", &[][..], IfEmpty::Reject),
        ("none at all", "Local", &[], IfEmpty::Reject),
        ("none usable", "Local", &[(THERE, unready), (THERE, dying), (HERE, unready)], IfEmpty::Reject),
        ("none usable", "Cluster", &[(THERE, unready), (THERE, dying), (HERE, unready)], IfEmpty::Reject),
        ("ready elsewhere", "Local", &[(THERE, ready)], IfEmpty::Drop),
        ("ready elsewhere, not here", "Local", &[(THERE, ready), (HERE, unready)], IfEmpty::Drop),
        ("terminating elsewhere", "Local", &[(THERE, terminating)], IfEmpty::Drop),
    ] {
        let endpoints: String = (1..)
            .zip(endpoints)
            .map(|(i, (node, conditions))| endpoint(&format!("10.1.0.{i}"), node, &format!("p{i}"), conditions))
            .collect();
        let service = service(&format!("externalTrafficPolicy: {policy}"));
        let (desired, _) = run(&format!("{service}{}", slice("s", &endpoints)));
        let port = desired.services.values().next().expect("one port");
        if !endpoints.contains(ready) || policy == "Local" {
            assert_eq!(port.pools.v4, [0_usize; 0], "{what}, {policy}");
        }
        assert_eq!(port.if_empty, IfEmptyPools { v4: expected, v6: IfEmpty::Reject }, "{what}, {policy}");
    }
}

/// A.11: endpoints that no tunnel leads to are somewhere else all the same.
#[test]
fn a11_endpoints_that_cannot_be_reached() {
    for (policy, expected) in [("Local", IfEmpty::Drop), ("Cluster", IfEmpty::Reject)] {
        let service = service(&format!("externalTrafficPolicy: {policy}"));
        let (desired, _) = run(&format!("{service}{}", slice("s", "{addresses: [10.1.0.1]}")));
        let verdicts: Vec<_> = desired.services.values().map(|port| port.if_empty.v4).collect();
        assert_eq!(verdicts, [expected], "{policy}");
    }
}

/// C.4 (`sync_proxy_rules_no_local_endpoints_total`): Service ports that a policy Local leaves without anybody here,
/// while there is somebody elsewhere.
#[test]
fn c4_service_ports_without_local_endpoints() {
    let (here, there) = (endpoint("10.1.0.1", "n1", "a", ""), endpoint("10.1.0.2", "n2", "b", ""));
    let unready = endpoint("10.1.0.3", "n2", "c", "ready: false");
    let (internal, external) = ("internalTrafficPolicy: Local", "externalTrafficPolicy: Local");
    let both = format!("{internal}, {external}");
    for (what, spec, endpoints, expected) in [
        ("somebody elsewhere", external, there.as_str(), (0, 1)),
        ("somebody elsewhere", internal, &there, (1, 0)),
        ("somebody elsewhere", &both, &there, (1, 1)),
        ("somebody here", &both, &format!("{here}{there}"), (0, 0)),
        ("nobody at all", &both, "", (0, 0)),
        ("nobody usable", &both, &unready, (0, 0)),
        ("policy Cluster", "", &there, (0, 0)),
    ] {
        let (desired, _) = run(&format!("{}{}", service(spec), slice("s", endpoints)));
        let WithoutLocalEndpoints { internal, external } = desired.without_local_endpoints;
        assert_eq!((internal, external), expected, "{what}, {spec}");
    }
}
