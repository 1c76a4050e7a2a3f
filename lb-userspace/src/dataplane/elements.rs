//! Every element of the maps that the agent alone writes, as plain values: to compare what is programmed with what should
//! be, and to put single elements right. The slots of lookup tables are not among them: see [`super::Slots`].

mod change;
mod mend;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use ipnet::IpNet;
use lb_common::{
    Family as _, V4, V6,
    family::Address,
    layout::{Backend, Config, Frontend, FrontendKey4, FrontendKey6, Keyed, NextHop4, NextHop6, Way},
    wire,
};

pub use self::change::Change;
use super::{Error, FamilyMaps, Maps, names, read::source_ranges, values};
use crate::model::{Family, Protocol};

/// What a frontend or a backend of this node is found by.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Number of the protocol.
    pub protocol: u8,
}

impl Endpoint {
    /// Where this protocol is spoken.
    pub fn new(address: IpAddr, port: u16, protocol: Protocol) -> Self {
        Self { address, port, protocol: values::protocol(protocol).0 as u8 }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, port, protocol } = *self;
        write!(f, "{}/", std::net::SocketAddr::new(address, port))?;
        match wire::Protocol(protocol.into()) {
            wire::Protocol::TCP => f.write_str("TCP"),
            wire::Protocol::UDP => f.write_str("UDP"),
            wire::Protocol(other) => write!(f, "{other}"),
        }
    }
}

/// An element of `NEXT_HOPS`, of either family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NextHop {
    /// This node's address; unspecified while no way was looked up.
    pub source: IpAddr,
    /// The other node's.
    pub destination: IpAddr,
    /// The way there.
    pub way: Way,
}

/// Everything that the agent alone writes, but for slots. Of arrays, the elements that are not all zeros.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Elements {
    /// The node's settings.
    pub config: Config,
    /// What names say, by kind and id.
    pub names: BTreeMap<(u32, u32), String>,
    /// The backends' records.
    pub backends: BTreeMap<u32, Backend>,
    /// The ids of this node's backends.
    pub locals: BTreeMap<Endpoint, u32>,
    /// For a Service port and another port's backend, its own; 0 where the element says that it is another key's.
    pub siblings: BTreeMap<(u32, u32), u32>,
    /// The source ranges of Service ports.
    pub source_ranges: BTreeSet<(u32, IpNet)>,
    /// The frontends. The check is 0 where it is right.
    pub frontends: BTreeMap<Endpoint, Frontend>,
    /// The ids of other nodes.
    pub peers: BTreeMap<IpAddr, u32>,
    /// The ways to nodes.
    pub next_hops: BTreeMap<(u32, Family), NextHop>,
}

impl Elements {
    /// Reads all of them.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn read(maps: &Maps) -> Result<Self, Error> {
        let mut elements = Self {
            config: maps.config.get(&0, 0).map_err(|source| Error::map("CONFIG", source))?.0,
            source_ranges: source_ranges(maps)?,
            ..Self::default()
        };
        for entry in maps.names.iter() {
            let (key, name) = entry.map_err(|source| Error::map("NAMES", source))?;
            elements.names.insert((key.0.kind, key.0.id), names::text(&name.0).to_owned());
        }
        for id in 0..maps.backends.len() {
            let backend = maps.backends.get(&id, 0).map_err(|source| Error::map("BACKENDS", source))?.0;
            if backend != Backend::default() {
                elements.backends.insert(id, backend);
            }
        }
        for entry in maps.siblings.iter() {
            let (key, sibling) = entry.map_err(|source| Error::map("SIBLINGS", source))?;
            let id = if sibling.0.fits(&key.0) { sibling.0.backend } else { 0 };
            elements.siblings.insert((key.0.service, key.0.backend), id);
        }
        elements.read_family(&maps.v4, endpoint4, next_hop4)?;
        elements.read_family(&maps.v6, endpoint6, next_hop6)?;
        Ok(elements)
    }

    fn read_family<F: lb_common::Family>(
        &mut self,
        maps: &FamilyMaps<F>,
        endpoint: impl Fn(&F::FrontendKey) -> Endpoint,
        next_hop: impl Fn(&F::NextHop) -> (Family, Option<NextHop>),
    ) -> Result<(), Error> {
        for entry in maps.frontends.iter() {
            let (key, frontend) = entry.map_err(|source| Error::map("FRONTENDS", source))?;
            let check = if frontend.0.fits(&key.0) { 0 } else { frontend.0.check };
            self.frontends.insert(endpoint(&key.0), frontend.0.with_check(check));
        }
        for entry in maps.locals.iter() {
            let (key, id) = entry.map_err(|source| Error::map("LOCALS", source))?;
            self.locals.insert(endpoint(&key.0), id);
        }
        for entry in maps.peers.iter() {
            let (address, id) = entry.map_err(|source| Error::map("PEERS", source))?;
            self.peers.insert(values::ip_of(address.0.to_words()), id);
        }
        for node in 0..maps.next_hops.len() {
            let hop = maps.next_hops.get(&node, 0).map_err(|source| Error::map("NEXT_HOPS", source))?.0;
            if let (family, Some(hop)) = next_hop(&hop) {
                self.next_hops.insert((node, family), hop);
            }
        }
        Ok(())
    }
}

fn endpoint4(key: &FrontendKey4) -> Endpoint {
    Endpoint { address: IpAddr::V4(key.address.into()), port: key.port, protocol: key.protocol }
}

fn endpoint6(key: &FrontendKey6) -> Endpoint {
    Endpoint { address: IpAddr::V6(key.address.into()), port: key.port, protocol: key.protocol }
}

fn next_hop4(hop: &NextHop4) -> (Family, Option<NextHop>) {
    let NextHop4 { source, destination, way } = *hop;
    let (source, destination) = (IpAddr::V4(source.into()), IpAddr::V4(destination.into()));
    (Family::V4, (*hop != NextHop4::default()).then_some(NextHop { source, destination, way }))
}

fn next_hop6(hop: &NextHop6) -> (Family, Option<NextHop>) {
    let NextHop6 { source, destination, way } = *hop;
    let (source, destination) = (IpAddr::V6(source.into()), IpAddr::V6(destination.into()));
    (Family::V6, (*hop != NextHop6::default()).then_some(NextHop { source, destination, way }))
}

/// The key of an IPv4 frontend or backend.
fn key4(at: Endpoint, address: std::net::Ipv4Addr) -> FrontendKey4 {
    V4::frontend_key(address.into(), at.port, wire::Protocol(at.protocol.into()))
}

/// The key of an IPv6 frontend or backend.
fn key6(at: Endpoint, address: std::net::Ipv6Addr) -> FrontendKey6 {
    V6::frontend_key(address.into(), at.port, wire::Protocol(at.protocol.into()))
}
