//! What affinity means, said plainly: who is held where, for how long, and what is told.
//!
//! It sees the same tables as the datapath and keeps its own books. Written for reading, not for speed, and without a look
//! at how the datapath does it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use lb_common::{
    BreakReason, Family, V4, V6,
    family::{Address4, Address6},
    hash,
    layout::{AffinityKey4, AffinityKey6, Backend, FlowKey4, FlowKey6, Frontend, backend_state, frontend_flags},
    wire::Protocol,
};

use crate::node::{Kind, Node, Packet};

/// A key of a map of either family.
pub(crate) enum Key<A, B> {
    V4(A),
    V6(B),
}

/// Who is held: an address or a prefix of one, and what for.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct ClientKey {
    pub(crate) client: IpAddr,
    /// A Service port, or a Service where its ports share their clients.
    pub(crate) scope: String,
}

impl ClientKey {
    pub(crate) fn as_key(&self) -> Key<AffinityKey4, AffinityKey6> {
        let service = hash::affinity(&self.scope);
        match self.client {
            IpAddr::V4(client) => Key::V4(V4::affinity_key(client.into(), service)),
            IpAddr::V6(client) => Key::V6(V6::affinity_key(client.into(), service)),
        }
    }
}

/// A connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct FlowKey {
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    is_udp: bool,
}

impl FlowKey {
    pub(crate) fn of(packet: &Packet) -> Self {
        let is_udp = packet.protocol() == Protocol::UDP;
        Self { source: packet.source, destination: packet.destination, is_udp }
    }

    fn protocol(&self) -> Protocol {
        if self.is_udp { Protocol::UDP } else { Protocol::TCP }
    }

    pub(crate) fn as_key(&self) -> Key<FlowKey4, FlowKey6> {
        let (source_port, port) = (self.source.1, self.destination.1);
        match (self.source.0, self.destination.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                Key::V4(V4::flow_key(from.into(), to.into(), source_port, port, self.protocol()))
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                Key::V6(V6::flow_key(from.into(), to.into(), source_port, port, self.protocol()))
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => unreachable!("one family at a time"),
        }
    }

    fn hash(&self) -> u32 {
        let (source_port, port) = (self.source.1, self.destination.1);
        match (self.source.0, self.destination.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                hash::flow(Address4::from(from), Address4::from(to), source_port, port, self.protocol())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                hash::flow(Address6::from(from), Address6::from(to), source_port, port, self.protocol())
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => unreachable!("one family at a time"),
        }
    }
}

/// One life of a backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct Held {
    pub(crate) id: u32,
    pub(crate) generation: u32,
}

/// What is known of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Client {
    pub(crate) at: Held,
    pub(crate) since: u32,
    pub(crate) last_used: u32,
    pub(crate) expiries: u32,
    pub(crate) is_forgotten: bool,
}

/// A client was given another backend than the one that it had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Break {
    pub(crate) client: IpAddr,
    pub(crate) service: u32,
    pub(crate) reason: BreakReason,
    pub(crate) from: Held,
    pub(crate) to: Held,
    pub(crate) at: u32,
    pub(crate) since: u32,
}

/// The books.
#[derive(Clone, Default)]
pub(crate) struct Contract {
    /// Flows that have sent one packet, and those that have sent more.
    pub(crate) flows: [BTreeMap<FlowKey, Held>; 2],
    /// Clients that have shown nothing yet, and those that are held.
    pub(crate) clients: [BTreeMap<ClientKey, Client>; 2],
    /// Where clients were last held, and when they last began a connection.
    pub(crate) ghosts: BTreeMap<ClientKey, (Held, u32)>,
    /// What the last packet broke.
    pub(crate) told: Vec<Break>,
}

const NEW: usize = 0;
const ESTABLISHED: usize = 1;

impl Contract {
    /// What a packet must do: the backend that it goes to; none where there is none to go to.
    pub(crate) fn packet(&mut self, node: &Node, packet: &Packet) -> Option<u32> {
        let world = World { node, frontend: frontend(node, packet) };
        let flow = FlowKey::of(packet);
        self.told.clear();

        // A flow stays, whatever the tables say, while its backend is there; a SYN begins another one.
        let alive = |held: &&Held| packet.kind != Kind::Syn && world.is_alive(**held);
        if let Some(held) = self.flows[ESTABLISHED].get(&flow).filter(alive) {
            return Some(held.id);
        }
        let is_established = self.flows[ESTABLISHED].contains_key(&flow);
        if !is_established && let Some(held) = self.flows[NEW].get(&flow).filter(alive).copied() {
            self.flows[ESTABLISHED].insert(flow, held);
            if world.holds_clients() {
                self.prove(&world, &world.key(packet.source.0));
            }
            return Some(held.id);
        }

        let id = if world.holds_clients() {
            self.client(&world, packet, is_established)?
        } else {
            world.by_table(flow.hash())?
        };
        let stage = if is_established { ESTABLISHED } else { NEW };
        self.flows[stage].insert(flow, world.held(id));
        Some(id)
    }

    /// A packet of a client that no flow answers for.
    fn client(&mut self, world: &World<'_>, packet: &Packet, is_established: bool) -> Option<u32> {
        let key = world.key(packet.source.0);
        let begins = packet.kind == Kind::Syn || packet.kind == Kind::Datagram;
        if self.clients[ESTABLISHED].contains_key(&key) {
            return self.known_client(world, &key, begins, ESTABLISHED);
        }
        let was_noted = self.clients[NEW].contains_key(&key);
        let id = if was_noted {
            self.known_client(world, &key, begins, NEW)?
        } else {
            let id = world.by_table(world.client_hash(&key, 0))?;
            if begins {
                let now = world.now();
                let client =
                    Client { at: world.held(id), since: now, last_used: now, expiries: 0, is_forgotten: false };
                self.clients[NEW].insert(key.clone(), client);
            }
            id
        };
        // A lone packet proves nothing; a second datagram does, and so does a flow of more than one packet.
        let is_second_datagram = packet.kind == Kind::Datagram && was_noted;
        if begins && (is_established || is_second_datagram) {
            self.prove(world, &key);
        }
        Some(id)
    }

    fn known_client(&mut self, world: &World<'_>, key: &ClientKey, begins: bool, stage: usize) -> Option<u32> {
        let client = self.clients[stage][key];
        if !begins {
            // On its way already: its backend will do in any state, and nothing is written.
            return if world.is_alive(client.at) {
                world.at_this_port(client.at.id).or_else(|| world.by_table(world.client_hash(key, client.expiries)))
            } else {
                world.by_table(world.client_hash(key, client.expiries))
            };
        }
        let now = world.now();
        let Some(reason) = world.why_not(&client, now) else {
            if client.last_used != now {
                self.clients[stage].get_mut(key).unwrap().last_used = now;
                if stage == ESTABLISHED {
                    self.ghosts.insert(key.clone(), (client.at, now));
                }
            }
            // Held by another port of the Service at a Pod that lacks this one: the table, and it stays held.
            return world
                .at_this_port(client.at.id)
                .or_else(|| world.by_table(world.client_hash(key, client.expiries)));
        };
        let expired = reason == BreakReason::Expired && world.frontend.flags & frontend_flags::STABLE_EXPIRY == 0;
        let expiries = client.expiries + u32::from(expired);
        let to = world.held(world.by_table(world.client_hash(key, expiries))?);
        let is_same = world.is_same(client.at, to);
        let since = if is_same { client.since } else { now };
        self.clients[stage]
            .insert(key.clone(), Client { at: to, since, last_used: now, expiries, is_forgotten: false });
        if stage == ESTABLISHED {
            self.ghosts.insert(key.clone(), (to, now));
            if !is_same {
                self.tell(world, key, reason, (client.at, to), (now, client.since));
            }
        }
        Some(to.id)
    }

    /// The client is really there: from now on it is held.
    fn prove(&mut self, world: &World<'_>, key: &ClientKey) {
        let Some(client) = self.clients[NEW].remove(key) else {
            return;
        };
        self.clients[ESTABLISHED].insert(key.clone(), client);
        let Some((before, last_used)) = self.ghosts.insert(key.clone(), (client.at, client.last_used)) else {
            return;
        };
        if world.is_same(before, client.at) {
            return;
        }
        let shadow = Client { at: before, last_used, is_forgotten: false, ..client };
        let reason = world.why_not(&shadow, client.since).unwrap_or(BreakReason::Evicted);
        self.tell(world, key, reason, (before, client.at), (client.since, client.since));
    }

    fn tell(
        &mut self,
        world: &World<'_>,
        key: &ClientKey,
        reason: BreakReason,
        (from, to): (Held, Held),
        (at, since): (u32, u32),
    ) {
        let service = world.frontend.service;
        self.told.push(Break { client: key.client, service, reason, from, to, at, since });
    }
}

/// The tables as one packet finds them.
pub(crate) struct World<'a> {
    pub(crate) node: &'a Node,
    pub(crate) frontend: Frontend,
}

impl World<'_> {
    fn now(&self) -> u32 {
        self.node.memory.now_seconds
    }

    pub(crate) fn holds_clients(&self) -> bool {
        self.frontend.flags & frontend_flags::CLIENT_AFFINITY != 0
    }

    /// Who a sender is.
    pub(crate) fn key(&self, client: IpAddr) -> ClientKey {
        let name = self.node.service(self.frontend.service).unwrap();
        let shares = self.frontend.flags & frontend_flags::SERVICE_KEY != 0;
        let scope = if shares { format!("{}/{}", name.namespace, name.name) } else { name.to_string() };
        ClientKey { client: masked(client, self.frontend.client_prefix), scope }
    }

    fn client_hash(&self, key: &ClientKey, expiries: u32) -> u32 {
        let service = hash::service("default", "web");
        match key.client {
            IpAddr::V4(client) => hash::client(Address4::from(client), service, expiries),
            IpAddr::V6(client) => hash::client(Address6::from(client), service, expiries),
        }
    }

    fn by_table(&self, hash: u32) -> Option<u32> {
        let Frontend { table_offset, table_length, .. } = self.frontend;
        if table_length == 0 {
            return None;
        }
        let slot = table_offset + hash::slot(hash, table_length);
        Some(self.node.memory.slots[slot as usize])
    }

    fn record(&self, id: u32) -> Backend {
        self.node.memory.backends[id as usize]
    }

    pub(crate) fn held(&self, id: u32) -> Held {
        Held { id, generation: self.record(id).generation }
    }

    /// Whether it is that backend still, and not gone.
    fn is_alive(&self, held: Held) -> bool {
        let record = self.record(held.id);
        record.generation == held.generation && record.state != backend_state::GONE
    }

    /// Why a client may not stay; none when it does.
    fn why_not(&self, client: &Client, now: u32) -> Option<BreakReason> {
        if client.is_forgotten {
            return Some(BreakReason::Forgotten);
        }
        if now - client.last_used > self.frontend.affinity_timeout_seconds {
            return Some(BreakReason::Expired);
        }
        if !self.is_alive(client.at) {
            return Some(BreakReason::BackendGone);
        }
        match self.record(client.at.id).state {
            backend_state::ACTIVE => None,
            backend_state::DRAINING => Some(BreakReason::Draining),
            backend_state::NOT_READY => Some(BreakReason::NotReady),
            _ => Some(BreakReason::ConfigChanged),
        }
    }

    /// The backend on the same Pod that is this Service port's.
    fn at_this_port(&self, id: u32) -> Option<u32> {
        self.on_same_pod(id, self.frontend.service)
    }

    /// The backend on the same Pod that is that Service port's, if it takes clients.
    fn on_same_pod(&self, id: u32, service: u32) -> Option<u32> {
        if self.record(id).service == service {
            return Some(id);
        }
        let pod = self.node.identity(id)?;
        let mut all = 1..self.node.memory.backends.len() as u32;
        all.find(|other| {
            let record = self.record(*other);
            record.service == service
                && record.state == backend_state::ACTIVE
                && self.node.identity(*other) == Some(pod)
        })
    }

    /// Whether a client that had the first and got the second has lost nothing: two ports of one Pod, while both are there.
    fn is_same(&self, before: Held, now: Held) -> bool {
        let are_there = self.is_alive(before) && self.record(now.id).generation == now.generation;
        let are_two_ports = self.record(before.id).service != self.record(now.id).service;
        before == now || are_there && are_two_ports && self.node.identity(before.id) == self.node.identity(now.id)
    }
}

/// What a packet is sent to.
pub(crate) fn frontend(node: &Node, packet: &Packet) -> Frontend {
    let (address, port) = packet.destination;
    let found = match address {
        IpAddr::V4(address) => node.memory.v4.frontends.get(&V4::frontend_key(address.into(), port, packet.protocol())),
        IpAddr::V6(address) => node.memory.v6.frontends.get(&V6::frontend_key(address.into(), port, packet.protocol())),
    };
    *found.unwrap()
}

/// The first bits of an address, the others 0.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            Ipv4Addr::from(u32::from(address) & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)).into()
        }
        IpAddr::V6(address) => {
            Ipv6Addr::from(u128::from(address) & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)).into()
        }
    }
}
