//! What is applied and what is desired, by names, so that they can be compared.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Affinity, BackendState, Desired, Family};
use crate::plan::{Applied, FrontendValue, RecordState};

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
        let FrontendValue { service, kind, client_affinity, affinity_timeout_seconds, .. } = *value;
        let name = &applied.services[&service];
        (
            format!("{}:{}/{}", key.address, key.port, key.protocol),
            format!("{name} {kind:?} {client_affinity} {affinity_timeout_seconds} {pool:?}"),
        )
    });
    shown.collect()
}

/// The same from what is desired.
pub(super) fn wanted_by_names(desired: &Desired) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for (name, port) in &desired.services {
        let (affinity, timeout) = match port.affinity {
            Affinity::None => (false, 0),
            Affinity::ClientIp { timeout_seconds } => (true, timeout_seconds),
        };
        for frontend in &port.frontends {
            let pool = port.pools.of(Family::of(frontend.address)).iter().map(|i| &port.backends[*i]);
            let mut pool: Vec<String> = pool.map(|b| format!("{}@{:?}", b.identity, b.address)).collect();
            pool.sort();
            shown.insert(
                format!("{}:{}/{}", frontend.address, frontend.port, name.protocol),
                format!("{name} {:?} {affinity} {timeout} {pool:?}", frontend.kind),
            );
        }
    }
    shown
}

/// Backends that are not Gone: identity, address, node's name, state.
pub(super) fn live_backends(applied: &Applied) -> BTreeSet<String> {
    let live = applied.backends.iter().filter(|(_, b)| b.record.state != RecordState::Gone);
    live.map(|(id, b)| {
        let node = &applied.nodes[&b.record.node].name;
        format!("{} {} {node} {:?}", applied.backend_names[id], b.record.address, b.record.state)
    })
    .collect()
}

pub(super) fn wanted_backends(desired: &Desired) -> BTreeSet<String> {
    let mut states: BTreeMap<String, RecordState> = BTreeMap::new();
    for backend in desired.services.values().flat_map(|port| &port.backends) {
        let key = format!("{} {} {}", backend.identity, backend.address, backend.node.clone().unwrap_or_default());
        let state = states.entry(key).or_insert(RecordState::Draining);
        if backend.state == BackendState::Active {
            *state = RecordState::Active;
        }
    }
    states.into_iter().map(|(key, state)| format!("{key} {state:?}")).collect()
}
