//! What Kubernetes means: from a snapshot of objects to what should be balanced.
//!
//! [`desired`] is pure and computes everything anew each time; with a [`Memo`] it knows again what it made of objects that
//! are still the same. The rules are those of kube-proxy 1.36 for traffic from outside; docs/kubernetes.md lists them by number (A.1 to A.11), with the
//! tests that name them and with what is different here. This module depends on `source` for its
//! input and never on `plan`, the kernel, time or the network.

pub mod affinity;
mod endpoints;
mod frontends;
mod health;
pub mod maglev;
mod memo;
mod nodes;
mod pools;
mod ranges;
mod selection;
mod service;
mod slices;
#[cfg(test)]
mod tests;
mod topology;
mod types;

use std::collections::BTreeSet;
use std::sync::Arc;

use self::service::Asked;
use crate::source::{Problem, Snapshot, limited};

pub use memo::Memo;
pub use types::{
    Affinity, AffinityExpiry, AffinityKey, Backend, BackendState, ClientAffinity, Desired, Family, Frontend,
    FrontendKind, HealthCheck, IfEmpty, IfEmptyPools, NodeAddresses, NodeEligibility, NodePortAddresses, Options,
    Pools, Protocol, ServicePort, ServicePortName, TrafficPolicy, WithoutLocalEndpoints,
};

/// Everything that should be programmed on this node, and what is wrong with the objects.
///
/// Never fails: what cannot be done is left out and reported, the rest goes on. The problems are
/// sorted and none is there twice; of one object only the first few are told.
#[must_use]
pub fn desired(snapshot: &Snapshot, options: &Options) -> (Desired, Vec<Problem>) {
    desired_with(snapshot, options, &mut Memo::default())
}

/// The same as [`desired`], whatever the memo was used for before; what Services ask for whose objects are the very same as
/// then is not worked out again.
#[must_use]
pub fn desired_with(snapshot: &Snapshot, options: &Options, memo: &mut Memo) -> (Desired, Vec<Problem>) {
    let mut problems = BTreeSet::new();
    let nodes = nodes::collect(snapshot, options, &mut problems);
    let slices = slices::by_service(snapshot, &mut problems);
    let mut before = memo.take(&nodes, options);

    let mut asked = Vec::with_capacity(snapshot.services.len());
    let mut slices_used = 0;
    for sourced in &snapshot.services {
        let own = slices.get(&service::name(&sourced.object));
        slices_used += usize::from(own.is_some());
        if selection::is_ours(&sourced.object, options) {
            let own = own.map_or(&[][..], Vec::as_slice);
            let known = before.take(sourced, own);
            asked.push(known.unwrap_or_else(|| Box::new(Asked::of(sourced, own, &nodes))));
        }
    }
    if slices_used < slices.len() {
        let known = snapshot.services.iter().map(|s| service::name(&s.object)).collect();
        slices::warn_of_orphans(&slices, &known, &mut problems);
    }
    problems.extend(asked.iter().flat_map(|asked| asked.problems.iter().cloned()));
    frontends::settle(&mut asked, &nodes, options, &mut problems);
    let health_checks = asked.iter().filter_map(|asked| Some((&asked.service, asked.health_check.as_ref()?)));
    let ports = asked.iter().flat_map(|asked| &asked.ports);

    let desired = Desired {
        services: ports.map(|port| (port.name.clone(), Arc::clone(&port.port))).collect(),
        // Without its own Node object a node does not know its node ports: that is no ground for
        // taking anything away.
        complete: snapshot.complete && nodes.eligibility.known,
        node: options.node.clone(),
        health_checks: health::settle(health_checks, &mut problems),
        without_local_endpoints: asked.iter().map(|asked| asked.without_local_endpoints).sum(),
        eligibility: nodes.eligibility,
        inside: nodes.inside,
        nodes: nodes.addresses,
    };
    memo.keep(asked);
    (desired, limited(problems))
}

/// Namespace and name of a Service.
type ObjectName<'a> = (&'a str, &'a str);
