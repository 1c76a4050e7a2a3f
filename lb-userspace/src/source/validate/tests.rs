//! What is said of wrong objects, and what is left of them.

use super::*;
use crate::source::document::{Format, parse};

/// What is said of a manifest, and whether it is refused; `None` where nothing is left.
fn verdict(yaml: &str) -> (bool, Option<Object>, Vec<String>) {
    let parsed = parse(Format::Yaml, yaml);
    assert_eq!(parsed.problems, [], "{yaml}");
    let checked = check(parsed.objects.into_iter().next().expect("one object").1);
    (checked.refused, checked.object, checked.problems.iter().map(ToString::to_string).collect())
}

fn check_manifest(what: &str, yaml: &str, refused: bool, problems: &[&str]) {
    let found = verdict(yaml);
    assert_eq!(found.0, refused, "{what}");
    assert_eq!(found.2, problems, "{what}");
}

fn service(spec: &str) -> String {
    format!("{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{{spec}}}}}")
}

fn slice(rest: &str) -> String {
    format!("{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: web-1}}, {rest}}}")
}

#[test]
fn services() {
    check_manifest("sound", &service("ports: [{port: 80, nodePort: 30080}]"), false, &[]);
    check_manifest(
        "ports out of range",
        &service("ports: [{name: a, port: 0}, {name: b, port: 65536}, {name: c, port: 80, nodePort: -1}]"),
        true,
        &[
            "error: Service default/web: spec.ports[0].port: 0 is not in 1..=65535; the port is ignored",
            "error: Service default/web: spec.ports[1].port: 65536 is not in 1..=65535; the port is ignored",
            "error: Service default/web: spec.ports[2].nodePort: -1 is not in 1..=65535; there is no node port",
        ],
    );
    check_manifest(
        "protocols",
        &service("ports: [{name: a, port: 1, protocol: SCTP}, {name: b, port: 1, protocol: tcp}]"),
        true,
        &["error: Service default/web: spec.ports[1].protocol: \"tcp\" is none of TCP, UDP, SCTP; the port is ignored"],
    );
    check_manifest(
        "one name twice",
        &service("ports: [{port: 1}, {port: 1, protocol: UDP}, {port: 2}]"),
        true,
        &["error: Service default/web: spec.ports[2].name: a second port with this name and protocol; it is ignored"],
    );
    check_manifest(
        "timeout",
        &service("sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}"),
        false,
        &[
            "error: Service default/web: spec.sessionAffinityConfig.clientIP.timeoutSeconds: 86401 is not in 1..=86400; the default, 10800, is used",
        ],
    );
    check_manifest(
        "addresses",
        &service("externalIPs: [10.0.0.300, 127.0.0.1, 2001:db8::1]"),
        true,
        &[
            "error: Service default/web: spec.externalIPs[0]: \"10.0.0.300\" is not an IP address; it is ignored",
            "error: Service default/web: spec.externalIPs[1]: 127.0.0.1 is a loopback address; it is ignored",
        ],
    );
}

#[test]
fn slices_and_nodes() {
    check_manifest(
        "family",
        &slice("addressType: IPv4, endpoints: [{addresses: ['2001:db8::1']}, {addresses: [10.0.0.1]}]"),
        true,
        &[
            "error: EndpointSlice default/web-1: endpoints[0].addresses[0]: 2001:db8::1 does not fit the slice's addressType IPv4; the endpoint is ignored",
        ],
    );
    check_manifest(
        "no such type",
        &slice("addressType: IPv5, endpoints: []"),
        true,
        &[
            "error: EndpointSlice default/web-1: addressType: \"IPv5\" is none of IPv4, IPv6, FQDN; the slice is ignored",
        ],
    );
    check_manifest(
        "port out of range, which the API server does not look at",
        &slice(
            "addressType: IPv4, endpoints: [], ports: [{name: a, port: 0}, {name: b, port: 65536}, {name: c, port: 1}]",
        ),
        false,
        &[
            "error: EndpointSlice default/web-1: ports[0].port: 0 is not in 1..=65535; the port is ignored",
            "error: EndpointSlice default/web-1: ports[1].port: 65536 is not in 1..=65535; the port is ignored",
        ],
    );
    check_manifest("nil port", &slice("addressType: IPv4, endpoints: [], ports: [{name: a}]"), false, &[]);
    check_manifest(
        "node",
        "{apiVersion: v1, kind: Node, metadata: {name: n}, status: {addresses: [{type: InternalIP, address: x}, {type: Hostname, address: n}]}}",
        false,
        &["error: Node n: status.addresses[0].address: \"x\" is not an IP address; it is ignored"],
    );
}

/// What the API server takes and nobody can be served with is taken out, without keeping the object's last version.
#[test]
fn what_the_api_server_takes() {
    check_manifest(
        "a load balancer's address",
        "{apiVersion: v1, kind: Service, metadata: {name: web}, status: {loadBalancer: {ingress: [{ip: 127.0.0.1}]}}}",
        false,
        &[
            "error: Service default/web: status.loadBalancer.ingress[0].ip: 127.0.0.1 is a loopback address; it is ignored",
        ],
    );
    check_manifest(
        "multicast that is not of a link",
        &slice("addressType: IPv4, endpoints: [{addresses: [239.1.2.3]}]"),
        false,
        &[
            "error: EndpointSlice default/web-1: endpoints[0].addresses[0]: 239.1.2.3 is a multicast address; it is ignored",
        ],
    );
    check_manifest("SCTP", &service("ports: [{port: 1, protocol: SCTP}]"), false, &[]);
    check_manifest(
        "a wrong range, which is the model's to tell",
        &service("type: LoadBalancer, loadBalancerSourceRanges: [everybody]"),
        false,
        &[],
    );
}

#[test]
fn words() {
    for (spec, problem) in [
        (
            "type: Balancer",
            "spec.type: \"Balancer\" is none of ClusterIP, NodePort, LoadBalancer, ExternalName; ClusterIP is used",
        ),
        (
            "externalTrafficPolicy: local",
            "spec.externalTrafficPolicy: \"local\" is none of Cluster, Local; Cluster is used",
        ),
        ("internalTrafficPolicy: x", "spec.internalTrafficPolicy: \"x\" is none of Cluster, Local; Cluster is used"),
        ("sessionAffinity: Cookie", "spec.sessionAffinity: \"Cookie\" is none of None, ClientIP; None is used"),
        ("healthCheckNodePort: 65536", "spec.healthCheckNodePort: 65536 is not in 1..=65535; it is not served"),
    ] {
        check_manifest(spec, &service(spec), true, &[&format!("error: Service default/web: {problem}")]);
    }
}

#[test]
fn only_the_wrong_parts_are_taken_out() {
    let (_, object, _) = verdict(&service("ports: [{name: a, port: 0}, {name: b, port: 80}]"));
    let Some(Object::Service(service)) = object else { panic!("a Service") };
    let ports = service.spec.as_ref().and_then(|s| s.ports.as_ref()).expect("ports");
    assert_eq!(ports.iter().map(|p| p.port).collect::<Vec<_>>(), [80]);
}

#[test]
fn names_that_dns_cannot_hold_leave_nothing() {
    for name in ["x".repeat(64), "Web".to_owned(), "a/b".to_owned(), String::new()] {
        let (refused, object, problems) =
            verdict(&format!("{{apiVersion: v1, kind: Service, metadata: {{name: '{name}'}}}}"));
        assert!(refused && object.is_none() && problems.len() == 1, "{name}: {problems:?}");
    }
}
