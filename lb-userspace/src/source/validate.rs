//! What the API server would refuse, and what would do harm if it were programmed.
//!
//! An object from a file has not passed the API server. Each check reports what is wrong and takes
//! the wrong part out, so that the model only sees values that can be.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::document::Object;
use super::problem::{Problem, Severity};

/// Longest DNS label: names of namespaces, Services and ports.
const MAX_LABEL: usize = 63;
/// Longest DNS subdomain: names of EndpointSlices and Nodes.
const MAX_SUBDOMAIN: usize = 253;

/// What is left of an object after the checks.
pub(super) struct Checked {
    /// The object without its wrong parts; none if nothing of it can be used.
    pub(super) object: Option<Object>,
    /// Whether the API server would have refused the object.
    pub(super) refused: bool,
    /// What was wrong, with the object's name but without the file's.
    pub(super) problems: Vec<Problem>,
}

/// Checks one object.
pub(super) fn check(object: Object) -> Checked {
    let name = object.key().to_string();
    let mut findings = Findings::default();
    let usable = match &object {
        Object::Service(service) => names(&service.metadata, MAX_LABEL, &mut findings),
        Object::Slice(slice) => {
            names(&slice.metadata, MAX_SUBDOMAIN, &mut findings) && address_type(slice, &mut findings)
        }
        Object::Node(node) => names(&node.metadata, MAX_SUBDOMAIN, &mut findings),
    };
    let object = usable.then(|| match object {
        Object::Service(mut service) => {
            check_service(Arc::make_mut(&mut service), &mut findings);
            Object::Service(service)
        }
        Object::Slice(mut slice) => {
            check_slice(Arc::make_mut(&mut slice), &mut findings);
            Object::Slice(slice)
        }
        Object::Node(mut node) => {
            check_node(Arc::make_mut(&mut node), &mut findings);
            Object::Node(node)
        }
    });
    Checked {
        object,
        refused: findings.refused,
        problems: findings.problems.into_iter().map(|p| p.about(name.clone())).collect(),
    }
}

#[derive(Default)]
struct Findings {
    refused: bool,
    problems: Vec<Problem>,
}

impl Findings {
    /// Something that the API server would not take.
    fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.refused = true;
        self.note(Severity::Error, field, message);
    }

    fn note(&mut self, severity: Severity, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::new(severity, message).at(field));
    }
}

fn names(meta: &ObjectMeta, longest: usize, findings: &mut Findings) -> bool {
    let mut good = true;
    let mut check = |field: &str, name: Option<&str>, longest: usize| {
        let name = name.unwrap_or_default();
        if name.is_empty() {
            good = false;
            findings.refuse(field, "the name is missing; the object is ignored");
        } else if name.len() > longest {
            good = false;
            findings.refuse(field, format!("the name is longer than {longest} characters; the object is ignored"));
        } else if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b)) {
            good = false;
            findings.refuse(
                field,
                format!("{name:?} is not a DNS name (lower case letters, digits, '-'); the object is ignored"),
            );
        }
    };
    check("metadata.name", meta.name.as_deref(), longest);
    if let Some(namespace) = &meta.namespace {
        check("metadata.namespace", Some(namespace), MAX_LABEL);
    }
    good
}

fn address_type(slice: &EndpointSlice, findings: &mut Findings) -> bool {
    match slice.address_type.as_str() {
        "IPv4" | "IPv6" => true,
        "FQDN" => {
            findings.note(Severity::Warning, "addressType", "FQDN endpoints cannot be balanced; the slice is ignored");
            true
        }
        other => {
            findings.refuse("addressType", format!("{other:?} is none of IPv4, IPv6, FQDN; the slice is ignored"));
            false
        }
    }
}

fn check_service(service: &mut Service, findings: &mut Findings) {
    if let Some(spec) = &mut service.spec {
        check_ports(spec, findings);
        check_affinity(spec, findings);
        if let Some(policy) = &spec.external_traffic_policy
            && !["", "Cluster", "Local"].contains(&policy.as_str())
        {
            findings.refuse(
                "spec.externalTrafficPolicy",
                format!("{policy:?} is neither Cluster nor Local; Cluster is used"),
            );
            spec.external_traffic_policy = None;
        }
        keep(spec.external_ips.as_mut(), |index, address| {
            checked_address(&format!("spec.externalIPs[{index}]"), address, findings).is_some()
        });
    }
    let ingress = service.status.as_mut().and_then(|s| s.load_balancer.as_mut());
    keep(ingress.and_then(|lb| lb.ingress.as_mut()), |index, ingress| {
        let field = format!("status.loadBalancer.ingress[{index}].ip");
        match ingress.ip.as_deref() {
            None | Some("") => true,
            Some(address) => checked_address(&field, address, findings).is_some(),
        }
    });
}

fn check_ports(spec: &mut ServiceSpec, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    keep(spec.ports.as_mut(), |index, port| {
        let field = |name: &str| format!("spec.ports[{index}].{name}");
        if let Some(node_port) = port.node_port
            && node_port != 0
            && !is_port(node_port)
        {
            findings.refuse(field("nodePort"), format!("{node_port} is not in 1..=65535; there is no node port"));
            port.node_port = None;
        }
        if port.name.as_ref().is_some_and(|name| name.len() > MAX_LABEL) {
            findings.refuse(field("name"), format!("longer than {MAX_LABEL} characters; the port is ignored"));
            return false;
        }
        if !is_port(port.port) {
            findings.refuse(field("port"), format!("{} is not in 1..=65535; the port is ignored", port.port));
            return false;
        }
        match port.protocol.as_deref() {
            None | Some("" | "TCP" | "UDP") => {}
            Some("SCTP") => {
                findings.note(Severity::Warning, field("protocol"), "SCTP is not handled yet; the port is ignored");
                return false;
            }
            Some(other) => {
                findings.refuse(field("protocol"), format!("{other:?} is none of TCP, UDP; the port is ignored"));
                return false;
            }
        }
        if !seen.insert((port.name.clone().unwrap_or_default(), port.protocol.as_deref() == Some("UDP"))) {
            findings.refuse(field("name"), "a second port with this name and protocol; it is ignored");
            return false;
        }
        true
    });
}

fn check_affinity(spec: &mut ServiceSpec, findings: &mut Findings) {
    if let Some(affinity) = &spec.session_affinity
        && !["", "None", "ClientIP"].contains(&affinity.as_str())
    {
        findings.refuse("spec.sessionAffinity", format!("{affinity:?} is neither None nor ClientIP; None is used"));
        spec.session_affinity = None;
    }
    let client_ip = spec.session_affinity_config.as_mut().and_then(|c| c.client_ip.as_mut());
    if let Some(client_ip) = client_ip
        && let Some(timeout) = client_ip.timeout_seconds
        && !(1..=86_400).contains(&timeout)
    {
        // Not refused: the rest of the Service is sound, and the default does no harm.
        findings.note(
            Severity::Error,
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            format!("{timeout} is not in 1..=86400; the default, 10800, is used"),
        );
        client_ip.timeout_seconds = None;
    }
}

fn check_slice(slice: &mut EndpointSlice, findings: &mut Findings) {
    let family = slice.address_type.clone();
    keep(slice.ports.as_mut(), |index, port| {
        let field = |name: &str| format!("ports[{index}].{name}");
        if let Some(number) = port.port
            && !is_port(number)
        {
            findings.refuse(field("port"), format!("{number} is not in 1..=65535; the port is ignored"));
            return false;
        }
        if let Some(other) = port.protocol.as_deref()
            && !["", "TCP", "UDP", "SCTP"].contains(&other)
        {
            findings.refuse(field("protocol"), format!("{other:?} is none of TCP, UDP; the port is ignored"));
            return false;
        }
        true
    });
    if family == "FQDN" {
        return;
    }
    keep(Some(&mut slice.endpoints), |index, endpoint| {
        let Some(address) = endpoint.addresses.first() else {
            return true;
        };
        let field = format!("endpoints[{index}].addresses[0]");
        match checked_address(&field, address, findings) {
            None => false,
            Some(parsed) if parsed.is_ipv4() == (family == "IPv4") => true,
            Some(_) => {
                findings.refuse(
                    field,
                    format!("{address} does not fit the slice's addressType {family}; the endpoint is ignored"),
                );
                false
            }
        }
    });
}

fn check_node(node: &mut Node, findings: &mut Findings) {
    keep(node.status.as_mut().and_then(|s| s.addresses.as_mut()), |index, address| {
        let field = format!("status.addresses[{index}].address");
        match address.type_.as_str() {
            "InternalIP" | "ExternalIP" => checked_address(&field, &address.address, findings).is_some(),
            _ => true,
        }
    });
}

/// An address that packets can be sent to; what is none is reported.
fn checked_address(field: &str, text: &str, findings: &mut Findings) -> Option<IpAddr> {
    let Ok(address) = text.parse::<IpAddr>() else {
        findings.refuse(field, format!("{text:?} is not an IP address; it is ignored"));
        return None;
    };
    let kind = match address {
        _ if address.is_unspecified() => "the unspecified address",
        _ if address.is_loopback() => "a loopback address",
        _ if address.is_multicast() => "a multicast address",
        IpAddr::V4(v4) if v4.is_link_local() => "a link-local address",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "a link-local address",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "an IPv4 address in IPv6 form",
        IpAddr::V4(_) | IpAddr::V6(_) => return Some(address),
    };
    findings.refuse(field, format!("{text} is {kind}; it is ignored"));
    None
}

fn is_port(number: i32) -> bool {
    (1..=65_535).contains(&number)
}

/// `retain` with the index that the item had in the manifest.
fn keep<T>(items: Option<&mut Vec<T>>, mut keep: impl FnMut(usize, &mut T) -> bool) {
    let mut index = 0;
    if let Some(items) = items {
        items.retain_mut(|item| {
            index += 1;
            keep(index - 1, item)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::{Format, parse};
    use super::*;

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
            &[
                "warning: Service default/web: spec.ports[0].protocol: SCTP is not handled yet; the port is ignored",
                "error: Service default/web: spec.ports[1].protocol: \"tcp\" is none of TCP, UDP; the port is ignored",
            ],
        );
        check_manifest(
            "one name twice",
            &service("ports: [{port: 1}, {port: 1, protocol: UDP}, {port: 2}]"),
            true,
            &[
                "error: Service default/web: spec.ports[2].name: a second port with this name and protocol; it is ignored",
            ],
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
        check_manifest("nil port", &slice("addressType: IPv4, endpoints: [], ports: [{name: a}]"), false, &[]);
        check_manifest(
            "node",
            "{apiVersion: v1, kind: Node, metadata: {name: n}, status: {addresses: [{type: InternalIP, address: x}, {type: Hostname, address: n}]}}",
            true,
            &["error: Node n: status.addresses[0].address: \"x\" is not an IP address; it is ignored"],
        );
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
}
