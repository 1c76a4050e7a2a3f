//! Endpoints: which there are, which may take new flows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::nodes::Nodes;
use super::types::{Backend, BackendState, Family, Pools, Protocol, ServicePortName, TrafficPolicy};
use super::{ObjectName, SlicesOf};
use crate::source::{Problem, Snapshot, Sourced};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The slices of every Service, those of headless ones left out (A.1).
pub(super) fn by_service<'a>(snapshot: &'a Snapshot, problems: &mut BTreeSet<Problem>) -> SlicesOf<'a> {
    let mut slices: SlicesOf<'a> = HashMap::new();
    for slice in &snapshot.slices {
        let meta = &slice.object.metadata;
        let label = |name: &str| meta.labels.as_ref().and_then(|labels| labels.get(name));
        if label(HEADLESS).is_some() {
            continue;
        }
        match label(SERVICE_NAME) {
            Some(service) if !service.is_empty() => {
                let namespace = meta.namespace.as_deref().unwrap_or("default");
                slices.entry((namespace, service)).or_default().push(slice);
            }
            Some(_) | None => {
                problems.insert(
                    about(slice, format!("no label {SERVICE_NAME}: it belongs to no Service and is ignored"))
                        .at("metadata.labels"),
                );
            }
        }
    }
    for slices in slices.values_mut() {
        slices.sort_by(|a, b| a.object.metadata.name.cmp(&b.object.metadata.name));
    }
    slices
}

/// Says of every slice whose Service is not there.
pub(super) fn warn_of_orphans(
    slices: &SlicesOf<'_>,
    known: &HashSet<ObjectName<'_>>,
    problems: &mut BTreeSet<Problem>,
) {
    for ((namespace, name), slices) in slices.iter().filter(|(service, _)| !known.contains(*service)) {
        problems.extend(
            slices
                .iter()
                .map(|slice| about(slice, format!("there is no Service {namespace}/{name}; the slice waits for it"))),
        );
    }
}

fn about(slice: &Sourced<EndpointSlice>, message: String) -> Problem {
    let meta = &slice.object.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or("default");
    let name = meta.name.as_deref().unwrap_or_default();
    Problem::warning(message).in_file(slice.origin.file.as_deref()).about(format!("EndpointSlice {namespace}/{name}"))
}

/// One endpoint of a Service port, before it is known who takes new flows.
struct Candidate {
    backend: Backend,
    ready: bool,
    /// Serving and terminating: used if no other is ready.
    fallback: bool,
    local: bool,
}

/// The backends of a Service port, and the pools that its tables are built from (A.2, A.4).
pub(super) fn backends(
    name: &ServicePortName,
    policy: TrafficPolicy,
    slices: &[&Sourced<EndpointSlice>],
    nodes: &Nodes<'_>,
    problems: &mut BTreeSet<Problem>,
) -> (Vec<Backend>, Pools) {
    let mut candidates: BTreeMap<SocketAddr, Candidate> = BTreeMap::new();
    for slice in slices {
        for port in matching_ports(name, &slice.object) {
            for endpoint in &slice.object.endpoints {
                let Some(candidate) = candidate(name, slice, endpoint, port, nodes, problems) else {
                    continue;
                };
                let terminating = condition(endpoint, |c| c.terminating, false);
                let known = candidates.contains_key(&candidate.backend.address);
                // While an endpoint moves between slices, or its address between Pods, it is seen
                // twice: the running one must win.
                if !(known && terminating) {
                    candidates.insert(candidate.backend.address, candidate);
                }
            }
        }
    }
    let mut pools = Pools::default();
    let mut candidates: Vec<Candidate> = candidates.into_values().collect();
    for family in Family::ALL {
        let pool = pool(&mut candidates, family, policy);
        match family {
            Family::V4 => pools.v4 = pool,
            Family::V6 => pools.v6 = pool,
        }
    }
    (candidates.into_iter().map(|c| c.backend).collect(), pools)
}

/// The numbers under which a slice has this Service port. Several only if the slice is odd.
fn matching_ports<'a>(name: &'a ServicePortName, slice: &'a EndpointSlice) -> impl Iterator<Item = u16> + 'a {
    slice.ports.iter().flatten().filter_map(|port| {
        let same_name = port.name.as_deref() == Some(name.port.as_str());
        let same_protocol = Protocol::from_kubernetes(port.protocol.as_deref()) == Some(name.protocol);
        let number = port.port.and_then(|number| u16::try_from(number).ok()).filter(|n| *n > 0);
        number.filter(|_| same_name && same_protocol)
    })
}

fn candidate(
    name: &ServicePortName,
    slice: &Sourced<EndpointSlice>,
    endpoint: &Endpoint,
    port: u16,
    nodes: &Nodes<'_>,
    problems: &mut BTreeSet<Problem>,
) -> Option<Candidate> {
    let address = endpoint.addresses.first()?.parse::<IpAddr>().ok()?;
    let family = Family::of(address);
    if slice.object.address_type != family.to_string() {
        return None;
    }
    let local = endpoint.node_name.as_deref() == Some(nodes.own);
    if !local && let Err(message) = reachable(endpoint.node_name.as_deref(), family, nodes) {
        problems.insert(about(slice, message).at("endpoints[].nodeName"));
        return None;
    }
    let address = SocketAddr::new(address, port);
    let ready = condition(endpoint, |c| c.ready, true);
    let terminating = condition(endpoint, |c| c.terminating, false);
    let fallback = condition(endpoint, |c| c.serving, true) && terminating;
    Some(Candidate {
        backend: Backend {
            identity: identity(endpoint, &name.namespace, address),
            address,
            protocol: name.protocol,
            node: endpoint.node_name.clone(),
            // Until the pool says otherwise.
            state: match (terminating, ready) {
                (true, _) => BackendState::Draining,
                (false, false) => BackendState::NotReady,
                (false, true) => BackendState::Excluded,
            },
        },
        ready,
        fallback,
        local,
    })
}

/// Whether a tunnel can end at the endpoint's node, or what to say if not.
fn reachable(node: Option<&str>, family: Family, nodes: &Nodes<'_>) -> Result<(), String> {
    let Some(name) = node else {
        return Err("endpoints without nodeName cannot be reached and are not used".to_owned());
    };
    match nodes.addresses.get(name) {
        None => Err(format!("endpoints on {name} are not used: there is no Node {name}")),
        Some(addresses) if !addresses.has(family) => {
            Err(format!("endpoints on {name} are not used: Node {name} has no InternalIP of {family}"))
        }
        Some(_) => Ok(()),
    }
}

fn condition(
    endpoint: &Endpoint,
    which: impl Fn(&k8s_openapi::api::discovery::v1::EndpointConditions) -> Option<bool>,
    otherwise: bool,
) -> bool {
    endpoint.conditions.as_ref().and_then(which).unwrap_or(otherwise)
}

fn identity(endpoint: &Endpoint, namespace: &str, address: SocketAddr) -> String {
    let pod = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
    match pod.and_then(|pod| Some((pod.namespace.as_deref().unwrap_or(namespace), pod.name.as_deref()?))) {
        Some((namespace, name)) => format!("{namespace}/{name}"),
        None => address.to_string(),
    }
}

/// Marks and lists those of one family that take new flows: the ready ones, or if there are none
/// those that still serve while they terminate; with policy Local only this node's are asked.
fn pool(candidates: &mut [Candidate], family: Family, policy: TrafficPolicy) -> Vec<usize> {
    let listed = |candidate: &Candidate| {
        Family::of(candidate.backend.address.ip()) == family && (policy == TrafficPolicy::Cluster || candidate.local)
    };
    let any_ready = candidates.iter().any(|c| listed(c) && c.ready);
    let mut pool: Vec<usize> = (0..candidates.len())
        .filter(|index| {
            let candidate = &candidates[*index];
            listed(candidate) && if any_ready { candidate.ready } else { candidate.fallback }
        })
        .collect();
    // A Pod that is listed with two addresses gets one share, at the first of them.
    pool.sort_by(|a, b| candidates[*a].backend.identity.cmp(&candidates[*b].backend.identity));
    pool.dedup_by(|a, b| candidates[*a].backend.identity == candidates[*b].backend.identity);
    for index in &pool {
        candidates[*index].backend.state = BackendState::Active;
    }
    pool
}
