//! EndpointSlices: ports, endpoints with their addresses, nodes and Pods.

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::address::{self, Refuses};
use super::{Findings, MAX_LABEL, MAX_SUBDOMAIN, dns_name, is_port, keep};
use crate::source::problem::{Severity, quoted};

/// Most endpoints of a slice.
const MAX_ENDPOINTS: usize = 1_000;
/// Most ports of a slice.
const MAX_PORTS: usize = 20_000;

/// Whether the slice's kind of addresses is one that there is.
pub(super) fn address_type(slice: &EndpointSlice, findings: &mut Findings) -> bool {
    match slice.address_type.as_str() {
        "IPv4" | "IPv6" => true,
        "FQDN" => {
            findings.note(Severity::Warning, "addressType", "FQDN endpoints cannot be balanced; the slice is ignored");
            true
        }
        other => {
            findings
                .refuse("addressType", format!("{} is none of IPv4, IPv6, FQDN; the slice is ignored", quoted(other)));
            false
        }
    }
}

pub(super) fn check(slice: &mut EndpointSlice, findings: &mut Findings) {
    at_most(MAX_PORTS, "ports", slice.ports.as_mut(), findings);
    at_most(MAX_ENDPOINTS, "endpoints", Some(&mut slice.endpoints), findings);
    keep(slice.ports.as_mut(), |index, port| {
        let field = |name: &str| format!("ports[{index}].{name}");
        if let Some(number) = port.port
            && !is_port(number)
        {
            // The API server takes any number: the slice's older version must not stay in its place.
            let message = format!("{number} is not in 1..=65535; the port is ignored");
            findings.note(Severity::Error, field("port"), message);
            return false;
        }
        if let Some(other) = port.protocol.as_deref()
            && !["", "TCP", "UDP", "SCTP"].contains(&other)
        {
            let message = format!("{} is none of TCP, UDP, SCTP; the port is ignored", quoted(other));
            findings.refuse(field("protocol"), message);
            return false;
        }
        true
    });
    let family = slice.address_type.as_str();
    if family != "FQDN" {
        keep(Some(&mut slice.endpoints), |index, endpoint| check_endpoint(index, endpoint, family, findings));
    }
}

/// Cuts a list that is too long.
fn at_most<T>(most: usize, field: &str, items: Option<&mut Vec<T>>, findings: &mut Findings) {
    if let Some(items) = items
        && items.len() > most
    {
        findings.refuse(field, format!("{} are too many; the first {most} are used, split the slice", items.len()));
        items.truncate(most);
    }
}

/// Whether the endpoint can be used, without its wrong parts.
fn check_endpoint(index: usize, endpoint: &mut Endpoint, family: &str, findings: &mut Findings) -> bool {
    if let Some(node) = &endpoint.node_name
        && let Err(message) = dns_name(node, MAX_SUBDOMAIN)
    {
        findings.refuse(format!("endpoints[{index}].nodeName"), format!("the name {message}; the endpoint is ignored"));
        return false;
    }
    check_pod(index, endpoint, findings);
    let Some(text) = endpoint.addresses.first() else {
        return true;
    };
    let field = format!("endpoints[{index}].addresses[0]");
    match address::check(&field, text, Refuses::Special, findings) {
        None => false,
        Some(address) if address.is_ipv4() == (family == "IPv4") => true,
        Some(address) => {
            let message = format!("{address} does not fit the slice's addressType {family}; the endpoint is ignored");
            findings.refuse(field, message);
            false
        }
    }
}

/// Takes a Pod's name away that no Pod can have; the endpoint then goes by its address. The API server does not look
/// at it.
fn check_pod(index: usize, endpoint: &mut Endpoint, findings: &mut Findings) {
    let Some(target) = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod")) else {
        return;
    };
    let name = target.name.as_deref().map(|name| ("name", name, MAX_SUBDOMAIN));
    let namespace = target.namespace.as_deref().map(|namespace| ("namespace", namespace, MAX_LABEL));
    let wrong = name.into_iter().chain(namespace).find_map(|(field, name, longest)| {
        let message = dns_name(name, longest).err()?;
        Some((format!("endpoints[{index}].targetRef.{field}"), message))
    });
    if let Some((field, message)) = wrong {
        let message = format!("the name {message}; the endpoint goes by its address");
        findings.note(Severity::Warning, field, message);
        endpoint.target_ref = None;
    }
}
