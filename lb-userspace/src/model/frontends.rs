//! Frontends: the addresses that a Service port asks for (A.3), and who gets them.

use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort as Port, ServiceSpec};

use super::nodes::Nodes;
use super::types::{Family, Frontend, FrontendKind, Options, Protocol, ServicePort, ServicePortName};
use crate::source::{Problem, Sourced};

/// A Service port asks for a frontend.
pub(super) struct Claim<'a> {
    pub(super) frontend: Frontend,
    pub(super) name: ServicePortName,
    /// Where the manifest asks for it.
    pub(super) field: String,
    pub(super) service: &'a Sourced<Service>,
}

impl Claim<'_> {
    /// Who comes first gets the frontend: the older Service, then the one with the smaller name.
    /// A Service without a time of creation is younger than all that have one.
    fn order(&self, other: &Self) -> Ordering {
        let age = |claim: &Self| {
            let created = claim.service.object.metadata.creation_timestamp.clone();
            (created.is_none(), created)
        };
        (age(self), &self.name, self.frontend.kind).cmp(&(age(other), &other.name, other.frontend.kind))
    }

    fn problem(&self, message: String) -> Problem {
        Problem::error(message)
            .in_file(self.service.origin.file.as_deref())
            .about(format!("Service {}/{}", self.name.namespace, self.name.name))
            .at(self.field.clone())
    }
}

/// The frontends that one port asks for, each with its field (none for the node port's).
pub(super) fn addresses(
    sourced: &Sourced<Service>,
    port: &Port,
    nodes: &Nodes<'_>,
    with_load_balancer: bool,
    problems: &mut BTreeSet<Problem>,
) -> Vec<(Option<String>, Frontend)> {
    let (Some(spec), Some(number)) = (&sourced.object.spec, number(port.port)) else {
        return Vec::new();
    };
    let has_family = |address: IpAddr| families(spec).contains(&Family::of(address));
    let is_load_balancer = spec.type_.as_deref() == Some("LoadBalancer");
    let mut found = Vec::new();
    let mut add = |field: Option<String>, address: IpAddr, port: u16, kind: FrontendKind| {
        if has_family(address) {
            found.push((field, Frontend { address, port, kind }));
        } else if let Some(field) = field {
            // Every node has addresses of both families: only what the manifest names is worth a word.
            problems.insert(wrong_family(sourced, field, address));
        }
    };

    let status = sourced.object.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let ingress = status.and_then(|s| s.ingress.as_deref()).unwrap_or_default();
    for (index, ingress) in ingress.iter().enumerate() {
        let through_proxy = ingress.ip_mode.as_deref() == Some("Proxy");
        if let Some(address) = ingress.ip.as_ref().and_then(|ip| ip.parse().ok())
            && is_load_balancer
            && with_load_balancer
            && !through_proxy
        {
            let field = format!("status.loadBalancer.ingress[{index}].ip");
            add(Some(field), address, number, FrontendKind::LoadBalancerIp);
        }
    }
    for (index, address) in spec.external_ips.iter().flatten().enumerate() {
        if let Ok(address) = address.parse() {
            add(Some(format!("spec.externalIPs[{index}]")), address, number, FrontendKind::ExternalIp);
        }
    }
    let node_port = port.node_port.and_then(self::number);
    if let Some(node_port) = node_port
        && (is_load_balancer || spec.type_.as_deref() == Some("NodePort"))
    {
        for address in &nodes.own_addresses {
            add(None, *address, node_port, FrontendKind::NodePort);
        }
    }
    found
}

/// A warning, as for kube-proxy: a dual-stack load balancer may give a single-stack Service both its addresses.
fn wrong_family(sourced: &Sourced<Service>, field: String, address: IpAddr) -> Problem {
    let (namespace, name) = super::service::name(&sourced.object);
    let family = Family::of(address);
    Problem::warning(format!(
        "{address} is {family}, which the Service is not by its ipFamilies or cluster IPs; it is not served"
    ))
    .in_file(sourced.origin.file.as_deref())
    .about(format!("Service {namespace}/{name}"))
    .at(field)
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port > 0)
}

/// The families that a Service is there in: as it says, else as its cluster IPs say, else both.
fn families(spec: &ServiceSpec) -> Vec<Family> {
    let named: Vec<Family> = Family::ALL
        .into_iter()
        .filter(|family| spec.ip_families.iter().flatten().any(|name| *name == family.to_string()))
        .collect();
    if !named.is_empty() {
        return named;
    }
    let cluster_ips = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let of_addresses: BTreeSet<Family> = cluster_ips.filter_map(|ip| ip.parse().ok()).map(Family::of).collect();
    if of_addresses.is_empty() { Family::ALL.to_vec() } else { of_addresses.into_iter().collect() }
}

/// Gives every frontend to one Service port and says who goes without.
pub(super) fn settle(
    mut claims: Vec<Claim<'_>>,
    nodes: &Nodes<'_>,
    options: &Options,
    services: &mut BTreeMap<ServicePortName, ServicePort>,
    problems: &mut BTreeSet<Problem>,
) {
    claims.sort_by(Claim::order);
    let mut given: BTreeMap<(IpAddr, u16, Protocol), &Claim<'_>> = BTreeMap::new();
    for claim in &claims {
        let Frontend { address, port, .. } = claim.frontend;
        let protocol = claim.name.protocol;
        if (port, protocol) == (options.tunnel_port, Protocol::Udp) && nodes.own_addresses.contains(&address) {
            problems.insert(claim.problem(format!(
                "{address}:{port}/{protocol} is this node's tunnel between nodes; choose another port, or another one for the tunnel with --tunnel-port"
            )));
            continue;
        }
        match given.entry((address, port, protocol)) {
            Entry::Vacant(place) => {
                place.insert(claim);
                if let Some(service) = services.get_mut(&claim.name) {
                    service.frontends.push(claim.frontend);
                }
            }
            // The same address from two fields of one Service port is one frontend.
            Entry::Occupied(first) if first.get().name == claim.name => {}
            Entry::Occupied(first) => {
                let first = first.get();
                let file = first.service.origin.file.as_deref();
                let place = file.map(|file| format!(" ({file})")).unwrap_or_default();
                problems.insert(claim.problem(format!(
                    "{address}:{port}/{protocol} of {} is already that of {}{place} in {}; the older Service has it, or the first by name where ages are not given",
                    claim.name, first.name, first.field
                )));
            }
        }
    }
    for service in services.values_mut() {
        service.frontends.sort_unstable();
    }
}
