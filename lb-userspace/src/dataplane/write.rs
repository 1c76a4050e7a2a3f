//! Carrying out a plan's writes, one by one, on the maps.

use std::net::{IpAddr, SocketAddr};

use aya::maps::{
    MapData, MapError, PerCpuArray, PerCpuValues,
    lpm_trie::{Key, LpmTrie},
};
use ipnet::IpNet;
use lb_common::{
    Family, V4, V6,
    family::{Address4, Address6},
    layout::{
        Backend, BreakCounts, Keyed, MAX_BACKEND_ID, NameKey, NextHop4, NextHop6, SOURCE_RANGE_SERVICE_BITS,
        ServiceCounts, Sibling, SiblingKey, THIS_NODE, name_kind,
    },
    wire,
};

use super::{
    Error, FamilyMaps, Maps, Pod, Sizes, names,
    tunnel::{TUNNEL_END, set_hop},
    values,
};
use crate::{
    model::{NodeAddresses, Protocol},
    plan::{Applied, BackendRecord, Limits, RecordState, Write},
};

/// Carries out one write. `applied` is what is programmed before it.
///
/// # Errors
/// When the kernel refuses, a map is full, or an index is past a map's end. What was programmed stays.
pub fn write(maps: &mut Maps, write: &Write, applied: &Applied, tunnel_port: u16) -> Result<(), Error> {
    match write {
        Write::NameService { id, name } => {
            let name = names::service(&name.namespace, &name.name, &name.port, name.protocol);
            // The one that had the id before may have counted there.
            reset("BREAKS", &mut maps.breaks, *id, BreakCounts::default())?;
            reset("SERVICE_COUNTS", &mut maps.service_counts, *id, ServiceCounts::default())?;
            set_name(maps, name_kind::SERVICE, *id, name)
        }
        Write::NameBackend { id, identity, node_name } => {
            set_name(maps, name_kind::BACKEND, *id, names::backend(identity, node_name))
        }
        Write::Node { id, name, addresses } => {
            set_name(maps, name_kind::NODE, *id, names::node(name))?;
            let before = applied.nodes.get(id).map(|node| node.addresses).unwrap_or_default();
            set_node(maps, *id, *addresses, before, tunnel_port)
        }
        Write::Backend { id, backend } => set_backend(maps, *id, backend),
        Write::LocalBackend { address, protocol, id } => match address.ip() {
            IpAddr::V4(ip) => insert("LOCALS4", &mut maps.v4.locals, key::<V4>(ip, address.port(), *protocol), *id),
            IpAddr::V6(ip) => insert("LOCALS6", &mut maps.v6.locals, key::<V6>(ip, address.port(), *protocol), *id),
        },
        Write::Sibling { service, backend, id } => {
            let key = SiblingKey { service: *service, backend: *backend };
            insert("SIBLINGS", &mut maps.siblings, Pod(key), Pod(Sibling::new(&key, *id)))
        }
        Write::RemoveSibling { service, backend } => {
            let key = SiblingKey { service: *service, backend: *backend };
            remove("SIBLINGS", &mut maps.siblings, &Pod(key))
        }
        Write::Table { extent, pool, .. } => {
            maps.slots.write(extent.offset, &pool.slots()).ok_or_else(|| Error::OutOfRange {
                name: "SLOTS",
                what: format!("a table of {} slots at {}", extent.length, extent.offset),
            })
        }
        Write::SourceRange { service, range } => match range {
            IpNet::V4(net) => insert_range(
                "SOURCE_RANGES4",
                &mut maps.v4.source_ranges,
                range_key::<V4>(*service, net.addr(), net.prefix_len()),
            ),
            IpNet::V6(net) => insert_range(
                "SOURCE_RANGES6",
                &mut maps.v6.source_ranges,
                range_key::<V6>(*service, net.addr(), net.prefix_len()),
            ),
        },
        Write::RemoveSourceRange { service, range } => match range {
            IpNet::V4(net) => remove_range(
                "SOURCE_RANGES4",
                &mut maps.v4.source_ranges,
                &range_key::<V4>(*service, net.addr(), net.prefix_len()),
            ),
            IpNet::V6(net) => remove_range(
                "SOURCE_RANGES6",
                &mut maps.v6.source_ranges,
                &range_key::<V6>(*service, net.addr(), net.prefix_len()),
            ),
        },
        Write::Frontend { address, port, protocol, value } => {
            let frontend = values::frontend(value, applied.services.get(&value.service));
            match *address {
                IpAddr::V4(ip) => {
                    insert_keyed("FRONTENDS4", &mut maps.v4.frontends, key::<V4>(ip, *port, *protocol), frontend)
                }
                IpAddr::V6(ip) => {
                    insert_keyed("FRONTENDS6", &mut maps.v6.frontends, key::<V6>(ip, *port, *protocol), frontend)
                }
            }
        }
        Write::RemoveFrontend { address, port, protocol } => match *address {
            IpAddr::V4(ip) => remove("FRONTENDS4", &mut maps.v4.frontends, &key::<V4>(ip, *port, *protocol)),
            IpAddr::V6(ip) => remove("FRONTENDS6", &mut maps.v6.frontends, &key::<V6>(ip, *port, *protocol)),
        },
        Write::RemoveLocalBackend { address, protocol } => match address.ip() {
            IpAddr::V4(ip) => remove("LOCALS4", &mut maps.v4.locals, &key::<V4>(ip, address.port(), *protocol)),
            IpAddr::V6(ip) => remove("LOCALS6", &mut maps.v6.locals, &key::<V6>(ip, address.port(), *protocol)),
        },
        // The slots stay as they are until another table is written over them.
        Write::ForgetTable { .. } => Ok(()),
        Write::RetireBackend { id } => match applied.backends.get(id) {
            Some(backend) => set_backend(maps, *id, &BackendRecord { state: RecordState::Gone, ..backend.record }),
            None => Ok(()),
        },
        Write::RemoveNode { id } => {
            let before = applied.nodes.get(id).map(|node| node.addresses).unwrap_or_default();
            set_node(maps, *id, NodeAddresses::default(), before, tunnel_port)?;
            remove_name(maps, name_kind::NODE, *id)
        }
        Write::ForgetService { id } => remove_name(maps, name_kind::SERVICE, *id),
    }
}

/// Makes a node's addresses known: this node's own as ends of the tunnel, another's as ends that packets may come from.
fn set_node(
    maps: &mut Maps,
    id: u32,
    now: NodeAddresses,
    before: NodeAddresses,
    tunnel_port: u16,
) -> Result<(), Error> {
    // The next hop last: reading back takes the address from it, and so finds the node only when all of it is there.
    if now.v4 != before.v4 {
        let (now, before) = (now.v4.map(Address4::from), before.v4.map(Address4::from));
        set_node_address(&mut maps.v4, id, now, before, tunnel_port)?;
        let destination = now.unwrap_or_default();
        set_hop(&mut maps.v4, id, NextHop4 { destination, ..NextHop4::default() })?;
    }
    if now.v6 != before.v6 {
        let (now, before) = (now.v6.map(Address6::from), before.v6.map(Address6::from));
        set_node_address(&mut maps.v6, id, now, before, tunnel_port)?;
        let destination = now.unwrap_or_default();
        set_hop(&mut maps.v6, id, NextHop6 { destination, ..NextHop6::default() })?;
    }
    Ok(())
}

fn set_node_address<F: Family>(
    maps: &mut FamilyMaps<F>,
    id: u32,
    now: Option<F::Address>,
    before: Option<F::Address>,
    tunnel_port: u16,
) -> Result<(), Error> {
    let tunnel_key = |address| Pod(F::frontend_key(address, tunnel_port, wire::Protocol::UDP));
    if let Some(address) = now {
        if id == THIS_NODE {
            insert_keyed("FRONTENDS", &mut maps.frontends, tunnel_key(address), TUNNEL_END)?;
        } else {
            insert("PEERS", &mut maps.peers, Pod(address), id)?;
        }
    }
    match before.filter(|address| now != Some(*address)) {
        Some(address) if id == THIS_NODE => remove("FRONTENDS", &mut maps.frontends, &tunnel_key(address)),
        // Another node may have taken the address over meanwhile.
        Some(address) if maps.peers.get(&Pod(address), 0).is_ok_and(|holder| holder == id) => {
            remove("PEERS", &mut maps.peers, &Pod(address))
        }
        Some(_) | None => Ok(()),
    }
}

fn set_backend(maps: &mut Maps, id: u32, record: &BackendRecord) -> Result<(), Error> {
    if id > MAX_BACKEND_ID {
        return Err(Error::OutOfRange { name: "BACKENDS", what: format!("backend {id}") });
    }
    maps.backends.set(id, Pod(values::backend(record)), 0).map_err(|source| Error::map("BACKENDS", source))
}

fn key<F: Family>(ip: impl Into<F::Address>, port: u16, of: Protocol) -> Pod<F::FrontendKey> {
    Pod(F::frontend_key(ip.into(), port, values::protocol(of)))
}

fn set_name(maps: &mut Maps, kind: u32, id: u32, name: lb_common::layout::Name) -> Result<(), Error> {
    insert("NAMES", &mut maps.names, Pod(NameKey { kind, id }), Pod(name))
}

fn remove_name(maps: &mut Maps, kind: u32, id: u32) -> Result<(), Error> {
    remove("NAMES", &mut maps.names, &Pod(NameKey { kind, id }))
}

pub(super) fn insert<K: aya::Pod, V: aya::Pod>(
    name: &str,
    map: &mut aya::maps::HashMap<aya::maps::MapData, K, V>,
    key: K,
    value: V,
) -> Result<(), Error> {
    map.insert(key, value, 0).map_err(|source| Error::map(name, source))
}

/// Inserts a value as that of its key.
pub(super) fn insert_keyed<K: lb_common::layout::Key, V: Keyed>(
    name: &str,
    map: &mut aya::maps::HashMap<aya::maps::MapData, Pod<K>, Pod<V>>,
    key: Pod<K>,
    value: V,
) -> Result<(), Error> {
    insert(name, map, key, Pod(value.of(&key.0)))
}

/// What is not there is removed.
pub(super) fn remove<K: aya::Pod, V: aya::Pod>(
    name: &str,
    map: &mut aya::maps::HashMap<aya::maps::MapData, K, V>,
    key: &K,
) -> Result<(), Error> {
    removed(name, map.remove(key))
}

fn removed(name: &str, result: Result<(), MapError>) -> Result<(), Error> {
    match result {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(source) => Err(Error::map(name, source)),
    }
}

/// The key of a range: the Service port's id is part of the prefix.
pub(super) fn range_key<F: Family>(service: u32, first: impl Into<F::Address>, bits: u8) -> Key<Pod<F::SourceRange>> {
    Key::new(SOURCE_RANGE_SERVICE_BITS + u32::from(bits), Pod(F::source_range(service, first.into())))
}

pub(super) fn insert_range<K: aya::Pod>(
    name: &str,
    map: &mut LpmTrie<MapData, K, u32>,
    key: Key<K>,
) -> Result<(), Error> {
    map.insert(&key, 1, 0).map_err(|source| Error::map(name, source))
}

/// What is not there is removed.
pub(super) fn remove_range<K: aya::Pod>(
    name: &str,
    map: &mut LpmTrie<MapData, K, u32>,
    key: &Key<K>,
) -> Result<(), Error> {
    removed(name, map.remove(key))
}

/// Makes a value that is counted up be `zero` on every CPU.
fn reset<T>(name: &str, map: &mut PerCpuArray<MapData, Pod<T>>, index: u32, zero: T) -> Result<(), Error>
where
    T: Clone,
    Pod<T>: aya::Pod,
{
    let map_error = |source| Error::map(name, source);
    let cpus = aya::util::nr_cpus().map_err(|(_, source)| map_error(MapError::IoError(source)))?;
    let zeros = PerCpuValues::try_from(vec![Pod(zero); cpus]).map_err(|source| map_error(MapError::IoError(source)))?;
    map.set(index, zeros, 0).map_err(map_error)
}

/// Where a backend listens, from its record.
pub(super) fn socket_address(backend: &Backend) -> SocketAddr {
    SocketAddr::new(values::ip_of(backend.address), backend.port)
}

impl From<&Sizes> for Limits {
    fn from(sizes: &Sizes) -> Self {
        // Flows come and go without a plan.
        let Sizes { flows: _, clients: _, slots, backends, services, frontends, source_ranges, nodes } = *sizes;
        Self { slots, backends, services, frontends, source_ranges, siblings: sizes.siblings(), nodes }
    }
}
