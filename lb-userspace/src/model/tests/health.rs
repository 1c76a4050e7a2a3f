//! Health-check node ports (A.9), and whether the node is to get new connections (KEP-3836).

use super::fixture::*;
use crate::model::*;

const ACTIVE: &str = "externalTrafficPolicy: Local, healthCheckNodePort: 32000";

/// `name:port=endpoints` of each.
fn checks(desired: &Desired) -> Vec<String> {
    let show = |c: &HealthCheck| format!("{}/{}:{}={}", c.namespace, c.name, c.port, c.local_endpoints);
    desired.health_checks.iter().map(show).collect()
}

fn check_health(what: &str, service: &str, slices: &str, expected: &[&str]) {
    let (desired, problems) = run(&format!("{service}{slices}"));
    assert_eq!(checks(&desired), expected, "{what}: {problems:?}");
}

/// A.9 (api/v1/service/util.go:90-99): active with type LoadBalancer and policy Local, and with nothing else.
#[test]
fn a9_active() {
    let endpoints = slice("s", &endpoint("10.1.0.1", "n1", "a", ""));
    check_health("active", &load_balancer(ACTIVE), &endpoints, &["default/web:32000=1"]);
    check_health(
        "policy Cluster",
        &load_balancer("externalTrafficPolicy: Cluster, healthCheckNodePort: 32000"),
        &endpoints,
        &[],
    );
    check_health("no policy", &load_balancer("healthCheckNodePort: 32000"), &endpoints, &[]);
    check_health("no port", &load_balancer("externalTrafficPolicy: Local"), &endpoints, &[]);
    check_health("port 0", &load_balancer("externalTrafficPolicy: Local, healthCheckNodePort: 0"), &endpoints, &[]);
    check_health(
        "another type",
        &service("type: NodePort, externalTrafficPolicy: Local, healthCheckNodePort: 32000"),
        &endpoints,
        &[],
    );
    let other_proxy = load_balancer(ACTIVE).replace(
        "metadata: {name: web}",
        "metadata: {name: web, labels: {service.kubernetes.io/service-proxy-name: other}}",
    );
    check_health("another proxy's", &other_proxy, &endpoints, &[]);
}

/// A.9 (endpointschangetracker.go:251-291): what counts are ready endpoints on this node, by address, whatever the number
/// of ports; terminating ones do not, though they are served.
#[test]
fn a9_what_counts() {
    let ready = endpoint("10.1.0.1", "n1", "a", "");
    let other = endpoint("10.1.0.2", "n1", "b", "");
    let remote = endpoint("10.1.0.3", "n2", "c", "");
    let unready = endpoint("10.1.0.4", "n1", "d", "ready: false");
    let terminating = endpoint("10.1.0.5", "n1", "e", "ready: false, serving: true, terminating: true");
    for (what, endpoints, expected) in [
        ("none", String::new(), 0),
        ("two", format!("{ready}{other}"), 2),
        ("elsewhere", remote.clone(), 0),
        ("not ready", format!("{ready}{unready}"), 1),
        ("terminating", format!("{ready}{terminating}"), 1),
        ("terminating alone", terminating.clone(), 0),
    ] {
        let expected = format!("default/web:32000={expected}");
        check_health(what, &load_balancer(ACTIVE), &slice("s", &endpoints), &[&expected]);
    }
    let two_ports =
        load_balancer(ACTIVE).replace("[{name: '', port: 80}]", "[{name: a, port: 80}, {name: b, port: 81}]");
    let ports = "{name: a, port: 8080}, {name: b, port: 8081}";
    check_health(
        "two ports",
        &two_ports,
        &slice_with("s", "IPv4", ports, &format!("{ready}{other}")),
        &["default/web:32000=2"],
    );
    check_health(
        "two slices for two ports, one address in both",
        &two_ports,
        &format!(
            "{}{}",
            slice_with("s", "IPv4", "{name: a, port: 8080}", &ready),
            slice_with("t", "IPv4", "{name: b, port: 8081}", &format!("{ready}{other}")),
        ),
        &["default/web:32000=2"],
    );
    check_health(
        "twice the same",
        &load_balancer(ACTIVE),
        &format!("{}{}", slice("s", &ready), slice("t", &ready)),
        &["default/web:32000=1"],
    );
    check_health(
        "a Pod of both families is one",
        &load_balancer(ACTIVE),
        &format!(
            "{}{}",
            slice("s", &format!("{ready}{other}")),
            slice_with("t", "IPv6", "{name: '', port: 8080}", &endpoint("fd01::1", "n1", "a", "")),
        ),
        &["default/web:32000=2"],
    );
}

/// Two Services that name one port, which no API server gives: the first by name has it.
#[test]
fn a9_one_port_of_two_services() {
    let named = |name: &str| {
        load_balancer(ACTIVE)
            .replace("name: web}", &format!("name: {name}}}"))
            .replace("status: {loadBalancer: {ingress: [{ip: 192.0.2.7}, {ip: '2001:db8::7'}]}}", "status: {}")
    };
    let (desired, problems) = run(&format!("{}{}", named("b"), named("a")));
    assert_eq!(checks(&desired), ["default/a:32000=0"]);
    assert_eq!(
        problems,
        [
            "error: all.yaml: Service default/b: spec.healthCheckNodePort: 32000 is already that of default/a; it is not served"
        ]
    );
}

/// KEP-3836 (healthcheck/proxy_health.go:180-197): known, not being deleted, and without the autoscaler's taint, whatever
/// that one's effect and value.
#[test]
fn a9_eligibility_of_the_node() {
    let eligible = NodeEligibility { known: true, ..NodeEligibility::default() };
    for (what, meta, spec, expected) in [
        ("as it should be", "", "", eligible),
        ("deleting", ", deletionTimestamp: '2026-01-01T00:00:00Z'", "", NodeEligibility { deleting: true, ..eligible }),
        (
            "tainted",
            "",
            "taints: [{key: x, effect: NoSchedule}, {key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule, value: '17'}]",
            NodeEligibility { tainted: true, ..eligible },
        ),
        ("another taint", "", "taints: [{key: node.kubernetes.io/unreachable, effect: NoExecute}]", eligible),
    ] {
        let nodes =
            NODES.replacen("metadata: {name: n1}", &format!("metadata: {{name: n1{meta}}}, spec: {{{spec}}}"), 1);
        let (desired, _) = run_alone(&nodes, &options());
        assert_eq!(desired.eligibility, expected, "{what}");
    }
    let (desired, _) = run_alone(NODES, &Options { node: "n7".to_owned(), ..options() });
    assert_eq!(desired.eligibility, NodeEligibility::default(), "unknown");
}
