//! Frontends: the addresses that a Service port asks for (A.3), and who gets them.

use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort as Port, ServiceSpec};

use super::nodes::Nodes;
use super::service::Asked;
use super::types::{Family, Frontend, FrontendKind, Options, Protocol, ServicePortName};
use crate::source::{Problem, Sourced};

/// A Service port asks for a frontend.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) frontend: Frontend,
    /// Where the manifest asks for it.
    pub(super) field: String,
}

/// What a frontend is found by.
type Key = (IpAddr, u16, Protocol);

fn key(name: &ServicePortName, frontend: &Frontend) -> Key {
    (frontend.address, frontend.port, name.protocol)
}

/// A claim to a frontend that not everybody who asks for it can have.
#[derive(Clone, Copy)]
struct Contested<'a> {
    claim: &'a Claim,
    name: &'a ServicePortName,
    service: &'a Sourced<Service>,
}

impl Contested<'_> {
    /// Who comes first gets the frontend: the older Service, then the one with the smaller name.
    /// A Service without a time of creation is younger than all that have one.
    fn order(&self, other: &Self) -> Ordering {
        let age = |claim: &Self| {
            let created = claim.service.object.metadata.creation_timestamp.clone();
            (created.is_none(), created)
        };
        let kind = |claim: &Self| claim.claim.frontend.kind;
        (age(self), self.name, kind(self)).cmp(&(age(other), other.name, kind(other)))
    }

    fn problem(&self, message: String) -> Problem {
        Problem::error(message)
            .in_file(self.service.origin.file.as_deref())
            .about(format!("Service {}/{}", self.name.namespace, self.name.name))
            .at(self.claim.field.clone())
    }
}

/// The frontends that one port asks for, each with its field (none for the node port's).
pub(super) fn addresses(
    sourced: &Sourced<Service>,
    spec: &ServiceSpec,
    port: &Port,
    families: &[Family],
    nodes: &Nodes<'_>,
    problems: &mut BTreeSet<Problem>,
) -> Vec<(Option<String>, Frontend)> {
    let Some(number) = number(port.port) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut add = |field: Option<String>, address: IpAddr, port: u16, kind: FrontendKind| {
        if families.contains(&Family::of(address)) {
            found.push((field, Frontend { address, port, kind }));
        } else if let Some(field) = field {
            // Every node has addresses of both families: only what the manifest names is worth a word.
            problems.insert(wrong_family(sourced, field, address));
        }
    };
    for (index, address) in ingress_ips(sourced, spec) {
        let field = format!("status.loadBalancer.ingress[{index}].ip");
        add(Some(field), address, number, FrontendKind::LoadBalancerIp);
    }
    for (index, address) in spec.external_ips.iter().flatten().enumerate() {
        if let Ok(address) = address.parse() {
            add(Some(format!("spec.externalIPs[{index}]")), address, number, FrontendKind::ExternalIp);
        }
    }
    let node_port = port.node_port.and_then(self::number);
    if let Some(node_port) = node_port
        && matches!(spec.type_.as_deref(), Some("LoadBalancer" | "NodePort"))
    {
        for address in &nodes.node_port_addresses {
            add(None, *address, node_port, FrontendKind::NodePort);
        }
    }
    found
}

/// The addresses that a load balancer's packets arrive with, and where the status has them. One that is a proxy sends
/// to node ports, and a name is no address.
fn ingress_ips(sourced: &Sourced<Service>, spec: &ServiceSpec) -> impl Iterator<Item = (usize, IpAddr)> {
    let status = sourced.object.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let ingress = status.and_then(|s| s.ingress.as_deref()).unwrap_or_default();
    let is_load_balancer = spec.type_.as_deref() == Some("LoadBalancer");
    ingress.iter().enumerate().filter_map(move |(index, ingress)| {
        let as_vip = matches!(ingress.ip_mode.as_deref(), None | Some("VIP"));
        let address = ingress.ip.as_ref().and_then(|ip| ip.parse().ok())?;
        (is_load_balancer && as_vip).then_some((index, address))
    })
}

/// The load-balancer IPs that the Service is reached under.
pub(super) fn load_balancer_ips(sourced: &Sourced<Service>, spec: &ServiceSpec) -> Vec<IpAddr> {
    let families = families(spec);
    ingress_ips(sourced, spec).map(|(_, address)| address).filter(|ip| families.contains(&Family::of(*ip))).collect()
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
pub(super) fn families(spec: &ServiceSpec) -> Vec<Family> {
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
pub(super) fn settle(asked: &mut [Box<Asked>], nodes: &Nodes<'_>, options: &Options, problems: &mut BTreeSet<Problem>) {
    let is_tunnel = |(address, port, protocol): &Key| {
        (*port, *protocol) == (options.tunnel_port, Protocol::Udp) && nodes.own_addresses.contains(address)
    };
    let contested = contested(asked, is_tunnel);
    if contested.is_empty() {
        // As it is nearly always, also with very many Services: so they need not be sorted.
        for port in asked.iter_mut().flat_map(|asked| &mut asked.ports) {
            port.give_all();
        }
        return;
    }
    let mut claims: Vec<Contested<'_>> = Vec::new();
    for asked in &*asked {
        for port in &asked.ports {
            let own = port.claims.iter().filter(|claim| contested.contains(&key(&port.name, &claim.frontend)));
            claims.extend(own.map(|claim| Contested { claim, name: &port.name, service: &asked.service }));
        }
    }
    claims.sort_by(Contested::order);
    let mut given: BTreeMap<Key, Contested<'_>> = BTreeMap::new();
    for claim in claims {
        let key = key(claim.name, &claim.claim.frontend);
        let (address, port, protocol) = key;
        if is_tunnel(&key) {
            problems.insert(claim.problem(format!(
                "{address}:{port}/{protocol} is this node's tunnel between nodes; choose another port, or another one for the tunnel with --tunnel-port"
            )));
            continue;
        }
        match given.entry(key) {
            Entry::Vacant(place) => drop(place.insert(claim)),
            // The same address from two fields of one Service port is one frontend.
            Entry::Occupied(first) if first.get().name == claim.name => {}
            Entry::Occupied(first) => {
                let first = first.get();
                let file = first.service.origin.file.as_deref();
                let place = file.map(|file| format!(" ({file})")).unwrap_or_default();
                problems.insert(claim.problem(format!(
                    "{address}:{port}/{protocol} of {} is already that of {}{place} in {}; the older Service has it, or the first by name where ages are not given",
                    claim.name, first.name, first.claim.field
                )));
            }
        }
    }
    let given: HashMap<Key, ServicePortName> =
        given.into_iter().map(|(key, claim)| (key, claim.name.clone())).collect();
    for port in asked.iter_mut().flat_map(|asked| &mut asked.ports) {
        let gets = |frontend: &&Frontend| {
            let key = key(&port.name, frontend);
            !contested.contains(&key) || given.get(&key) == Some(&port.name)
        };
        let frontends = port.wishes.iter().filter(gets).copied().collect();
        port.give(frontends);
    }
}

/// The frontends that several Service ports ask for, or that nobody may have.
fn contested(asked: &[Box<Asked>], is_tunnel: impl Fn(&Key) -> bool) -> HashSet<Key> {
    let ports = || asked.iter().flat_map(|asked| &asked.ports);
    let mut taken = HashSet::with_capacity(ports().map(|port| port.wishes.len()).sum());
    let mut contested = HashSet::new();
    for port in ports() {
        for frontend in &port.wishes {
            let key = key(&port.name, frontend);
            if !taken.insert(key) || is_tunnel(&key) {
                contested.insert(key);
            }
        }
    }
    contested
}
