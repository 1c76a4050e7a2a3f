//! The rules of KUBERNETES (A.1 to A.4), one test each, on small manifests.

use std::fs;

use super::*;
use crate::source::Directory;

const NODES: &str = "
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 10.0.0.1}, {type: InternalIP, address: 'fd00::1'}, {type: ExternalIP, address: 203.0.113.1}, {type: Hostname, address: n1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 10.0.0.2}, {type: InternalIP, address: 10.0.9.2}]}}
---
";

fn options() -> Options {
    Options { node: "n1".to_owned(), tunnel_port: 6081, ..Options::default() }
}

/// A Service `default/web` with one unnamed port 80 and external IP 192.0.2.1.
fn service(rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{externalIPs: [192.0.2.1], ports: [{{name: '', port: 80}}], {rest}}}}}\n---\n"
    )
}

/// A slice of `default/web` with port 8080.
fn slice(name: &str, endpoints: &str) -> String {
    slice_with(name, "IPv4", "{name: '', port: 8080}", endpoints)
}

fn slice_with(name: &str, address_type: &str, ports: &str, endpoints: &str) -> String {
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {name}, labels: {{kubernetes.io/service-name: web}}}}, addressType: {address_type}, ports: [{ports}], endpoints: [{endpoints}]}}\n---\n"
    )
}

/// An endpoint on a node, with a Pod's name and conditions.
fn endpoint(address: &str, node: &str, pod: &str, conditions: &str) -> String {
    format!(
        "{{addresses: ['{address}'], nodeName: {node}, targetRef: {{kind: Pod, name: {pod}}}, conditions: {{{conditions}}}}},"
    )
}

fn run_alone(manifests: &str, options: &Options) -> (Desired, Vec<String>) {
    let home = tempfile::tempdir().expect("a directory");
    fs::write(home.path().join("all.yaml"), manifests).expect("write");
    let (snapshot, problems) = Directory::new(home.path()).read();
    assert_eq!(problems, [], "{manifests}");
    let (desired, problems) = desired(&snapshot, options);
    (desired, problems.iter().map(ToString::to_string).collect())
}

fn run(manifests: &str) -> (Desired, Vec<String>) {
    run_alone(&format!("{NODES}{manifests}"), &options())
}

/// One line a Service port: its frontends, its pools, and the backends that get no new flows.
fn lines(desired: &Desired) -> Vec<String> {
    let line = |(name, port): (&ServicePortName, &ServicePort)| {
        let frontends: Vec<String> =
            port.frontends.iter().map(|f| format!("{:?} {}:{}", f.kind, f.address, f.port)).collect();
        let show = |b: &Backend| format!("{}={}", b.identity, b.address);
        let pool = |family| {
            let pool = port.pools.of(family).iter().map(|index| show(&port.backends[*index]));
            pool.collect::<Vec<_>>().join(" ")
        };
        let others = port.backends.iter().filter_map(|backend| match backend.state {
            BackendState::Active => None,
            BackendState::Draining => Some(show(backend)),
            BackendState::NotReady => Some(format!("{}(not ready)", show(backend))),
            BackendState::Excluded => Some(format!("{}(excluded)", show(backend))),
        });
        let others: Vec<String> = others.collect();
        format!(
            "{name} | {} | {} | {} | {}",
            frontends.join(", "),
            pool(Family::V4),
            pool(Family::V6),
            others.join(" ")
        )
    };
    desired.services.iter().map(line).collect()
}

/// Compares the lines, and that each problem has the expected part.
fn check(what: &str, manifests: &str, expected: &[&str], problems: &[&str]) {
    let (desired, found) = run(manifests);
    assert_eq!(lines(&desired), expected, "{what}: {found:#?}");
    assert_eq!(found.len(), problems.len(), "{what}: {found:#?}");
    for (found, part) in found.iter().zip(problems) {
        assert!(found.contains(part), "{what}: {found} should contain {part}");
    }
    for port in desired.services.values() {
        for backend in &port.backends {
            let node = backend.node.as_deref().unwrap_or_default();
            assert!(desired.nodes.contains_key(node), "{what}: {backend:?}");
        }
    }
}

/// Checks the pools of `default/web` alone.
fn check_endpoints(what: &str, slices: &str, pools: &str) {
    let line = format!("default/web:/TCP | ExternalIp 192.0.2.1:80 | {pools}");
    check(what, &format!("{}{slices}", service("")), &[&line], &[]);
}

/// A.1: another proxy's Services, headless ones and ExternalName are not ours; their slices are
/// no orphans.
#[test]
fn a1_services_that_are_not_ours() {
    let one = slice("s", &endpoint("10.1.0.1", "n1", "a", ""));
    for rest in ["clusterIP: None", "clusterIPs: [None]", "type: ExternalName"] {
        check(rest, &format!("{}{one}", service(rest)), &[], &[]);
    }
    let labelled = service("").replace(
        "metadata: {name: web}",
        "metadata: {name: web, labels: {service.kubernetes.io/service-proxy-name: ''}}",
    );
    check("proxy name, any value", &format!("{labelled}{one}"), &[], &[]);
    check(
        "a cluster IP that a manifest leaves out",
        &service(""),
        &["default/web:/TCP | ExternalIp 192.0.2.1:80 |  |  | "],
        &[],
    );
}

/// A.1: slices with the headless label are ignored, whatever its value.
#[test]
fn a1_slices_with_the_headless_label() {
    let headless = slice("s", &endpoint("10.1.0.1", "n1", "a", ""))
        .replace("labels: {", "labels: {service.kubernetes.io/headless: '', ");
    check_endpoints("headless", &headless, " |  | ");
}

/// A.1: slices join by label and namespace.
#[test]
fn a1_slices_join_by_label_and_namespace() {
    let one = slice("s", &endpoint("10.1.0.1", "n1", "a", ""));
    check(
        "no Service, no label, other namespace",
        &format!(
            "{one}{}{}",
            one.replace("name: s,", "name: t,").replace("labels: {kubernetes.io/service-name: web}", "labels: {}"),
            one.replace("name: s,", "name: s, namespace: other,"),
        ),
        &[],
        &[
            "EndpointSlice default/s: there is no Service default/web",
            "EndpointSlice default/t: metadata.labels: no label kubernetes.io/service-name",
            "EndpointSlice other/s: there is no Service other/web",
        ],
    );
}

/// A.1: ports are independent; one number with two protocols is two Service ports.
#[test]
fn a1_same_port_with_two_protocols() {
    let service = service("")
        .replace("[{name: '', port: 80}]", "[{name: t, port: 53, protocol: TCP}, {name: u, port: 53, protocol: UDP}]");
    let ports = "{name: t, port: 5353}, {name: u, port: 5354, protocol: UDP}";
    check(
        "dns",
        &format!("{service}{}", slice_with("s", "IPv4", ports, &endpoint("10.1.0.1", "n1", "a", ""))),
        &[
            "default/web:t/TCP | ExternalIp 192.0.2.1:53 | default/a=10.1.0.1:5353 |  | ",
            "default/web:u/UDP | ExternalIp 192.0.2.1:53 | default/a=10.1.0.1:5354 |  | ",
        ],
        &[],
    );
}

/// A.2: nil ready and serving are true, nil terminating is false.
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

/// A.2: only the first address of an endpoint counts, and it may be missing.
#[test]
fn a2_only_the_first_address() {
    check_endpoints(
        "two and none",
        &slice("s", "{addresses: [10.1.0.1, 10.1.0.2], nodeName: n1}, {addresses: [], nodeName: n1}"),
        "10.1.0.1:8080=10.1.0.1:8080 |  | ",
    );
}

/// A.2: ports with a nil name or number are ignored; the name and the protocol must match.
#[test]
fn a2_ports_that_do_not_count() {
    for port in ["{port: 1}", "{name: ''}", "{name: x, port: 1}", "{name: '', port: 1, protocol: UDP}"] {
        let slice = slice_with("s", "IPv4", port, &endpoint("10.1.0.1", "n1", "a", ""));
        check_endpoints(port, &slice, " |  | ");
    }
}

/// A.2: a Service's endpoints are those of all its slices; a named port may have another number
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

/// A.2: an address in two slices is one endpoint; the last slice counts, but a terminating copy
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

/// A.2: slices of a family go to that family; FQDN slices nowhere.
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

/// A.3: load-balancer addresses, external IPs and node ports by type.
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

/// A.3: addresses are filtered by the Service's families, and those left out are named.
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

/// Source ranges are not enforced yet, so the load-balancer addresses are left out.
#[test]
fn a3_source_ranges() {
    let with = |ranges: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{type: LoadBalancer, externalIPs: [192.0.2.1], loadBalancerSourceRanges: {ranges}, ports: [{{port: 80}}]}}, status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.7}}]}}}}}}"
        )
    };
    check(
        "a range",
        &with("[10.0.0.0/8]"),
        &["default/web:/TCP | ExternalIp 192.0.2.1:80 |  |  | "],
        &["all.yaml: Service default/web: spec.loadBalancerSourceRanges: source ranges are not enforced yet"],
    );
    check(
        "everybody",
        &with("['0.0.0.0/0 ', '::/0']"),
        &["default/web:/TCP | ExternalIp 192.0.2.1:80, LoadBalancerIp 192.0.2.7:80 |  |  | "],
        &[],
    );
}

/// A.4: ready ones; if there are none, those that serve while they terminate; the rest drains.
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

/// A.4: with policy Local only this node's endpoints are asked, and ready ones elsewhere do not
/// keep a terminating local one from serving.
#[test]
fn a4_local_policy() {
    let remote = endpoint("10.1.0.1", "n2", "a", "ready: true");
    let local = endpoint("10.1.0.2", "n1", "b", "ready: true");
    let terminating = endpoint("10.1.0.3", "n1", "c", "ready: false, serving: true, terminating: true");
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
    check("tcp", &on("10.0.0.1", "TCP"), &["default/web:/TCP | ExternalIp 10.0.0.1:6081 |  |  | "], &[]);
    check("elsewhere", &on("10.0.0.2", "UDP"), &["default/web:/UDP | ExternalIp 10.0.0.2:6081 |  |  | "], &[]);
}

/// A.6: affinity and its timeout.
#[test]
fn a6_affinity() {
    for (spec, expected) in [
        ("", Affinity::None),
        ("sessionAffinity: None", Affinity::None),
        ("sessionAffinity: ClientIP", Affinity::ClientIp(ClientAffinity::default())),
        (
            "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 125}}",
            Affinity::ClientIp(ClientAffinity { timeout_seconds: 125, ..ClientAffinity::default() }),
        ),
    ] {
        let (desired, _) = run(&service(spec));
        let found: Vec<Affinity> = desired.services.values().map(|port| port.affinity).collect();
        assert_eq!(found, [expected], "{spec}");
    }
}

/// Limpet's annotations: each is checked, and a wrong one is told and its default used.
#[test]
fn affinity_annotations() {
    let with = |annotations: &str, affinity: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: web, annotations: {{{annotations}}}}}, spec: {{sessionAffinity: {affinity}, externalIPs: [192.0.2.1], ports: [{{port: 80}}]}}}}"
        )
    };
    let default = ClientAffinity::default();
    let at = "Service default/web: metadata.annotations[limpet.dev/";
    for (annotations, expected, problem) in [
        ("limpet.dev/affinity-key: port", default, None),
        ("limpet.dev/affinity-key: service", ClientAffinity { key: AffinityKey::Service, ..default }, None),
        (
            "limpet.dev/affinity-key: Pod",
            default,
            Some("affinity-key]: \"Pod\" is neither port nor service; port is used"),
        ),
        ("limpet.dev/client-prefix: '24,64'", ClientAffinity { prefix_v4: 24, prefix_v6: 64, ..default }, None),
        (
            "limpet.dev/client-prefix: '24'",
            default,
            Some(
                "client-prefix]: \"24\" is not two lengths, of IPv4 from 1 to 32 and of IPv6 from 1 to 128, as in \"24,64\"; \"32,128\" is used",
            ),
        ),
        ("limpet.dev/affinity-expiry: real", default, None),
        ("limpet.dev/affinity-expiry: stable", ClientAffinity { expiry: AffinityExpiry::Stable, ..default }, None),
        (
            "limpet.dev/affinity-expiry: never",
            default,
            Some("affinity-expiry]: \"never\" is neither real nor stable; real is used"),
        ),
    ] {
        for (affinity, expected) in [("ClientIP", Affinity::ClientIp(expected)), ("None", Affinity::None)] {
            let (desired, problems) = run(&with(annotations, affinity));
            let found: Vec<Affinity> = desired.services.values().map(|port| port.affinity).collect();
            assert_eq!(found, [expected], "{annotations}");
            assert_eq!(problems.len(), usize::from(problem.is_some()), "{annotations}: {problems:?}");
            for (found, problem) in problems.iter().zip(problem) {
                assert!(found.contains(&format!("{at}{problem}")), "{found}");
            }
        }
    }
}
