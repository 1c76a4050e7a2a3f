//! Objects that no API server would take: told, never a panic, and no harm to other Services.
//!
//! They go the way of those in a directory: what cannot be is taken out at the border, by the source, and the model is
//! left with the rest. Objects that are bent at random are in `wild`.

use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};

use super::fixture::*;
use crate::model::*;
use crate::source::{Directory, MAX_PROBLEMS_PER_OBJECT, Origin, Snapshot, Sourced};

/// A sound Service beside the wrong ones: `default/good`, with a slice.
fn good() -> String {
    let slice =
        slice("good-1", &endpoint("10.1.9.9", "n1", "good", "")).replace("service-name: web", "service-name: good");
    format!("{}{slice}", service("").replace("name: web}", "name: good}").replace("192.0.2.1", "192.0.2.99"))
}

const GOOD: &str = "default/good:/TCP | ExternalIp 192.0.2.99:80 | default/good=10.1.9.9:8080 |  | ";

/// What comes of the manifests beside a good Service: lines of the others, and all that source and model tell.
pub(super) fn beside_good(what: &str, manifests: &str) -> (Vec<String>, Vec<String>) {
    let home = tempfile::tempdir().expect("a directory");
    fs::write(home.path().join("good.yaml"), format!("{NODES}{}", good())).expect("write");
    fs::write(home.path().join("wrong.yaml"), manifests).expect("write");
    let (snapshot, mut problems) = Directory::new(home.path()).read();
    let (desired, found) = desired(&snapshot, &options());
    problems.extend(found);
    let mut lines = lines(&desired);
    let good = lines.iter().position(|line| line == GOOD);
    lines.remove(good.unwrap_or_else(|| panic!("{what}: the good Service is not as it was: {lines:?}")));
    (lines, problems.iter().map(ToString::to_string).collect())
}

fn check_wrong(what: &str, manifests: &str, expected: &[&str], problems: &[&str]) {
    let (lines, told) = beside_good(what, manifests);
    assert_eq!(lines, expected, "{what}: {told:#?}");
    assert_eq!(told.len(), problems.len(), "{what}: {told:#?}");
    for part in problems {
        assert!(told.iter().any(|line| line.contains(part)), "{what}: {part} should be in {told:#?}");
    }
}

#[test]
fn missing_fields() {
    let service = "apiVersion: v1, kind: Service";
    let slice = "apiVersion: discovery.k8s.io/v1, kind: EndpointSlice";
    let labels = "labels: {kubernetes.io/service-name: good}";
    for (what, manifest, problem) in [
        ("no metadata", format!("{{{service}, spec: {{}}}}"), Some("metadata.name: the name is missing")),
        ("no name", format!("{{{service}, metadata: {{}}}}"), Some("metadata.name: the name is missing")),
        ("no spec", format!("{{{service}, metadata: {{name: x}}}}"), None),
        ("an empty spec", format!("{{{service}, metadata: {{name: x}}, spec: {{}}}}"), None),
        ("no status", format!("{{{service}, metadata: {{name: x}}, spec: {{type: LoadBalancer}}}}"), None),
        ("a slice without anything", format!("{{{slice}}}"), Some("metadata.name: the name is missing")),
        (
            "a slice without addressType",
            format!("{{{slice}, metadata: {{name: x, {labels}}}}}"),
            Some("addressType: \"\" is none of IPv4, IPv6, FQDN"),
        ),
        ("a slice without endpoints", format!("{{{slice}, metadata: {{name: x, {labels}}}, addressType: IPv4}}"), None),
        (
            "an endpoint without anything",
            format!(
                "{{{slice}, metadata: {{name: x, {labels}}}, addressType: IPv4, ports: [{{name: '', port: 1}}], endpoints: [{{}}]}}"
            ),
            None,
        ),
        (
            "a node without anything",
            "{apiVersion: v1, kind: Node}".to_owned(),
            Some("metadata.name: the name is missing"),
        ),
        ("a node without status", "{apiVersion: v1, kind: Node, metadata: {name: x}}".to_owned(), None),
    ] {
        check_wrong(what, &manifest, &[], problem.as_slice());
    }
}

#[test]
fn ports_that_cannot_be() {
    let manifest = format!(
        "{}{}",
        service("").replace(
            "[{name: '', port: 80}]",
            "[{name: a, port: 0}, {name: b, port: 65536}, {name: c, port: -1}, {name: d, port: 80}, {name: e, port: 2147483647}]"
        ),
        slice_with(
            "s",
            "IPv4",
            "{name: d, port: 0}, {name: d, port: 65536}, {name: d, port: 8080}",
            &endpoint("10.1.0.1", "n1", "a", "")
        ),
    );
    check_wrong(
        "ports",
        &manifest,
        &["default/web:d/TCP | ExternalIp 192.0.2.1:80 | default/a=10.1.0.1:8080 |  | "],
        &[
            "Service default/web: spec.ports[0].port: 0 is not in 1..=65535",
            "Service default/web: spec.ports[1].port: 65536 is not in 1..=65535",
            "Service default/web: spec.ports[2].port: -1 is not in 1..=65535",
            "Service default/web: spec.ports[4].port: 2147483647 is not in 1..=65535",
            "EndpointSlice default/s: ports[0].port: 0 is not in 1..=65535",
            "EndpointSlice default/s: ports[1].port: 65536 is not in 1..=65535",
        ],
    );
}

/// Addresses that nothing can be sent to from outside, wherever they are given.
#[test]
fn addresses_that_cannot_be() {
    let v4 = ["0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "239.1.2.3", "255.255.255.255", "10.0.0.300", "x"];
    let v6 = ["::", "::1", "fe80::1", "ff02::1", "ff0e::1", "::ffff:10.0.0.1", "fd00::12345"];
    for address in v4.iter().chain(&v6) {
        let family = if address.contains(':') { "IPv6" } else { "IPv4" };
        let told = |place: &str| format!("{place}: {address}");
        let quoted = |place: &str| format!("{place}: {address:?}");
        for (place, manifest) in [
            (
                "EndpointSlice default/s: endpoints[0].addresses[0]",
                format!(
                    "{}{}",
                    service(""),
                    slice_with("s", family, "{name: '', port: 1}", &endpoint(address, "n1", "a", ""))
                ),
            ),
            (
                "Service default/web: spec.externalIPs[1]",
                service("").replace("[192.0.2.1]", &format!("[192.0.2.1, '{address}']")),
            ),
            (
                "Service default/web: status.loadBalancer.ingress[0].ip",
                service("type: LoadBalancer").replace(
                    "}\n---",
                    &format!(", status: {{loadBalancer: {{ingress: [{{ip: '{address}'}}]}}}}}}\n---"),
                ),
            ),
        ] {
            let (lines, problems) = beside_good(address, &manifest);
            assert_eq!(lines, ["default/web:/TCP | ExternalIp 192.0.2.1:80 |  |  | "], "{place} {address}");
            assert_eq!(problems.len(), 1, "{place} {address}: {problems:?}");
            let found = &problems[0];
            assert!(found.contains(&told(place)) || found.contains(&quoted(place)), "{place} {address}: {found}");
        }
    }
    // Of nodes they are no tunnel's end: what runs there cannot be reached, and that is told.
    let node = "{apiVersion: v1, kind: Node, metadata: {name: n5}, status: {addresses: [{type: InternalIP, address: 127.0.0.1}]}}\n---\n";
    check_wrong(
        "node",
        &format!("{node}{}{}", service(""), slice("s", &endpoint("10.1.0.1", "n5", "a", ""))),
        &["default/web:/TCP | ExternalIp 192.0.2.1:80 |  |  | "],
        &[
            "Node n5: status.addresses[0].address: 127.0.0.1 is a loopback address",
            "endpoints on n5 are not used: Node n5 has no InternalIP of IPv4",
        ],
    );
}

#[test]
fn unknown_address_types() {
    for address_type in ["IPv5", "ipv4", "' IPv4'"] {
        check_wrong(
            address_type,
            &format!(
                "{}{}",
                service(""),
                slice_with("s", address_type, "{name: '', port: 8080}", &endpoint("10.1.0.1", "n1", "a", ""))
            ),
            &["default/web:/TCP | ExternalIp 192.0.2.1:80 |  |  | "],
            &["EndpointSlice default/s: addressType:"],
        );
    }
}

/// Values of 10 KB and of control characters: a line of them can be read, whatever is in it.
#[test]
fn long_and_absurd_texts() {
    let texts =
        ["x".repeat(10_240), "\\e[2J\\0\\a\\n\\r\\t".repeat(100), "🦪".repeat(3_000), "../../etc/passwd".to_owned()];
    for text in &texts {
        let text = format!("\"{text}\"");
        let slice_of = |endpoints: &str| slice("s", endpoints);
        for (place, manifest) in [
            ("name", service("").replace("name: web}", &format!("name: {text}}}"))),
            ("namespace", service("").replace("name: web}", &format!("name: web, namespace: {text}}}"))),
            ("port's name", service("").replace("name: ''", &format!("name: {text}"))),
            ("protocol", service("").replace("port: 80", &format!("port: 80, protocol: {text}"))),
            ("type", service(&format!("type: {text}"))),
            ("policy", service(&format!("externalTrafficPolicy: {text}"))),
            ("affinity", service(&format!("sessionAffinity: {text}"))),
            ("range", load_balancer(&format!("loadBalancerSourceRanges: [{text}]"))),
            ("external IP", service("").replace("192.0.2.1", &text)),
            ("address type", format!("{}{}", service(""), slice_with("s", &text, "", ""))),
            (
                "annotation",
                service("")
                    .replace("name: web}", &format!("name: web, annotations: {{limpet.dev/affinity-key: {text}}}}}")),
            ),
            ("node", format!("{}{}", service(""), slice_of(&endpoint("10.1.0.1", &text, "a", "")))),
            ("Pod", format!("{}{}", service(""), slice_of(&endpoint("10.1.0.1", "n1", &text, "")))),
            ("slice's name", slice(&text, "")),
            ("node's name", format!("{{apiVersion: v1, kind: Node, metadata: {{name: {text}}}}}")),
        ] {
            let (_, problems) = beside_good(place, &manifest);
            assert!(!problems.is_empty(), "{place}: {text:.20}");
            for line in problems {
                assert!(line.chars().count() < 2_000, "{place}: {} characters", line.chars().count());
                assert!(!line.contains(char::is_control), "{place}: {line:?}");
            }
        }
    }
}

/// A Pod's name that no Pod can have is no identity: the endpoint goes by its address, and serves.
#[test]
fn a_pod_with_an_impossible_name() {
    check_wrong(
        "Pod",
        &format!("{}{}", service(""), slice("s", &endpoint("10.1.0.1", "n1", "'../x'", ""))),
        &["default/web:/TCP | ExternalIp 192.0.2.1:80 | 10.1.0.1:8080=10.1.0.1:8080 |  | "],
        &[
            "warning: wrong.yaml: EndpointSlice default/s: endpoints[0].targetRef.name: the name \"../x\" is not a DNS name",
        ],
    );
}

/// 100,000 endpoints in one slice: its first 1,000 are used. 100,000 wrong ones: the first few are told.
#[test]
fn a_slice_that_is_too_long() {
    let endpoints = |range: std::ops::Range<u32>| -> Vec<Value> {
        range.map(|i| json!({"addresses": [format!("10.{}.{}.{}", 100 + (i >> 16), i >> 8 & 255, i & 255)], "nodeName": "n1"})).collect()
    };
    let manifest = |endpoints: Vec<Value>| {
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "s", "labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{"name": "", "port": 8080}], "endpoints": endpoints});
        format!("{}{slice}\n", service(""))
    };
    let (lines, problems) = beside_good("too many", &manifest(endpoints(0..100_000)));
    assert_eq!(lines[0].matches(":8080=").count(), 1_000);
    assert_eq!(
        problems,
        [
            "error: wrong.yaml: EndpointSlice default/s: endpoints: 100000 are too many; the first 1000 are used, split the slice"
        ]
    );
    let mut wrong = endpoints(0..500);
    wrong.iter_mut().for_each(|endpoint| endpoint["addresses"] = json!(["127.0.0.1"]));
    let (_, problems) = beside_good("all wrong", &manifest(wrong));
    assert_eq!(problems.len(), MAX_PROBLEMS_PER_OBJECT + 1);
    assert!(problems.iter().any(|line| line.ends_with("and 480 more like these")), "{problems:?}");
}

/// Times from the future are times: the Service that has one is the youngest.
#[test]
fn times_from_the_future() {
    let at = |name: &str, time: &str| {
        service("").replace("name: web}", &format!("name: {name}, creationTimestamp: '{time}'}}"))
    };
    let (lines, problems) =
        beside_good("future", &format!("{}{}", at("a", "9999-12-30T00:00:00Z"), at("b", "2020-01-01T00:00:00Z")));
    assert_eq!(lines, ["default/a:/TCP |  |  |  | ", "default/b:/TCP | ExternalIp 192.0.2.1:80 |  |  | "]);
    assert_eq!(problems.len(), 1, "{problems:?}");
}

/// One Service of 100,000 endpoints in slices of 1,000, and one of 2,000 ports that all have the same slices: what is
/// quadratic would take minutes.
#[test]
fn large_services_are_not_quadratic() {
    let slice = |index: u32, ports: Vec<Value>, service: &str| {
        let endpoints: Vec<Value> = (0..1_000_u32)
            .map(|i| {
                let i = index * 1_000 + i;
                json!({"addresses": [format!("10.{}.{}.{}", 100 + (i >> 16), i >> 8 & 255, i & 255)], "nodeName": format!("gone-{i}"), "conditions": {"ready": i & 1 == 0}})
            })
            .collect();
        sourced(json!({"metadata": {"name": format!("{service}-{index}"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4", "ports": ports, "endpoints": endpoints}))
    };
    let mut slices: Vec<_> =
        (0..100).map(|index| slice(index, vec![json!({"name": "", "port": 8080})], "long")).collect();
    let ports: Vec<Value> = (1..=2_000).map(|i| json!({"name": format!("p{i}"), "port": i})).collect();
    slices.push(sourced(json!({"metadata": {"name": "wide-1", "namespace": "default",
        "labels": {"kubernetes.io/service-name": "wide"}}, "addressType": "IPv4", "ports": ports.clone(),
        "endpoints": [{"addresses": ["10.1.0.1"], "nodeName": "n1"}]})));
    let external: Vec<String> =
        (0..20_000_u32).map(|i| format!("192.{}.{}.{}", 1 + (i >> 16), i >> 8 & 255, i & 255)).collect();
    let service =
        |name: &str, spec: Value| sourced(json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec}));
    let snapshot = Snapshot {
        services: vec![
            service("long", json!({"externalIPs": external, "ports": [{"name": "", "port": 80}]})),
            service("wide", json!({"externalIPs": ["2001:db8::1"], "ports": ports})),
        ],
        slices,
        nodes: vec![sourced(json!({"metadata": {"name": "n1"}}))],
        complete: true,
    };
    let started = std::time::Instant::now();
    let (desired, problems) = desired(&snapshot, &options());
    let took = started.elapsed();
    assert_eq!(desired.services.len(), 2_001);
    assert_eq!(problems.len(), 100 * (MAX_PROBLEMS_PER_OBJECT + 1));
    assert!(took.as_secs() < 20, "{took:?}");
}

fn sourced<T: serde::de::DeserializeOwned>(value: Value) -> Sourced<T> {
    let object = serde_json::from_value(value).expect("an object");
    Sourced { object: Arc::new(object), origin: Origin::default() }
}
