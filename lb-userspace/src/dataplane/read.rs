//! What is programmed, read back from the maps: how an agent finds out what the one before it did.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use lb_common::{
    layout::{
        Backend, Frontend, FrontendKey4, FrontendKey6, Key, Keyed, SLOT_BACKEND_MASK, SOURCE_RANGE_SERVICE_BITS,
        backend_state, frontend_flags, frontend_kind, name_kind,
    },
    wire,
};

use super::{Error, FamilyMaps, Maps, Pod, names, write::socket_address};
use crate::{
    model::{AffinityExpiry, AffinityKey, Family, FrontendKind, NodeAddresses, Protocol, ServicePortName},
    plan::{
        Applied, AppliedBackend, AppliedNode, AppliedTable, BackendRecord, Extent, FrontendAffinity, FrontendKey,
        FrontendValue, RecordState,
    },
};

/// Reads back what is programmed. `now_seconds` is taken for the time at which everything that is gone went.
///
/// # Errors
/// When a map cannot be read. What makes no sense in a map is left out, and so is written anew.
pub fn read(maps: &Maps, now_seconds: u64) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    read_names(maps, &mut applied)?;
    read_backends(maps, now_seconds, &mut applied)?;
    read_nodes(maps, &mut applied);
    for entry in maps.siblings.iter() {
        let (Pod(key), Pod(sibling)) = entry.map_err(|source| Error::map("SIBLINGS", source))?;
        if sibling.fits(&key) {
            applied.siblings.insert((key.service, key.backend), sibling.backend);
        }
    }
    read_family(maps, &maps.v4, &mut applied, |key: &FrontendKey4| {
        (IpAddr::V4(key.address.into()), key.port, key.protocol)
    })?;
    read_family(maps, &maps.v6, &mut applied, |key: &FrontendKey6| {
        (IpAddr::V6(key.address.into()), key.port, key.protocol)
    })?;
    applied.source_ranges = source_ranges(maps)?;
    applied.check_tables(|extent| slots(maps, extent));
    applied.cool_what_was_given_back(services_with_traffic(maps)?, now_seconds);
    Ok(applied)
}

/// Service ports that had traffic since their ids were given out, whoever has these now.
fn services_with_traffic(maps: &Maps) -> Result<Vec<u32>, Error> {
    let mut found = Vec::new();
    for id in 1..maps.service_counts.len() {
        if maps.service_counts(id)?.packets != 0 {
            found.push(id);
        }
    }
    Ok(found)
}

/// The source ranges of all Service ports, by their ids.
///
/// # Errors
/// When a map cannot be read. What is no range is left out.
pub fn source_ranges(maps: &Maps) -> Result<BTreeSet<(u32, IpNet)>, Error> {
    let mut ranges = BTreeSet::new();
    add_ranges(&maps.v4, &mut ranges, |range| (range.service, IpAddr::V4(range.address.into())))?;
    add_ranges(&maps.v6, &mut ranges, |range| (range.service, IpAddr::V6(range.address.into())))?;
    Ok(ranges)
}

fn add_ranges<F: lb_common::Family>(
    of: &FamilyMaps<F>,
    ranges: &mut BTreeSet<(u32, IpNet)>,
    parts: impl Fn(&F::SourceRange) -> (u32, IpAddr),
) -> Result<(), Error> {
    for key in of.source_ranges.keys() {
        let key = key.map_err(|source| Error::map("SOURCE_RANGES", source))?;
        let (service, first) = parts(&key.data().0);
        let bits = key.prefix_len().checked_sub(SOURCE_RANGE_SERVICE_BITS).and_then(|bits| u8::try_from(bits).ok());
        if let Some(range) = bits.and_then(|bits| IpNet::new(first, bits).ok()) {
            ranges.insert((u32::from_be(service), range));
        }
    }
    Ok(())
}

fn read_names(maps: &Maps, applied: &mut Applied) -> Result<(), Error> {
    for entry in maps.names.iter() {
        let (key, name) = entry.map_err(|source| Error::map("NAMES", source))?;
        let (id, text) = (key.0.id, names::text(&name.0));
        match key.0.kind {
            name_kind::SERVICE => {
                if let Some(service) = names::parse_service(text).and_then(service_name) {
                    applied.services.insert(id, service);
                }
            }
            name_kind::BACKEND => {
                if let Some(backend) = names::parse_backend(text) {
                    applied.backend_names.insert(id, backend.identity.to_owned());
                }
            }
            name_kind::NODE => {
                let node = AppliedNode { name: text.to_owned(), addresses: NodeAddresses::default() };
                applied.nodes.insert(id, node);
            }
            _ => {}
        }
    }
    Ok(())
}

fn service_name(name: names::ServiceName<'_>) -> Option<ServicePortName> {
    Some(ServicePortName {
        namespace: name.namespace.to_owned(),
        name: name.name.to_owned(),
        port: name.port.to_owned(),
        protocol: Protocol::from_kubernetes(Some(name.protocol))?,
    })
}

fn read_backends(maps: &Maps, now_seconds: u64, applied: &mut Applied) -> Result<(), Error> {
    for id in 1..maps.backends.len() {
        let backend = maps.backends.get(&id, 0).map_err(|source| Error::map("BACKENDS", source))?.0;
        if let Some(record) = record(&backend) {
            let retired_at = (record.state == RecordState::Gone).then_some(now_seconds);
            applied.backends.insert(id, AppliedBackend { record, retired_at });
        }
    }
    Ok(())
}

/// None for an id that was never given away.
fn record(backend: &Backend) -> Option<BackendRecord> {
    if backend.generation == 0 {
        return None;
    }
    Some(BackendRecord {
        service: backend.service,
        address: socket_address(backend),
        protocol: protocol(backend.protocol)?,
        node: backend.node,
        state: match backend.state {
            backend_state::ACTIVE => RecordState::Active,
            backend_state::DRAINING => RecordState::Draining,
            backend_state::NOT_READY => RecordState::NotReady,
            backend_state::EXCLUDED => RecordState::Excluded,
            _ => RecordState::Gone,
        },
        generation: backend.generation,
    })
}

/// The address of a node is the destination of its next hop, known or not.
fn read_nodes(maps: &Maps, applied: &mut Applied) {
    for (id, node) in &mut applied.nodes {
        let v4 = maps.v4.next_hops.get(id, 0).ok().map(|hop| hop.0.destination).filter(|address| address.0 != 0);
        let v6 = maps.v6.next_hops.get(id, 0).ok().map(|hop| hop.0.destination).filter(|address| address.0 != [0; 4]);
        node.addresses = NodeAddresses { v4: v4.map(Into::into), v6: v6.map(Into::into) };
    }
}

/// For each slot of a table a backend's id; none where it reaches past the end.
fn slots(maps: &Maps, extent: Extent) -> Option<Vec<u32>> {
    let slots = maps.slots.read(extent.offset, extent.length)?;
    Some(slots.into_iter().map(|slot| slot & SLOT_BACKEND_MASK).collect())
}

fn read_family<F: lb_common::Family>(
    maps: &Maps,
    of: &FamilyMaps<F>,
    applied: &mut Applied,
    parts: impl Fn(&F::FrontendKey) -> (IpAddr, u16, u8),
) -> Result<(), Error> {
    for entry in of.frontends.iter() {
        let (key, frontend) = entry.map_err(|source| Error::map("FRONTENDS", source))?;
        let (address, port, number) = parts(&key.0);
        let (Some(protocol), Some(value)) = (protocol(number), frontend_value(&key.0, &frontend.0)) else {
            continue;
        };
        applied.frontends.insert(FrontendKey { address, port, protocol }, value);
        if let Some(extent) = value.extent
            && !applied.tables.contains_key(&extent.offset)
            && let Some(slots) = slots(maps, extent)
        {
            let table = AppliedTable::new(value.service, Family::of(address), extent, slots);
            applied.tables.insert(extent.offset, table);
        }
    }
    for entry in of.locals.iter() {
        let (key, id) = entry.map_err(|source| Error::map("LOCALS", source))?;
        let (address, port, number) = parts(&key.0);
        if let Some(protocol) = protocol(number) {
            applied.local_backends.insert((SocketAddr::new(address, port), protocol), id);
        }
    }
    Ok(())
}

/// None for this node's end of the tunnel, which no plan knows of, and for what the programs would not take for this key's.
fn frontend_value(key: &impl Key, frontend: &Frontend) -> Option<FrontendValue> {
    if !frontend.fits(key) {
        return None;
    }
    let kind = match frontend.kind {
        frontend_kind::LOAD_BALANCER_IP => FrontendKind::LoadBalancerIp,
        frontend_kind::EXTERNAL_IP => FrontendKind::ExternalIp,
        frontend_kind::NODE_PORT => FrontendKind::NodePort,
        frontend_kind::CLUSTER_IP => FrontendKind::ClusterIp,
        _ => return None,
    };
    let extent = Extent { offset: frontend.table_offset, length: frontend.table_length };
    Some(FrontendValue {
        service: frontend.service,
        kind,
        affinity: frontend_affinity(frontend),
        extent: (extent.length != 0).then_some(extent),
        asks_source: frontend.flags & frontend_flags::SOURCE_RANGES != 0,
        drops_if_empty: frontend.flags & frontend_flags::DROP_IF_EMPTY != 0,
    })
}

/// Whether the clients of a frontend stay where they are, and how.
pub fn frontend_affinity(frontend: &Frontend) -> Option<FrontendAffinity> {
    let has = |flag| frontend.flags & flag != 0;
    has(frontend_flags::CLIENT_AFFINITY).then(|| FrontendAffinity {
        timeout_seconds: frontend.affinity_timeout_seconds,
        client_prefix: frontend.client_prefix,
        key: if has(frontend_flags::SERVICE_KEY) { AffinityKey::Service } else { AffinityKey::Port },
        expiry: if has(frontend_flags::STABLE_EXPIRY) { AffinityExpiry::Stable } else { AffinityExpiry::Real },
    })
}

fn protocol(number: u8) -> Option<Protocol> {
    match wire::Protocol(number.into()) {
        wire::Protocol::TCP => Some(Protocol::Tcp),
        wire::Protocol::UDP => Some(Protocol::Udp),
        _ => None,
    }
}
