//! What Kubernetes means: from a snapshot of objects to what should be balanced.
//!
//! [`desired`] is pure and computes everything anew each time. The rules are those of kube-proxy
//! 1.36; where a rule has a number (A.1 to A.4), the tests of `model::tests` name it. This module
//! depends on `source` for its input and never on `plan`, the kernel, time or the network.

pub mod affinity;
mod endpoints;
mod frontends;
pub mod maglev;
mod nodes;
mod service;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::source::{Problem, Snapshot};

pub use types::{
    Affinity, AffinityExpiry, AffinityKey, Backend, BackendState, ClientAffinity, Desired, Family, Frontend,
    FrontendKind, HealthCheck, IfEmpty, IfEmptyPools, NodeAddresses, NodeEligibility, NodePortAddresses, Options, Pools,
    Protocol, ServicePort, ServicePortName, TrafficPolicy, WithoutLocalEndpoints,
};

/// Everything that should be programmed on this node, and what is wrong with the objects.
///
/// Never fails: what cannot be done is left out and reported, the rest goes on. The problems are
/// sorted and none is there twice.
#[must_use]
pub fn desired(snapshot: &Snapshot, options: &Options) -> (Desired, Vec<Problem>) {
    let mut problems = BTreeSet::new();
    let nodes = nodes::collect(snapshot, options, &mut problems);
    let slices = endpoints::by_service(snapshot, &mut problems);

    let mut services = BTreeMap::new();
    let mut claims = Vec::new();
    let mut slices_used = 0;
    for sourced in &snapshot.services {
        let name = service::name(&sourced.object);
        let own = slices.get(&name);
        slices_used += usize::from(own.is_some());
        if !service::is_ours(&sourced.object) {
            continue;
        }
        let own = own.map_or(&[][..], Vec::as_slice);
        service::add(sourced, own, &nodes, &mut services, &mut claims, &mut problems);
    }
    if slices_used < slices.len() {
        let known = snapshot.services.iter().map(|s| service::name(&s.object)).collect();
        endpoints::warn_of_orphans(&slices, &known, &mut problems);
    }
    frontends::settle(claims, &nodes, options, &mut services, &mut problems);

    let desired = Desired {
        services,
        // Without its own Node object a node knows neither its node ports nor which Pods are its
        // own: that is no ground for taking anything away.
        complete: snapshot.complete && nodes.own_is_known,
        nodes: nodes.addresses,
        node: options.node.clone(),
        ..Desired::default()
    };
    (desired, problems.into_iter().collect())
}

/// Namespace and name of a Service.
type ObjectName<'a> = (&'a str, &'a str);

/// The slices of each Service, in the order of their names.
type SlicesOf<'a> =
    HashMap<ObjectName<'a>, Vec<&'a crate::source::Sourced<k8s_openapi::api::discovery::v1::EndpointSlice>>>;
