//! Reads the pinned maps into plain values. Nothing here writes but [`Opened::forget`], and reading disturbs no packet.
//!
//! The datapath and the agent go on meanwhile: every value is whole, but two of them may be of different moments.

mod clients;
mod flows;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use aya::maps::{self, MapData, MapError, MapInfo};
use lb_common::{
    Family, Reason, V4, V6,
    family::{Address4, Address6},
    layout::{
        Backend as BackendValue, FlowKey4, FlowKey6, Frontend as FrontendValue, FrontendKey4, FrontendKey6, NextHop,
        SLOT_BACKEND_MASK, THIS_NODE, backend_state, frontend_flags, frontend_kind, name_kind,
    },
};

use super::state::{
    Backend, BackendState, Counters, Extent, Frontend, FrontendKind, Hop, Node, ServicePort, State, Way,
};
use crate::dataplane::{
    Error, FamilyMaps, Maps, Pins, Pod, frontend_affinity, ip_of, maps::names as map_names, names, source_ranges,
};

pub use flows::FlowCounts;

/// Length of a layer-2 address.
const MAC_BYTES: usize = 6;

/// The pinned maps, open, and how much each has room for.
pub struct Opened {
    /// The maps.
    pub maps: Maps,
    /// Elements by the map's name.
    pub rooms: BTreeMap<String, u32>,
}

/// Opens the pinned maps.
///
/// # Errors
/// When there are none, or they may not be read.
pub fn open(pins: &Pins) -> Result<Opened, Error> {
    let maps = Maps::open(pins)?;
    let room = |name: String| match MapInfo::from_pin(pins.maps().join(&name)) {
        Ok(info) => Ok((name, info.max_entries())),
        Err(source) => Err(Error::map(&name, source)),
    };
    Ok(Opened { maps, rooms: map_names().map(room).collect::<Result<_, _>>()? })
}

/// A family whose keys can be read back.
trait Readable: Family {
    /// The digit at the end of its maps' names.
    const DIGIT: char;
    /// An address.
    fn ip(address: Self::Address) -> IpAddr;
    /// Address and port, and the protocol's number.
    fn frontend(key: &Self::FrontendKey) -> (SocketAddr, u8);
    /// The client, the frontend, and the protocol's number.
    fn flow(key: &Self::FlowKey) -> (SocketAddr, SocketAddr, u8);
    /// The address that a next hop leads to.
    fn destination(hop: &Self::NextHop) -> Self::Address;
}

impl Readable for V4 {
    const DIGIT: char = '4';

    fn ip(address: Address4) -> IpAddr {
        Ipv4Addr::from(address).into()
    }

    fn frontend(key: &FrontendKey4) -> (SocketAddr, u8) {
        (SocketAddr::new(Self::ip(key.address), key.port), key.protocol)
    }

    fn flow(key: &FlowKey4) -> (SocketAddr, SocketAddr, u8) {
        let source = SocketAddr::new(Self::ip(key.source), key.source_port);
        (source, SocketAddr::new(Self::ip(key.destination), key.destination_port), key.protocol as u8)
    }

    fn destination(hop: &Self::NextHop) -> Address4 {
        hop.destination
    }
}

impl Readable for V6 {
    const DIGIT: char = '6';

    fn ip(address: Address6) -> IpAddr {
        Ipv6Addr::from(address).into()
    }

    fn frontend(key: &FrontendKey6) -> (SocketAddr, u8) {
        (SocketAddr::new(Self::ip(key.address), key.port), key.protocol)
    }

    fn flow(key: &FlowKey6) -> (SocketAddr, SocketAddr, u8) {
        let source = SocketAddr::new(Self::ip(key.source), key.source_port);
        (source, SocketAddr::new(Self::ip(key.destination), key.destination_port), key.protocol as u8)
    }

    fn destination(hop: &Self::NextHop) -> Address6 {
        hop.destination
    }
}

impl Opened {
    /// Everything that is programmed, but for flows and counters.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn state(&self) -> Result<State, Error> {
        let mut state = State::default();
        let mut backend_names = BTreeMap::new();
        for (Pod(key), Pod(name)) in self.elements("NAMES", &self.maps.names)? {
            let text = names::text(&name);
            match key.kind {
                name_kind::SERVICE => {
                    state.services.extend(names::parse_service(text).map(|name| (key.id, service_port(&name))));
                }
                name_kind::BACKEND => {
                    backend_names.insert(key.id, text.to_owned());
                }
                name_kind::NODE => {
                    state.nodes.insert(key.id, Node { name: text.to_owned(), ways: Vec::new() });
                }
                // Of a later version, which adds kinds without changing these.
                _ => {}
            }
        }
        self.add_family(&self.maps.v4, &mut state)?;
        self.add_family(&self.maps.v6, &mut state)?;
        for (service, range) in source_ranges(&self.maps)? {
            state.source_ranges.entry(service).or_default().insert(range);
        }
        self.add_tables(&mut state);
        self.add_backends(&backend_names, &mut state)?;
        Ok(state)
    }

    /// Packets by reason, summed over CPUs.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn counters(&self) -> Result<Counters, Error> {
        let sum = |reason: Reason| {
            let cpus = self.maps.counters.get(&reason.index(), 0).map_err(in_map("COUNTERS"))?;
            Ok((reason, cpus.iter().fold(0_u64, |sum, count| sum.wrapping_add(*count))))
        };
        Reason::ALL.into_iter().map(sum).collect()
    }

    /// How many elements the map with this name holds: one of those that the programs fill.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn count(&self, name: &str) -> Result<u32, Error> {
        match name {
            "FLOWS4" => self.count_keys(name, &self.maps.v4.flows),
            "FLOWS6" => self.count_keys(name, &self.maps.v6.flows),
            "NEW_FLOWS4" => self.count_keys(name, &self.maps.v4.new_flows),
            "NEW_FLOWS6" => self.count_keys(name, &self.maps.v6.new_flows),
            "AFFINITY4" => self.count_keys(name, &self.maps.v4.affinity),
            "AFFINITY6" => self.count_keys(name, &self.maps.v6.affinity),
            "NEW_AFFINITY4" => self.count_keys(name, &self.maps.v4.new_affinity),
            "NEW_AFFINITY6" => self.count_keys(name, &self.maps.v6.new_affinity),
            "REPLIES4" => self.count_keys(name, &self.maps.v4.replies),
            "REPLIES6" => self.count_keys(name, &self.maps.v6.replies),
            "NEW_REPLIES4" => self.count_keys(name, &self.maps.v4.new_replies),
            "NEW_REPLIES6" => self.count_keys(name, &self.maps.v6.new_replies),
            other => Err(Error::Layout { name: other.to_owned() }),
        }
    }

    /// How many elements the map with this name has room for.
    pub fn room(&self, name: &str) -> u32 {
        self.rooms.get(name).copied().unwrap_or(0)
    }

    fn add_family<F: Readable>(&self, maps: &FamilyMaps<F>, state: &mut State) -> Result<(), Error> {
        let mut own = None;
        for (Pod(key), Pod(value)) in self.elements(&format!("FRONTENDS{}", F::DIGIT), &maps.frontends)? {
            let (address, _) = F::frontend(&key);
            if value.kind == frontend_kind::TUNNEL {
                own = Some(address.ip());
            } else {
                state.frontends.push(frontend(address, &value));
            }
        }
        let peers = self.elements(&format!("PEERS{}", F::DIGIT), &maps.peers)?;
        let peers: BTreeMap<u32, IpAddr> = peers.into_iter().map(|(Pod(address), id)| (id, F::ip(address))).collect();
        let name = format!("NEXT_HOPS{}", F::DIGIT);
        for (id, node) in &mut state.nodes {
            if *id == THIS_NODE {
                node.ways.extend(own.map(|address| Way { address, hop: None }));
                continue;
            }
            let hop = match maps.next_hops.get(id, 0) {
                Ok(Pod(hop)) => Some(hop),
                Err(MapError::OutOfBounds { .. } | MapError::KeyNotFound) => None,
                Err(source) => return Err(Error::map(&name, source)),
            };
            let written = hop.map(|hop| F::destination(&hop)).map(F::ip).filter(|address| !address.is_unspecified());
            let address = peers.get(id).copied().or(written);
            let hop = hop.filter(|hop| hop.way().is_known()).map(|hop| first_hop::<F>(&hop));
            node.ways.extend(address.map(|address| Way { address, hop }));
        }
        Ok(())
    }

    fn add_tables(&self, state: &mut State) {
        for extent in state.frontends.iter().filter_map(|frontend| frontend.table) {
            state.tables.entry(extent).or_insert_with(|| {
                let mut table = BTreeMap::new();
                for slot in self.maps.slots.read(extent.offset, extent.length).unwrap_or_default() {
                    let backend = slot & SLOT_BACKEND_MASK;
                    if backend != 0 {
                        *table.entry(backend).or_insert(0) += 1;
                    }
                }
                table
            });
        }
    }

    fn add_backends(&self, known: &BTreeMap<u32, String>, state: &mut State) -> Result<(), Error> {
        let in_tables = state.tables.values().flat_map(BTreeMap::keys);
        let ids: BTreeSet<u32> = known.keys().chain(in_tables).copied().collect();
        for id in ids {
            let value = match self.maps.backends.get(&id, 0) {
                Ok(Pod(value)) => value,
                Err(MapError::OutOfBounds { .. }) => continue,
                Err(source) => return Err(Error::map("BACKENDS", source)),
            };
            let name = known.get(&id).and_then(|text| names::parse_backend(text));
            state.backends.extend(backend(&value, name, &state.nodes).map(|backend| (id, backend)));
        }
        Ok(())
    }

    fn elements<K, V>(&self, name: &str, map: &maps::HashMap<MapData, K, V>) -> Result<HashMap<K, V>, Error>
    where
        K: aya::Pod + Eq + Hash,
        V: aya::Pod,
    {
        map.iter().take(self.bound(name)).collect::<Result<_, _>>().map_err(in_map(name))
    }

    fn count_keys<K: aya::Pod, V: aya::Pod>(
        &self,
        name: &str,
        map: &maps::HashMap<MapData, K, V>,
    ) -> Result<u32, Error> {
        let room = self.room(name);
        let counted = map.keys().take(room as usize).try_fold(0, |count: u32, key| key.map(|_| count + 1));
        counted.map_err(in_map(name))
    }

    /// A walk starts again when the key that it stands on is removed: at most two rounds.
    fn bound(&self, name: &str) -> usize {
        (self.room(name) as usize).saturating_mul(2)
    }
}

fn in_map(name: &str) -> impl FnOnce(MapError) -> Error {
    move |source| Error::map(name, source)
}

fn service_port(name: &names::ServiceName<'_>) -> ServicePort {
    ServicePort {
        namespace: name.namespace.to_owned(),
        name: name.name.to_owned(),
        port: name.port.to_owned(),
        protocol: name.protocol.to_owned(),
    }
}

fn frontend(address: SocketAddr, value: &FrontendValue) -> Frontend {
    let extent = Extent { offset: value.table_offset, length: value.table_length };
    Frontend {
        address,
        kind: match value.kind {
            frontend_kind::LOAD_BALANCER_IP => FrontendKind::LoadBalancerIP,
            frontend_kind::EXTERNAL_IP => FrontendKind::ExternalIP,
            frontend_kind::NODE_PORT => FrontendKind::NodePort,
            frontend_kind::CLUSTER_IP => FrontendKind::ClusterIP,
            _ => FrontendKind::Unknown,
        },
        service: value.service,
        affinity: frontend_affinity(value),
        table: (value.table_length != 0).then_some(extent),
        asks_source: value.flags & frontend_flags::SOURCE_RANGES != 0,
        drops_if_empty: value.flags & frontend_flags::DROP_IF_EMPTY != 0,
    }
}

/// A backend; none where nothing was ever written.
fn backend(value: &BackendValue, name: Option<names::BackendName<'_>>, nodes: &BTreeMap<u32, Node>) -> Option<Backend> {
    if value.generation == 0 {
        return None;
    }
    // The node's own name is whole; that in the backend's may be cut, but outlives the node.
    let node = nodes.get(&value.node).map(|node| node.name.as_str());
    let node = node.or(name.map(|name| name.node)).filter(|node| !node.is_empty());
    Some(Backend {
        identity: name.map(|name| name.identity.to_owned()),
        address: SocketAddr::new(ip_of(value.address), value.port),
        service: value.service,
        protocol: protocol_name(value.protocol),
        node: node.map(str::to_owned),
        node_id: value.node,
        state: match value.state {
            backend_state::ACTIVE => BackendState::Active,
            backend_state::DRAINING => BackendState::Draining,
            backend_state::NOT_READY => BackendState::NotReady,
            backend_state::EXCLUDED => BackendState::Excluded,
            _ => BackendState::Gone,
        },
        generation: value.generation,
    })
}

fn first_hop<F: Readable>(hop: &F::NextHop) -> Hop {
    let octets: [[u8; 4]; 3] = hop.way().ethernet.map(u32::to_ne_bytes);
    let mac = octets.as_flattened().iter().take(MAC_BYTES).map(|octet| format!("{octet:02x}")).collect::<Vec<_>>();
    let index = hop.way().device;
    let device = nix::net::if_::if_indextoname(index).ok().and_then(|name| name.into_string().ok());
    Hop { device: device.unwrap_or_else(|| format!("#{index}")), mac: mac.join(":"), mtu_bytes: hop.way().mtu }
}

fn protocol_name(number: u8) -> String {
    match number {
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        other => other.to_string(),
    }
}
