//! From slices to endpoints (A.2), and which of them take new flows (A.4).

use super::fixture::*;
use crate::model::*;

/// A.2 (endpointslicecache.go:211-213): nil ready and serving are true, nil terminating is false.
#[test]
fn a2_nil_conditions() {
    let nil = "{addresses: [10.1.0.1], nodeName: n1, targetRef: {kind: Pod, name: a}}";
    check_endpoints("no conditions", &slice("s", nil), "default/a=10.1.0.1:8080 |  | ");
    check_endpoints(
        "terminating with nil ready is ready",
        &slice("s", &endpoint("10.1.0.1", "n1", "a", "terminating: true")),
        "default/a=10.1.0.1:8080 |  | ",
    );
    check_endpoints(
        "nil serving serves",
        &slice("s", &endpoint("10.1.0.1", "n1", "a", "ready: false, terminating: true")),
        "default/a=10.1.0.1:8080 |  | ",
    );
}

/// A.2 (endpointslicecache.go:204,231): only the first address of an endpoint counts, and it may be missing.
#[test]
fn a2_only_the_first_address() {
    check_endpoints(
        "two and none",
        &slice("s", "{addresses: [10.1.0.1, 10.1.0.2], nodeName: n1}, {addresses: [], nodeName: n1}"),
        "10.1.0.1:8080=10.1.0.1:8080 |  | ",
    );
}

/// A.2 (endpointslicecache.go:173-181): ports with a nil name or number are ignored, and that is told; the name and the
/// protocol must match.
#[test]
fn a2_ports_that_do_not_count() {
    let line = "default/web:/TCP | ExternalIp 192.0.2.1:80 |  |  | ";
    let nameless = "EndpointSlice default/s: ports[0].name: a port without a name is ignored";
    let numberless = "EndpointSlice default/s: ports[0].port: a port without a number is ignored";
    for (port, problems) in [
        ("{port: 1}", &[nameless][..]),
        ("{name: ''}", &[numberless]),
        ("{name: x, port: 1}", &[]),
        ("{name: '', port: 1, protocol: UDP}", &[]),
        ("{name: '', port: 1, protocol: SCTP}", &[]),
    ] {
        let slice = slice_with("s", "IPv4", port, &endpoint("10.1.0.1", "n1", "a", ""));
        check(port, &format!("{}{slice}", service("")), &[line], problems);
    }
}

/// A.2 (e2e endpointslice.go:458,570, service.go:4116): a Service's endpoints are those of all its slices; a named port may have another number
/// in each.
#[test]
fn a2_several_slices_and_numbers() {
    let other = slice_with("t", "IPv4", "{name: '', port: 9090}", &endpoint("10.1.0.2", "n2", "b", ""));
    check_endpoints(
        "two slices",
        &format!("{}{other}", slice("s", &endpoint("10.1.0.1", "n1", "a", ""))),
        "default/a=10.1.0.1:8080 default/b=10.1.0.2:9090 |  | ",
    );
}

/// A.2 (endpointslicecache.go:235-250): an address in two slices is one endpoint; the last slice counts, but a terminating copy
/// never takes the place of another.
#[test]
fn a2_duplicates() {
    let at =
        |slice_name: &str, pod: &str, conditions: &str| slice(slice_name, &endpoint("10.1.0.1", "n1", pod, conditions));
    check_endpoints(
        "the last one",
        &format!("{}{}", at("s1", "old", ""), at("s2", "new", "")),
        "default/new=10.1.0.1:8080 |  | ",
    );
    let terminating = "ready: false, serving: true, terminating: true";
    check_endpoints(
        "terminating after running",
        &format!("{}{}", at("s1", "new", ""), at("s2", "old", terminating)),
        "default/new=10.1.0.1:8080 |  | ",
    );
    check_endpoints(
        "running after terminating",
        &format!("{}{}", at("s1", "old", terminating), at("s2", "new", "")),
        "default/new=10.1.0.1:8080 |  | ",
    );
}

/// A.2 (endpointschangetracker.go:82, metaproxier.go:87-97): slices of a family go to that family.
#[test]
fn a2_address_types() {
    let v6 = slice_with("t", "IPv6", "{name: '', port: 8080}", &endpoint("fd01::1", "n1", "a", ""));
    check_endpoints(
        "both families, one Pod",
        &format!("{}{v6}", slice("s", &endpoint("10.1.0.1", "n1", "a", ""))),
        "default/a=10.1.0.1:8080 | default/a=[fd01::1]:8080 | ",
    );
}

/// A Pod that is listed with two addresses has one share, and the other address only drains.
#[test]
fn one_pod_with_two_addresses() {
    check_endpoints(
        "twice",
        &slice("s", &format!("{}{}", endpoint("10.1.0.2", "n1", "a", ""), endpoint("10.1.0.1", "n1", "a", ""))),
        "default/a=10.1.0.1:8080 |  | default/a=10.1.0.2:8080(excluded)",
    );
}

/// A.4 (topology.go:48-154): ready ones; if there are none, those that serve while they terminate; the rest drains.
#[test]
fn a4_usable_endpoints() {
    let ready = endpoint("10.1.0.1", "n2", "a", "ready: true");
    let terminating = endpoint("10.1.0.2", "n1", "b", "ready: false, serving: true, terminating: true");
    let unready = endpoint("10.1.0.3", "n1", "c", "ready: false, serving: false");
    let dying = endpoint("10.1.0.4", "n1", "d", "ready: false, serving: false, terminating: true");
    check_endpoints(
        "one ready",
        &slice("s", &format!("{ready}{terminating}{unready}{dying}")),
        "default/a=10.1.0.1:8080 |  | default/b=10.1.0.2:8080 default/c=10.1.0.3:8080(not ready) default/d=10.1.0.4:8080",
    );
    check_endpoints(
        "none ready",
        &slice("s", &format!("{terminating}{unready}{dying}")),
        "default/b=10.1.0.2:8080 |  | default/c=10.1.0.3:8080(not ready) default/d=10.1.0.4:8080",
    );
    check_endpoints("none usable", &slice("s", &unready), " |  | default/c=10.1.0.3:8080(not ready)");
}

/// A backend that no tunnel reaches is not used, and that is said once for a slice and node.
#[test]
fn unreachable_backends() {
    let v6 = slice_with("t", "IPv6", "{name: '', port: 8080}", &endpoint("fd01::1", "n2", "a", ""));
    check(
        "unknown node, no address of the family, no node",
        &format!(
            "{}{}{v6}",
            service(""),
            slice(
                "s",
                &format!(
                    "{}{}{{addresses: [10.1.0.3]}}",
                    endpoint("10.1.0.1", "n9", "a", ""),
                    endpoint("10.1.0.2", "n9", "b", "")
                )
            )
        ),
        &["default/web:/TCP | ExternalIp 192.0.2.1:80 |  |  | "],
        &[
            "EndpointSlice default/s: endpoints[].nodeName: endpoints on n9 are not used: there is no Node n9",
            "EndpointSlice default/s: endpoints[].nodeName: endpoints without nodeName",
            "EndpointSlice default/t: endpoints[].nodeName: endpoints on n2 are not used: Node n2 has no InternalIP of IPv6",
        ],
    );
}

/// A.2 (endpointslice utils.go:38-50): `publishNotReadyAddresses` makes terminating Pods ready, and ready counts.
#[test]
fn a2_ready_and_terminating() {
    let both = endpoint("10.1.0.1", "n2", "a", "ready: true, serving: false, terminating: true");
    let other = endpoint("10.1.0.2", "n2", "b", "ready: true");
    check_endpoints(
        "both take new flows",
        &slice("s", &format!("{both}{other}")),
        "default/a=10.1.0.1:8080 default/b=10.1.0.2:8080 |  | ",
    );
}

/// A.2 (e2e service.go:4116): a named target port that differs from Pod to Pod, each Service port by itself.
#[test]
fn a2_named_ports_that_differ_by_pod() {
    let service = service("").replace("[{name: '', port: 80}]", "[{name: http, port: 80}, {name: admin, port: 81}]");
    let of = |name: &str, http: u16, admin: u16, address: &str, pod: &str| {
        let ports = format!("{{name: http, port: {http}}}, {{name: admin, port: {admin}}}");
        slice_with(name, "IPv4", &ports, &endpoint(address, "n1", pod, ""))
    };
    check(
        "two versions of a Pod",
        &format!("{service}{}{}", of("s", 8080, 9090, "10.1.0.1", "a"), of("t", 8081, 9091, "10.1.0.2", "b"),),
        &[
            "default/web:admin/TCP | ExternalIp 192.0.2.1:81 | default/a=10.1.0.1:9090 default/b=10.1.0.2:9091 |  | ",
            "default/web:http/TCP | ExternalIp 192.0.2.1:80 | default/a=10.1.0.1:8080 default/b=10.1.0.2:8081 |  | ",
        ],
        &[],
    );
}

/// A.2: slices of domain names have no meaning, and the Service's other slices are not touched by them.
#[test]
fn a2_domain_names() {
    let names = slice_with("t", "FQDN", "{name: '', port: 8080}", "{addresses: [pods.example], nodeName: n1}");
    let home = tempfile::tempdir().expect("a directory");
    let good = slice("s", &endpoint("10.1.0.1", "n1", "a", ""));
    std::fs::write(home.path().join("all.yaml"), format!("{NODES}{}{good}{names}", service(""))).expect("write");
    let (snapshot, problems) = crate::source::Directory::new(home.path()).read();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].to_string().contains("EndpointSlice default/t: addressType: FQDN endpoints cannot be balanced")
    );
    let (desired, problems) = desired(&snapshot, &options());
    assert_eq!(problems, []);
    assert_eq!(lines(&desired), ["default/web:/TCP | ExternalIp 192.0.2.1:80 | default/a=10.1.0.1:8080 |  | "]);
}

/// A.3 (util/utils.go:188-212): a Service of one family has no endpoints of the other, whatever slices there are.
#[test]
fn a3_slices_of_a_family_that_the_service_is_not() {
    let v6 = slice_with("t", "IPv6", "{name: '', port: 8080}", &endpoint("fd01::1", "n1", "a", ""));
    check(
        "IPv4 alone",
        &format!("{}{}{v6}", service("ipFamilies: [IPv4]"), slice("s", &endpoint("10.1.0.1", "n1", "a", ""))),
        &["default/web:/TCP | ExternalIp 192.0.2.1:80 | default/a=10.1.0.1:8080 |  | "],
        &[],
    );
}

/// A.4 (topology.go:48-154): the fall-back is for each family by itself.
#[test]
fn a4_families_fall_back_separately() {
    let terminating = "ready: false, serving: true, terminating: true";
    let v4 = format!("{}{}", endpoint("10.1.0.1", "n1", "a", ""), endpoint("10.1.0.2", "n1", "b", terminating));
    let v6 = slice_with("t", "IPv6", "{name: '', port: 8080}", &endpoint("fd01::2", "n1", "b", terminating));
    check_endpoints(
        "ready in IPv4, terminating in IPv6",
        &format!("{}{v6}", slice("s", &v4)),
        "default/a=10.1.0.1:8080 | default/b=[fd01::2]:8080 | default/b=10.1.0.2:8080",
    );
}

/// A.2 (endpointslicecache.go:209,255): an endpoint without a node cannot be reached; it counts for nothing here but
/// for what clients are told.
#[test]
fn unreachable_nodes_are_told_once_each() {
    let endpoints: String =
        (0..50).map(|i| endpoint(&format!("10.1.0.{i}"), if i % 2 == 0 { "n8" } else { "n9" }, "a", "")).collect();
    let (desired, problems) = run(&format!("{}{}", service(""), slice("s", &endpoints)));
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert_eq!(desired.services.values().map(|port| port.backends.len()).collect::<Vec<_>>(), [0]);
}
