//! Endpoints: which there are, and in what state (A.2).

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};

use super::nodes::Nodes;
use super::pools::{self, Pool};
use super::slices::{Offer, about};
use super::types::{Backend, BackendState, Family, IfEmptyPools, Pools, ServicePort, ServicePortName, TrafficPolicy};
use crate::source::{Problem, Sourced};

/// One endpoint of a Service port, before it is known whether it takes new flows.
pub(super) struct Candidate<'a> {
    pub(super) address: SocketAddr,
    pub(super) identity: String,
    pub(super) endpoint: &'a Endpoint,
    pub(super) ready: bool,
    serving: bool,
    terminating: bool,
    /// It is on this node.
    pub(super) local: bool,
    pub(super) state: BackendState,
}

impl Candidate<'_> {
    /// Whether it is used where no other is ready.
    pub(super) fn is_fallback(&self) -> bool {
        self.serving && self.terminating
    }
}

/// What a Service port's slices come to.
pub(super) struct Found {
    pub(super) backends: Vec<Backend>,
    pub(super) pools: Pools,
    pub(super) if_empty: IfEmptyPools,
    /// In one of the families there are usable endpoints, and none of them on this node.
    pub(super) only_elsewhere: bool,
    /// Ready endpoints on this node, by address.
    pub(super) ready_here: Vec<IpAddr>,
}

impl Found {
    /// The Service port with these backends, and nothing else of its own.
    pub(super) fn into_service_port(self, external_policy: TrafficPolicy) -> ServicePort {
        let Self { backends, pools, if_empty, .. } = self;
        ServicePort { external_policy, backends, pools, if_empty, ..ServicePort::default() }
    }
}

/// The backends of a Service port, and the pools that its tables are built from.
pub(super) fn find(
    name: &ServicePortName,
    policy: TrafficPolicy,
    offers: &[Offer<'_>],
    nodes: &Nodes<'_>,
    problems: &mut BTreeSet<Problem>,
) -> Found {
    let (mut candidates, out_of_reach) = candidates(name, offers, nodes, problems);
    let mut pool = |family| pools::choose(&mut candidates, family, policy, nodes, out_of_reach.contains(&family));
    let (v4, v6): (Pool, Pool) = (pool(Family::V4), pool(Family::V6));
    let ready_here = candidates.iter().filter(|c| c.local && c.ready).map(|c| c.address.ip()).collect();
    let backend = |candidate: Candidate<'_>| Backend {
        identity: candidate.identity,
        address: candidate.address,
        protocol: name.protocol,
        node: candidate.endpoint.node_name.clone(),
        state: candidate.state,
    };
    Found {
        ready_here,
        backends: candidates.into_iter().map(backend).collect(),
        if_empty: IfEmptyPools { v4: v4.if_empty, v6: v6.if_empty },
        only_elsewhere: v4.only_elsewhere || v6.only_elsewhere,
        pools: Pools { v4: v4.members, v6: v6.members },
    }
}

/// The endpoints by address, each once, and the families in which there are usable ones that no tunnel leads to.
fn candidates<'a>(
    name: &ServicePortName,
    offers: &[Offer<'a>],
    nodes: &Nodes<'_>,
    problems: &mut BTreeSet<Problem>,
) -> (Vec<Candidate<'a>>, BTreeSet<Family>) {
    let mut found: Vec<Candidate<'a>> = Vec::with_capacity(offers.iter().map(|o| o.slice.object.endpoints.len()).sum());
    let mut out_of_reach = BTreeSet::new();
    for offer in offers {
        // One word for each node, not for each endpoint on it.
        let mut told = HashSet::new();
        for endpoint in &offer.slice.object.endpoints {
            let Some(candidate) = candidate(name, offer, endpoint, nodes) else {
                continue;
            };
            let node = endpoint.node_name.as_deref();
            if candidate.local || nodes.has(node, offer.family) {
                found.push(candidate);
                continue;
            }
            if candidate.ready || candidate.is_fallback() {
                out_of_reach.insert(offer.family);
            }
            if told.insert(node) {
                problems.insert(unreachable(offer.slice, node, offer.family, nodes));
            }
        }
    }
    // Stable: of one address, the copies stay in the order of the slices.
    found.sort_by_key(|candidate| candidate.address);
    found.dedup_by(|next, first| {
        let same = next.address == first.address;
        // While an endpoint moves between slices, or its address between Pods, it is seen twice. The last one counts,
        // but a terminating copy never takes the place of another: the running one must win.
        if same && !next.terminating {
            std::mem::swap(next, first);
        }
        same
    });
    (found, out_of_reach)
}

fn candidate<'a>(
    name: &ServicePortName,
    offer: &Offer<'a>,
    endpoint: &'a Endpoint,
    nodes: &Nodes<'_>,
) -> Option<Candidate<'a>> {
    let address = endpoint.addresses.first()?.parse::<IpAddr>().ok()?;
    if Family::of(address) != offer.family {
        return None;
    }
    let address = SocketAddr::new(address, offer.number);
    let ready = condition(endpoint, |c| c.ready, true);
    let terminating = condition(endpoint, |c| c.terminating, false);
    Some(Candidate {
        address,
        identity: identity(endpoint, &name.namespace, address),
        endpoint,
        ready,
        serving: condition(endpoint, |c| c.serving, true),
        terminating,
        local: endpoint.node_name.as_deref() == Some(nodes.own),
        // Until a pool says otherwise.
        state: match (terminating, ready) {
            (true, _) => BackendState::Draining,
            (false, false) => BackendState::NotReady,
            (false, true) => BackendState::Excluded,
        },
    })
}

/// Why no tunnel leads to an endpoint.
fn unreachable(slice: &Sourced<EndpointSlice>, node: Option<&str>, family: Family, nodes: &Nodes<'_>) -> Problem {
    let message = match node {
        None => "endpoints without nodeName cannot be reached and are not used".to_owned(),
        Some(name) if nodes.addresses.contains_key(name) => {
            format!("endpoints on {name} are not used: Node {name} has no InternalIP of {family}")
        }
        Some(name) => format!("endpoints on {name} are not used: there is no Node {name}"),
    };
    about(slice, message).at("endpoints[].nodeName")
}

fn condition(endpoint: &Endpoint, which: impl Fn(&EndpointConditions) -> Option<bool>, otherwise: bool) -> bool {
    endpoint.conditions.as_ref().and_then(which).unwrap_or(otherwise)
}

fn identity(endpoint: &Endpoint, namespace: &str, address: SocketAddr) -> String {
    let pod = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
    match pod.and_then(|pod| Some((pod.namespace.as_deref().unwrap_or(namespace), pod.name.as_deref()?))) {
        Some((namespace, name)) => [namespace, "/", name].concat(),
        None => address.to_string(),
    }
}
