//! Putting single elements right.

use std::net::IpAddr;

use lb_common::{
    V4, V6,
    layout::{Backend, Frontend, Keyed, Name, NameKey, NextHop4, NextHop6, Sibling, SiblingKey},
};

use super::{Change, Endpoint, NextHop, key4, key6};
use crate::{
    dataplane::{
        Error, Maps, Pod, names,
        tunnel::set_hop,
        write::{insert, insert_range, range_key, remove, remove_range},
    },
    model::Family,
};

impl Change {
    /// Makes the element what it should be.
    ///
    /// # Errors
    /// When the kernel refuses, or a map is full.
    pub fn carry_out(&self, maps: &mut Maps) -> Result<(), Error> {
        match self {
            Self::Config { wanted, .. } => {
                maps.config.set(0, Pod(*wanted), 0).map_err(|source| Error::map("CONFIG", source))
            }
            Self::Name { key: (kind, id), wanted, .. } => {
                let key = Pod(NameKey { kind: *kind, id: *id });
                let name = wanted.as_deref().map(|text| Pod::<Name>(names::encode(text)));
                set("NAMES", &mut maps.names, key, name)
            }
            Self::Peer { address, wanted, .. } => match *address {
                IpAddr::V4(address) => set("PEERS4", &mut maps.v4.peers, Pod(address.into()), *wanted),
                IpAddr::V6(address) => set("PEERS6", &mut maps.v6.peers, Pod(address.into()), *wanted),
            },
            Self::NextHop { key: (node, family), wanted, .. } => set_next_hop(maps, *node, *family, *wanted),
            Self::Backend { id, wanted, .. } => {
                let backend: Backend = wanted.unwrap_or_default();
                maps.backends.set(*id, Pod(backend), 0).map_err(|source| Error::map("BACKENDS", source))
            }
            Self::Local { at, wanted, .. } => match at.address {
                IpAddr::V4(address) => set("LOCALS4", &mut maps.v4.locals, Pod(key4(*at, address)), *wanted),
                IpAddr::V6(address) => set("LOCALS6", &mut maps.v6.locals, Pod(key6(*at, address)), *wanted),
            },
            Self::Sibling { key: (service, backend), wanted, .. } => {
                let key = SiblingKey { service: *service, backend: *backend };
                let sibling = wanted.map(|backend| Pod(Sibling::new(&key, backend)));
                set("SIBLINGS", &mut maps.siblings, Pod(key), sibling)
            }
            Self::SourceRange { service, range, is_wanted } => match range.addr() {
                IpAddr::V4(address) => {
                    let key = range_key::<V4>(*service, address, range.prefix_len());
                    let map = &mut maps.v4.source_ranges;
                    if *is_wanted {
                        insert_range("SOURCE_RANGES4", map, key)
                    } else {
                        remove_range("SOURCE_RANGES4", map, &key)
                    }
                }
                IpAddr::V6(address) => {
                    let key = range_key::<V6>(*service, address, range.prefix_len());
                    let map = &mut maps.v6.source_ranges;
                    if *is_wanted {
                        insert_range("SOURCE_RANGES6", map, key)
                    } else {
                        remove_range("SOURCE_RANGES6", map, &key)
                    }
                }
            },
            Self::Frontend { at, wanted, .. } => set_frontend(maps, *at, *wanted),
        }
    }
}

fn set_frontend(maps: &mut Maps, at: Endpoint, wanted: Option<Frontend>) -> Result<(), Error> {
    match at.address {
        IpAddr::V4(address) => {
            let key = key4(at, address);
            set("FRONTENDS4", &mut maps.v4.frontends, Pod(key), wanted.map(|frontend| Pod(frontend.of(&key))))
        }
        IpAddr::V6(address) => {
            let key = key6(at, address);
            set("FRONTENDS6", &mut maps.v6.frontends, Pod(key), wanted.map(|frontend| Pod(frontend.of(&key))))
        }
    }
}

fn set_next_hop(maps: &mut Maps, node: u32, family: Family, wanted: Option<NextHop>) -> Result<(), Error> {
    match (family, wanted) {
        (Family::V4, Some(NextHop { source: IpAddr::V4(source), destination: IpAddr::V4(destination), way })) => {
            set_hop(&mut maps.v4, node, NextHop4 { source: source.into(), destination: destination.into(), way })
        }
        (Family::V6, Some(NextHop { source: IpAddr::V6(source), destination: IpAddr::V6(destination), way })) => {
            set_hop(&mut maps.v6, node, NextHop6 { source: source.into(), destination: destination.into(), way })
        }
        // Nobody is reached over a family by an address of the other one.
        (Family::V4, Some(_) | None) => set_hop(&mut maps.v4, node, NextHop4::default()),
        (Family::V6, Some(_) | None) => set_hop(&mut maps.v6, node, NextHop6::default()),
    }
}

fn set<K: aya::Pod, V: aya::Pod>(
    name: &str,
    map: &mut aya::maps::HashMap<aya::maps::MapData, K, V>,
    key: K,
    wanted: Option<V>,
) -> Result<(), Error> {
    match wanted {
        Some(value) => insert(name, map, key, value),
        None => remove(name, map, &key),
    }
}
