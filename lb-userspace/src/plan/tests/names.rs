//! What is applied and what is desired, by names, so that they can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lb_common::layout::INSIDE;

use crate::model::{
    Affinity, AffinityKey, Desired, Family, FrontendKind, IfEmpty, Pools, ServicePort, ServicePortName,
};
use crate::plan::{Applied, FrontendAffinity, FrontendValue, RecordState};

/// What is applied, by names: frontends with their Service and the shares of their backends.
pub(super) fn by_names(applied: &Applied) -> BTreeMap<String, String> {
    let shown = applied.frontends.iter().map(|(key, value)| {
        let pool: Vec<String> = value.extent.map_or_else(Vec::new, |extent| {
            let members = applied.tables[&extent.offset].members.iter();
            let mut pool: Vec<String> = members
                .map(|id| format!("{}@{:?}", applied.backend_names[id], applied.backends[id].record.address))
                .collect();
            pool.sort();
            pool
        });
        let FrontendValue { service, kind, affinity, extent: _, asks_source, drops_if_empty } = *value;
        let name = &applied.services[&service];
        (
            format!("{}:{}/{}", key.address, key.port, key.protocol),
            format!("{name} {kind:?} {affinity:?} {asks_source} {drops_if_empty} {pool:?}"),
        )
    });
    shown.collect()
}

/// The same from what is desired.
pub(super) fn wanted_by_names(desired: &Desired) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for (name, port) in &desired.services {
        for frontend in &port.frontends {
            let family = Family::of(frontend.address);
            let affinity = match port.affinity {
                Affinity::None => None,
                Affinity::ClientIp(affinity) => Some(FrontendAffinity {
                    timeout_seconds: affinity.timeout_seconds,
                    client_prefix: affinity.prefix(family),
                    key: affinity.key,
                    expiry: affinity.expiry,
                }),
            };
            let pool = port.pools.of(family).iter().map(|i| &port.backends[*i]);
            let mut pool: Vec<String> = pool.map(|b| format!("{}@{:?}", b.identity, b.address)).collect();
            pool.sort();
            let asks_source = port.source_ranges.is_some() && frontend.kind == FrontendKind::LoadBalancerIp;
            let drops_if_empty = pool.is_empty() && port.if_empty.of(family) == IfEmpty::Drop;
            shown.insert(
                format!("{}:{}/{}", frontend.address, frontend.port, name.protocol),
                format!("{name} {:?} {affinity:?} {asks_source} {drops_if_empty} {pool:?}", frontend.kind),
            );
        }
    }
    shown
}

/// Who may begin something, by the Service port's name, and which networks are inside the cluster.
pub(super) fn ranges(applied: &Applied) -> BTreeSet<String> {
    let owner = |service: &u32| match *service {
        INSIDE => "inside".to_owned(),
        service => applied.services[&service].to_string(),
    };
    applied.source_ranges.iter().map(|(service, range)| format!("{} {range}", owner(service))).collect()
}

/// The same from what is desired.
pub(super) fn wanted_ranges(desired: &Desired) -> BTreeSet<String> {
    let ranges = |(name, port): (&ServicePortName, &Arc<ServicePort>)| {
        let ranges = port.source_ranges.iter().flatten();
        ranges.map(|range| format!("{name} {}", range.trunc())).collect::<Vec<_>>()
    };
    let inside = desired.inside.iter().map(|range| format!("inside {range}"));
    desired.services.iter().flat_map(ranges).chain(inside).collect()
}

/// Backends that are not Gone: Service port, identity, address, node's name, state.
pub(super) fn live_backends(applied: &Applied) -> BTreeSet<String> {
    let live = applied.backends.iter().filter(|(_, b)| b.record.state != RecordState::Gone);
    live.map(|(id, b)| {
        let node = &applied.nodes[&b.record.node].name;
        let service = &applied.services[&b.record.service];
        format!("{service} {} {} {node} {:?}", applied.backend_names[id], b.record.address, b.record.state)
    })
    .collect()
}

pub(super) fn wanted_backends(desired: &Desired) -> BTreeSet<String> {
    let backends = desired.services.iter().flat_map(|(name, port)| port.backends.iter().map(move |b| (name, b)));
    backends
        .map(|(name, b)| {
            let node = b.node.clone().unwrap_or_default();
            format!("{name} {} {} {node} {:?}", b.identity, b.address, RecordState::from(b.state))
        })
        .collect()
}

/// Pairs of backends on one Pod: who asks, the Service port and address of the other, the address of its own.
pub(super) fn siblings(applied: &Applied) -> BTreeSet<String> {
    let pairs = applied.siblings.iter().map(|((service, backend), id)| {
        let (other, own) = (applied.backends[backend].record, applied.backends[id].record);
        let (asking, service) = (&applied.services[service], &applied.services[&other.service]);
        format!("{asking} {service} {} {}", other.address, own.address)
    });
    pairs.collect()
}

/// The same from what is desired.
pub(super) fn wanted_siblings(desired: &Desired) -> BTreeSet<String> {
    let is_shared =
        |port: &ServicePort| matches!(port.affinity, Affinity::ClientIp(a) if a.key == AffinityKey::Service);
    let shared: Vec<_> = desired.services.iter().filter(|(_, port)| is_shared(port)).collect();
    let same_service = |one: &ServicePortName, other: &ServicePortName| {
        one != other && (&one.namespace, &one.name) == (&other.namespace, &other.name)
    };
    let mut pairs = BTreeSet::new();
    for (asking, own_port) in &shared {
        for (other, port) in shared.iter().filter(|(other, _)| same_service(asking, other)) {
            for backend in &port.backends {
                let Pools { v4, v6 } = &own_port.pools;
                let same_pod = v4.iter().chain(v6).map(|at| &own_port.backends[*at]).filter(|own| {
                    own.identity == backend.identity && own.address.is_ipv4() == backend.address.is_ipv4()
                });
                pairs.extend(same_pod.map(|own| format!("{asking} {other} {} {}", backend.address, own.address)));
            }
        }
    }
    pairs
}
