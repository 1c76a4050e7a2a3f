//! The node: what the plan wrote, and the datapath on the host.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use lb_common::{
    Action, Family, Stage, V4, V6, Verdict,
    family::{Address4, Address6},
    hash,
    host::{Frame, FrameSpec, Memory, MemoryOf},
    layout::{Affinity, Backend, Ghost, NextHop4, NextHop6, SiblingKey, Way, affinity_flags, backend_state},
    wire::{Protocol, tcp_flags},
};
use lb_userspace::{
    dataplane::values,
    model::{self, Desired, ServicePortName},
    plan::{Applied, Limits, Write, plan},
};

use crate::contract::{ClientKey, FlowKey, Key};

const LIMITS: Limits =
    Limits { slots: 400_000, backends: 200, services: 16, frontends: 64, source_ranges: 64, siblings: 800, nodes: 8 };
/// Sets of ghosts: so many that none is pushed out unless the test does it.
const GHOST_SETS: u32 = 1_024;
/// The device that packets come in and leave by.
const DEVICE: u32 = 1;
const TUNNEL_PORT: u16 = 6181;

/// What a client sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Syn,
    Ack,
    Fin,
    Datagram,
}

/// A packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) kind: Kind,
    pub(crate) source: (IpAddr, u16),
    pub(crate) destination: (IpAddr, u16),
}

impl Packet {
    pub(crate) fn protocol(&self) -> Protocol {
        if self.kind == Kind::Datagram { Protocol::UDP } else { Protocol::TCP }
    }
}

/// One node.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) memory: Memory,
    applied: Applied,
    /// Writes of the plan that are yet to be made.
    pub(crate) pending: VecDeque<Write>,
}

impl Node {
    pub(crate) fn new() -> Self {
        let mut memory = Memory::with_ghosts(GHOST_SETS);
        memory.now_seconds = 1_000;
        memory.slots = vec![0; LIMITS.slots as usize];
        memory.backends = vec![Backend::default(); LIMITS.backends as usize];
        Self { memory, applied: Applied::default(), pending: VecDeque::new() }
    }

    /// Plans for what is desired, after what is still to be written. Writes nothing yet.
    pub(crate) fn plan(&mut self, desired: &Desired) {
        self.write(usize::MAX);
        let plan = plan(&self.applied, desired, self.memory.now_seconds.into(), &LIMITS);
        assert_eq!(plan.problems, []);
        self.pending = plan.writes.into();
    }

    /// Makes so many of the writes.
    pub(crate) fn write(&mut self, count: usize) {
        for _ in 0..count {
            let Some(write) = self.pending.pop_front() else {
                return;
            };
            self.applied.apply(&write, self.memory.now_seconds.into());
            self.make(&write);
        }
    }

    /// The name of the Pod that a backend is.
    pub(crate) fn identity(&self, id: u32) -> Option<&str> {
        self.applied.backend_names.get(&id).map(String::as_str)
    }

    /// The name of a Service port.
    pub(crate) fn service(&self, id: u32) -> Option<&ServicePortName> {
        self.applied.services.get(&id)
    }

    fn make(&mut self, write: &Write) {
        match write {
            Write::Node { id, addresses, .. } if *id != 0 => self.set_way(*id, addresses),
            Write::Backend { id, backend } => self.memory.backends[*id as usize] = values::backend(backend),
            Write::RetireBackend { id } => self.memory.backends[*id as usize].state = backend_state::GONE,
            Write::Table { extent, pool, .. } => {
                let slots = pool.slots();
                let first = extent.offset as usize;
                self.memory.slots[first..first + slots.len()].copy_from_slice(&slots);
            }
            Write::Sibling { service, backend, id } => {
                self.memory.add_sibling(SiblingKey { service: *service, backend: *backend }, *id);
            }
            Write::RemoveSibling { service, backend } => {
                self.memory.siblings.remove(&SiblingKey { service: *service, backend: *backend });
            }
            Write::Frontend { address, port, protocol, value } => {
                let frontend = values::frontend(value, self.applied.services.get(&value.service));
                let protocol = wire(*protocol);
                match address {
                    IpAddr::V4(address) => {
                        let key = V4::frontend_key((*address).into(), *port, protocol);
                        self.memory.v4.add_frontend(key, frontend);
                    }
                    IpAddr::V6(address) => {
                        let key = V6::frontend_key((*address).into(), *port, protocol);
                        self.memory.v6.add_frontend(key, frontend);
                    }
                }
            }
            Write::RemoveFrontend { .. } => panic!("no frontend goes in these histories"),
            // The cluster's own networks, which no client is in.
            Write::SourceRange { service, range } => match range.addr() {
                IpAddr::V4(first) => {
                    self.memory.v4.source_ranges.push((*service, first.into(), range.prefix_len().into()));
                }
                IpAddr::V6(first) => {
                    self.memory.v6.source_ranges.push((*service, first.into(), range.prefix_len().into()));
                }
            },
            Write::RemoveSourceRange { .. } => panic!("no range goes in these histories"),
            // What ingress never looks at, or only with another node's packets.
            Write::Node { .. }
            | Write::NameService { .. }
            | Write::NameBackend { .. }
            | Write::LocalBackend { .. }
            | Write::RemoveLocalBackend { .. }
            | Write::ForgetTable { .. }
            | Write::RemoveNode { .. }
            | Write::ForgetService { .. } => {}
        }
    }

    fn set_way(&mut self, id: u32, addresses: &model::NodeAddresses) {
        let way = Way { device: DEVICE, mtu: 1500, tunnel_port: TUNNEL_PORT, ..Way::default() };
        let (v4, v6) = (addresses.v4.unwrap(), addresses.v6.unwrap());
        let hop = NextHop4 { source: Address4::default(), destination: v4.into(), way };
        self.memory.v4.next_hops.insert(id, hop);
        let hop = NextHop6 { source: Address6::default(), destination: v6.into(), way };
        self.memory.v6.next_hops.insert(id, hop);
    }

    /// Sends a packet through the datapath: the verdict, and the Pod's address and port that it goes to.
    pub(crate) fn send(&self, packet: &Packet) -> (Verdict, (IpAddr, u16)) {
        let Packet { kind, source, destination } = *packet;
        let spec = match kind {
            Kind::Syn => FrameSpec::syn(source, destination),
            Kind::Ack => FrameSpec::tcp(source, destination, tcp_flags::ACK),
            Kind::Fin => FrameSpec::tcp(source, destination, tcp_flags::ACK | tcp_flags::FIN),
            Kind::Datagram => FrameSpec::udp(source, destination, &[1]),
        };
        let mut frame = Frame::new(&spec.build(), DEVICE);
        let verdict = lb_common::handle(&mut frame, &self.memory);
        let is_tunnelled = matches!(verdict.action, Action::Transmit | Action::Redirect(_));
        (verdict, destination_of(frame.bytes(), source.0.is_ipv6(), is_tunnelled))
    }

    /// The maps of one packet lose all, as when a flood has filled them.
    pub(crate) fn lose_new(&mut self) {
        self.memory.v4.flows[0].borrow_mut().clear();
        self.memory.v6.flows[0].borrow_mut().clear();
        self.memory.v4.affinity[0].borrow_mut().clear();
        self.memory.v6.affinity[0].borrow_mut().clear();
    }

    /// Everything that packets have written is lost.
    pub(crate) fn lose_all(&mut self) {
        self.lose_new();
        self.memory.v4.flows[1].borrow_mut().clear();
        self.memory.v6.flows[1].borrow_mut().clear();
        self.memory.v4.affinity[1].borrow_mut().clear();
        self.memory.v6.affinity[1].borrow_mut().clear();
        self.memory.ghosts = Memory::with_ghosts(GHOST_SETS).ghosts;
    }

    /// A flow is evicted.
    pub(crate) fn evict_flow(&mut self, stage: Stage, key: &FlowKey) {
        match key.as_key() {
            Key::V4(key) => drop(self.memory.v4.flows[stage as usize].borrow_mut().remove(&key)),
            Key::V6(key) => drop(self.memory.v6.flows[stage as usize].borrow_mut().remove(&key)),
        }
    }

    /// A client is evicted.
    pub(crate) fn evict_client(&mut self, stage: Stage, key: &ClientKey) {
        match key.as_key() {
            Key::V4(key) => drop(self.memory.v4.affinity[stage as usize].borrow_mut().remove(&key)),
            Key::V6(key) => drop(self.memory.v6.affinity[stage as usize].borrow_mut().remove(&key)),
        }
    }

    /// A ghost makes room for another one.
    pub(crate) fn evict_ghost(&mut self, key: &ClientKey) {
        let (set, fingerprint) = self.ghost_place(key);
        let mut ghosts = self.memory.ghosts.borrow_mut();
        if let Some(ghost) = ghosts[set as usize].iter_mut().find(|ghost| ghost.fingerprint == fingerprint) {
            *ghost = Ghost::default();
        }
    }

    pub(crate) fn ghost(&self, key: &ClientKey) -> Option<Ghost> {
        let (set, fingerprint) = self.ghost_place(key);
        self.memory.ghosts.borrow()[set as usize].iter().find(|ghost| ghost.fingerprint == fingerprint).copied()
    }

    pub(crate) fn ghost_count(&self) -> usize {
        self.memory.ghosts.borrow().iter().flatten().filter(|ghost| ghost.fingerprint != 0).count()
    }

    fn ghost_place(&self, key: &ClientKey) -> (u32, u32) {
        match key.as_key() {
            Key::V4(key) => hash::ghost(key.client, key.service, GHOST_SETS),
            Key::V6(key) => hash::ghost(key.client, key.service, GHOST_SETS),
        }
    }

    /// What `limpet forget` does.
    pub(crate) fn forget(&mut self, key: &ClientKey) {
        for stage in [Stage::New, Stage::Established] {
            match key.as_key() {
                Key::V4(key) => forget::<V4>(&self.memory, stage, &key),
                Key::V6(key) => forget::<V6>(&self.memory, stage, &key),
            }
        }
    }

    pub(crate) fn client(&self, stage: Stage, key: &ClientKey) -> Option<Affinity> {
        match key.as_key() {
            Key::V4(key) => self.memory.v4.affinity[stage as usize].borrow().get(&key).copied(),
            Key::V6(key) => self.memory.v6.affinity[stage as usize].borrow().get(&key).copied(),
        }
    }

    pub(crate) fn client_count(&self, stage: Stage) -> usize {
        let stage = stage as usize;
        self.memory.v4.affinity[stage].borrow().len() + self.memory.v6.affinity[stage].borrow().len()
    }

    pub(crate) fn flow(&self, stage: Stage, key: &FlowKey) -> Option<lb_common::layout::Flow> {
        match key.as_key() {
            Key::V4(key) => self.memory.v4.flows[stage as usize].borrow().get(&key).copied(),
            Key::V6(key) => self.memory.v6.flows[stage as usize].borrow().get(&key).copied(),
        }
    }

    pub(crate) fn flow_count(&self, stage: Stage) -> usize {
        let stage = stage as usize;
        self.memory.v4.flows[stage].borrow().len() + self.memory.v6.flows[stage].borrow().len()
    }
}

fn forget<F: Family>(memory: &Memory, stage: Stage, key: &F::AffinityKey)
where
    Memory: MemoryOf<F>,
{
    if let Some(affinity) = memory.of().affinity[stage as usize].borrow_mut().get_mut(key) {
        affinity.flags |= affinity_flags::FORGOTTEN;
    }
}

fn wire(protocol: model::Protocol) -> Protocol {
    match protocol {
        model::Protocol::Tcp => Protocol::TCP,
        model::Protocol::Udp => Protocol::UDP,
    }
}

/// Where a frame goes: its destination, or what the tunnel's option names.
fn destination_of(bytes: &[u8], is_v6: bool, is_tunnelled: bool) -> (IpAddr, u16) {
    // Ethernet; of the IP header what comes before the destination; or all outer headers.
    let (address, port) = match (is_v6, is_tunnelled) {
        (false, false) => (14 + 16, 14 + 20 + 2),
        (true, false) => (14 + 24, 14 + 40 + 2),
        (false, true) => (14 + 20 + 8 + 12, 14 + 20 + 8 + 16),
        (true, true) => (14 + 40 + 8 + 12, 14 + 40 + 8 + 28),
    };
    let ip = if is_v6 {
        Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[address..address + 16]).unwrap()).into()
    } else {
        Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[address..address + 4]).unwrap()).into()
    };
    (ip, u16::from_be_bytes([bytes[port], bytes[port + 1]]))
}
