//! Services: ports, addresses, and words of which there are only a few.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::address::{self, Refuses};
use super::{Findings, MAX_LABEL, dns_name, is_port, keep};
use crate::source::problem::{Severity, quoted};

pub(super) fn check(service: &mut Service, findings: &mut Findings) {
    if let Some(spec) = &mut service.spec {
        check_words(spec, findings);
        check_ports(spec, findings);
        check_affinity(spec, findings);
        keep(spec.external_ips.as_mut(), |index, text| {
            address::check(&format!("spec.externalIPs[{index}]"), text, Refuses::Special, findings).is_some()
        });
    }
    let ingress = service.status.as_mut().and_then(|s| s.load_balancer.as_mut());
    keep(ingress.and_then(|lb| lb.ingress.as_mut()), |index, ingress| match ingress.ip.as_deref() {
        None | Some("") => true,
        Some(text) => {
            let field = format!("status.loadBalancer.ingress[{index}].ip");
            address::check(&field, text, Refuses::Text, findings).is_some()
        }
    });
}

/// Fields that hold one of a few words. A wrong one is as if it were not there.
fn check_words(spec: &mut ServiceSpec, findings: &mut Findings) {
    const POLICIES: &[&str] = &["Cluster", "Local"];
    const TYPES: &[&str] = &["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
    let fields = [
        ("spec.type", &mut spec.type_, TYPES, "ClusterIP"),
        ("spec.externalTrafficPolicy", &mut spec.external_traffic_policy, POLICIES, "Cluster"),
        ("spec.internalTrafficPolicy", &mut spec.internal_traffic_policy, POLICIES, "Cluster"),
        ("spec.sessionAffinity", &mut spec.session_affinity, &["None", "ClientIP"], "None"),
    ];
    for (field, value, words, otherwise) in fields {
        if let Some(word) = value.as_deref()
            && !word.is_empty()
            && !words.contains(&word)
        {
            let message = format!("{} is none of {}; {otherwise} is used", quoted(word), words.join(", "));
            findings.refuse(field, message);
            *value = None;
        }
    }
}

fn check_ports(spec: &mut ServiceSpec, findings: &mut Findings) {
    if let Some(port) = spec.health_check_node_port
        && port != 0
        && !is_port(port)
    {
        findings.refuse("spec.healthCheckNodePort", format!("{port} is not in 1..=65535; it is not served"));
        spec.health_check_node_port = None;
    }
    let mut seen = HashSet::new();
    keep(spec.ports.as_mut(), |index, port| {
        let field = |name: &str| format!("spec.ports[{index}].{name}");
        if let Some(node_port) = port.node_port
            && node_port != 0
            && !is_port(node_port)
        {
            findings.refuse(field("nodePort"), format!("{node_port} is not in 1..=65535; there is no node port"));
            port.node_port = None;
        }
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty())
            && let Err(message) = dns_name(name, MAX_LABEL)
        {
            findings.refuse(field("name"), format!("the name {message}; the port is ignored"));
            return false;
        }
        if !is_port(port.port) {
            findings.refuse(field("port"), format!("{} is not in 1..=65535; the port is ignored", port.port));
            return false;
        }
        let protocol = match port.protocol.as_deref() {
            None | Some("" | "TCP") => "TCP",
            Some("UDP") => "UDP",
            Some("SCTP") => "SCTP",
            Some(other) => {
                let message = format!("{} is none of TCP, UDP, SCTP; the port is ignored", quoted(other));
                findings.refuse(field("protocol"), message);
                return false;
            }
        };
        if !seen.insert((port.name.clone().unwrap_or_default(), protocol)) {
            findings.refuse(field("name"), "a second port with this name and protocol; it is ignored");
            return false;
        }
        true
    });
}

fn check_affinity(spec: &mut ServiceSpec, findings: &mut Findings) {
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
