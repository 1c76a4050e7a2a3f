//! A small cluster, seen by one node: Service ports, their Pods, and clients that send packets.

mod books;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use lb_common::{
    BreakReason, Family, V4, V6,
    family::{Address, Address4, Address6},
    hash,
    host::{Frame, FrameSpec, Memory},
    layout::{Backend, Frontend, SiblingKey, THIS_NODE, backend_state, frontend_flags, frontend_kind},
    wire::{Protocol, tcp_flags},
};

/// Slots of each table: divided among up to six Pods evenly.
const TABLE: u32 = 60;
/// Sets of ghosts: so many that none is pushed out.
const GHOST_SETS: u32 = 4096;
/// The timeout of Service ports that do not ask for another one, in seconds.
pub(crate) const TIMEOUT: u32 = 100;
/// A Pod listens on a port for each Service port, after this one.
const POD_PORT: u16 = 8_000;
/// The device that packets come in by.
const DEVICE: u32 = 1;

/// The two families.
pub(crate) const FAMILIES: [bool; 2] = [false, true];

/// What a Service asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) protocol: Protocol,
    pub(crate) affinity: bool,
    pub(crate) timeout: u32,
    pub(crate) prefix: Option<u8>,
    pub(crate) stable: bool,
    /// Its ports share their clients.
    pub(crate) shared: bool,
}

/// TCP, with affinity and its defaults.
pub(crate) const TCP: Settings =
    Settings { protocol: Protocol::TCP, affinity: true, timeout: TIMEOUT, prefix: None, stable: false, shared: false };
/// The same for UDP.
pub(crate) const UDP: Settings = Settings { protocol: Protocol::UDP, ..TCP };
/// TCP, sharing its clients with the Service's other ports.
pub(crate) const SHARED: Settings = Settings { shared: true, ..TCP };

/// What a client sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Syn,
    Ack,
    Fin,
    Datagram,
}

/// A break as it was told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Told {
    pub(crate) reason: &'static str,
    pub(crate) from: String,
    pub(crate) to: String,
}

/// A told break, to compare with.
pub(crate) fn told(reason: BreakReason, from: &str, to: &str) -> Told {
    Told { reason: reason.name(), from: from.to_owned(), to: to.to_owned() }
}

/// One node's view.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) memory: Memory,
    is_v6: bool,
    /// By id, from 1.
    ports: Vec<Settings>,
    /// The live ones of each Service port, by Pod.
    ids: BTreeMap<(u32, String), u32>,
    /// Whose each id is.
    pods: Vec<String>,
    next_source_port: u16,
}

impl World {
    pub(crate) fn new(is_v6: bool) -> Self {
        let mut memory = Memory::with_ghosts(GHOST_SETS);
        memory.now_seconds = 1_000;
        memory.backends.push(Backend::default());
        let pods = vec![String::new()];
        Self { memory, is_v6, ports: Vec::new(), ids: BTreeMap::new(), pods, next_source_port: 10_000 }
    }

    /// A world with one Service port and these Pods, all ready.
    pub(crate) fn with(is_v6: bool, settings: Settings, pods: &[&str]) -> (Self, u32) {
        let mut world = Self::new(is_v6);
        let port = world.add(settings, pods);
        (world, port)
    }

    /// Adds a Service port, and gives its id. Those that share their clients are ports of one Service.
    pub(crate) fn add(&mut self, settings: Settings, pods: &[&str]) -> u32 {
        self.ports.push(settings);
        let port = self.ports.len() as u32;
        self.memory.slots.resize((TABLE * (port + 1)) as usize, 0);
        self.ready(port, pods);
        port
    }

    /// Changes what a Service asks for.
    pub(crate) fn set(&mut self, port: u32, settings: Settings) {
        self.ports[port as usize - 1] = settings;
        self.write_frontends(port);
    }

    pub(crate) fn settings(&self, port: u32) -> Settings {
        self.ports[port as usize - 1]
    }

    /// These are the Pods of a Service port now, all ready.
    pub(crate) fn ready(&mut self, port: u32, pods: &[&str]) {
        let pods: Vec<_> = pods.iter().map(|pod| (*pod, backend_state::ACTIVE)).collect();
        self.pods(port, &pods);
    }

    /// These are the Pods of a Service port now, each in its state; others are gone.
    pub(crate) fn pods(&mut self, port: u32, pods: &[(&str, u8)]) {
        let gone: Vec<_> = self
            .ids
            .keys()
            .filter(|(of, pod)| *of == port && !pods.iter().any(|(known, _)| known == pod))
            .cloned()
            .collect();
        for key in gone {
            let id = self.ids.remove(&key).unwrap();
            self.memory.backends[id as usize].state = backend_state::GONE;
        }
        for (pod, state) in pods {
            let id = match self.ids.get(&(port, (*pod).to_owned())) {
                Some(id) => *id,
                None => self.new_backend(port, pod),
            };
            self.memory.backends[id as usize].state = *state;
        }
        self.write_tables();
    }

    /// The Pod was replaced under its name: another id, another address.
    pub(crate) fn replace(&mut self, port: u32, pod: &str) {
        let id = self.ids.remove(&(port, pod.to_owned())).unwrap();
        self.memory.backends[id as usize].state = backend_state::GONE;
        self.new_backend(port, pod);
        self.write_tables();
    }

    /// The id of a Pod that is gone is given to this new one.
    pub(crate) fn reuse_id(&mut self, gone: u32, port: u32, pod: &str) {
        let backend = &mut self.memory.backends[gone as usize];
        (backend.generation, backend.state, backend.service) = (backend.generation + 1, backend_state::ACTIVE, port);
        pod.clone_into(&mut self.pods[gone as usize]);
        self.ids.insert((port, pod.to_owned()), gone);
        self.write_tables();
    }

    fn new_backend(&mut self, port: u32, pod: &str) -> u32 {
        let id = self.memory.backends.len() as u32;
        // A Pod has one address at all ports; another one of its name has another.
        let there = self.ids.iter().find(|((_, name), _)| name == pod).map(|(_, id)| *id as usize);
        let address = match there {
            Some(there) => self.memory.backends[there].address,
            None if self.is_v6 => Address6::from(Ipv6Addr::new(0xfd00, 0x244, 0, 0, 0, 0, 0, id as u16)).to_words(),
            None => Address4::from(Ipv4Addr::new(10, 244, (id >> 8) as u8, id as u8)).to_words(),
        };
        self.memory.backends.push(Backend {
            address,
            port: POD_PORT + port as u16,
            protocol: self.settings(port).protocol.0 as u8,
            state: backend_state::ACTIVE,
            node: THIS_NODE,
            generation: 1,
            service: port,
        });
        self.pods.push(pod.to_owned());
        self.ids.insert((port, pod.to_owned()), id);
        id
    }

    /// Tables by the order of names, as simple as can be: nearly everybody's slot changes with the number of Pods.
    fn write_tables(&mut self) {
        for port in 1..=self.ports.len() as u32 {
            let members = self.members(port);
            for slot in 0..TABLE {
                let owner = members.get(slot as usize % members.len().max(1)).copied();
                self.memory.slots[(port * TABLE + slot) as usize] = owner.unwrap_or_default();
            }
            self.write_frontends(port);
        }
        self.write_siblings();
    }

    /// Ids of those in the table, in the order of names.
    fn members(&self, port: u32) -> Vec<u32> {
        let own = self.ids.iter().filter(|((of, _), _)| *of == port).map(|(_, id)| *id);
        own.filter(|id| self.memory.backends[*id as usize].state == backend_state::ACTIVE).collect()
    }

    fn write_siblings(&mut self) {
        self.memory.siblings.clear();
        for ((port, pod), other) in &self.ids {
            for service in (1..=self.ports.len() as u32).filter(|service| service != port) {
                let both_share = self.settings(*port).shared && self.settings(service).shared;
                let own = self.ids.get(&(service, pod.clone()));
                let own = own.filter(|id| self.memory.backends[**id as usize].state == backend_state::ACTIVE);
                if let Some(own) = own.filter(|_| both_share) {
                    self.memory.add_sibling(SiblingKey { service, backend: *other }, *own);
                }
            }
        }
    }

    fn write_frontends(&mut self, port: u32) {
        let settings = self.settings(port);
        let empty = self.members(port).is_empty();
        let flag = |on, flag| if on { flag } else { 0 };
        let frontend = Frontend {
            kind: frontend_kind::LOAD_BALANCER_IP,
            flags: flag(settings.affinity, frontend_flags::CLIENT_AFFINITY)
                | flag(settings.stable, frontend_flags::STABLE_EXPIRY)
                | flag(settings.shared, frontend_flags::SERVICE_KEY),
            client_prefix: settings.prefix.unwrap_or(if self.is_v6 { 128 } else { 32 }),
            pad: 0,
            check: 0,
            service: port,
            service_hash: if settings.shared { 0x5a5a } else { 0x5a00 + port },
            table_offset: port * TABLE,
            table_length: if empty { 0 } else { TABLE },
            affinity_timeout_seconds: if settings.affinity { settings.timeout } else { 0 },
            affinity: self.held_for(port),
        };
        for vip in 0..3 {
            match self.vip(port, vip) {
                IpAddr::V4(address) => {
                    let key = V4::frontend_key(address.into(), 80, settings.protocol);
                    self.memory.v4.add_frontend(key, frontend);
                }
                IpAddr::V6(address) => {
                    let key = V6::frontend_key(address.into(), 80, settings.protocol);
                    self.memory.v6.add_frontend(key, frontend);
                }
            }
        }
    }

    fn held_for(&self, port: u32) -> [u32; 2] {
        match self.settings(port) {
            Settings { affinity: false, .. } => [0; 2],
            Settings { shared: true, .. } => hash::affinity("default/shared"),
            _ => hash::affinity(&format!("default/web{port}:http/TCP")),
        }
    }

    /// The frontends of a Service port: three addresses.
    fn vip(&self, port: u32, vip: u8) -> IpAddr {
        let last = port as u8 * 10 + vip;
        if self.is_v6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, last.into()).into()
        } else {
            Ipv4Addr::new(203, 0, 113, last).into()
        }
    }

    /// An address of a client. Those of one group share their first 24 bits (IPv4) or 64 bits (IPv6).
    pub(crate) fn address(&self, group: u16, member: u8) -> IpAddr {
        if self.is_v6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0xc, group, 0, 0, 7, member.into()).into()
        } else {
            Ipv4Addr::new(100, (group >> 8) as u8, group as u8, member).into()
        }
    }

    /// One packet; gives the Pod that it goes to, or the reason why it goes nowhere.
    pub(crate) fn send(&mut self, kind: Kind, client: (IpAddr, u16), port: u32, vip: u8) -> String {
        let destination = (self.vip(port, vip), 80);
        let spec = match kind {
            Kind::Syn => FrameSpec::syn(client, destination),
            Kind::Ack => FrameSpec::tcp(client, destination, tcp_flags::ACK),
            Kind::Fin => FrameSpec::tcp(client, destination, tcp_flags::ACK | tcp_flags::FIN),
            Kind::Datagram => FrameSpec::udp(client, destination, &[1]),
        };
        let mut frame = Frame::new(&spec.build(), DEVICE);
        let verdict = lb_common::handle(&mut frame, &self.memory);
        let (words, port_at) = self.destination(frame.bytes());
        let reached = u16::from_be_bytes([frame.bytes()[port_at], frame.bytes()[port_at + 1]]);
        let is_it = |backend: &Backend| backend.generation != 0 && (backend.address, backend.port) == (words, reached);
        match self.memory.backends.iter().position(is_it) {
            Some(id) => self.pods[id].clone(),
            None => verdict.reason.name().to_owned(),
        }
    }

    /// The destination address of a frame, and where its destination port is.
    fn destination(&self, bytes: &[u8]) -> ([u32; 4], usize) {
        if self.is_v6 {
            let address: [u8; 16] = bytes[38..54].try_into().unwrap();
            (Address6::from(Ipv6Addr::from(address)).to_words(), 56)
        } else {
            let address: [u8; 4] = bytes[30..34].try_into().unwrap();
            (Address4::from(Ipv4Addr::from(address)).to_words(), 36)
        }
    }

    /// The first packet of a connection from a port of its own, alone.
    pub(crate) fn begin(&mut self, client: IpAddr, port: u32) -> String {
        let source = (client, self.source_port());
        let kind = if self.settings(port).protocol == Protocol::UDP { Kind::Datagram } else { Kind::Syn };
        self.send(kind, source, port, 0)
    }

    /// A connection from a port of its own, of two packets.
    pub(crate) fn connect(&mut self, client: IpAddr, port: u32) -> String {
        let source = (client, self.source_port());
        self.connect_from(source, port, 0)
    }

    /// The same, from this port and to this frontend.
    pub(crate) fn connect_from(&mut self, source: (IpAddr, u16), port: u32, vip: u8) -> String {
        let (first, second) = match self.settings(port).protocol {
            Protocol::UDP => (Kind::Datagram, Kind::Datagram),
            _ => (Kind::Syn, Kind::Ack),
        };
        let pod = self.send(first, source, port, vip);
        assert_eq!(self.send(second, source, port, vip), pod, "a connection stays where it began");
        pod
    }

    pub(crate) fn source_port(&mut self) -> u16 {
        self.next_source_port += 1;
        self.next_source_port
    }

    pub(crate) fn pass(&mut self, seconds: u32) {
        self.memory.now_seconds += seconds;
    }
}

/// Connects so many new clients, and gives each with its Pod.
pub(crate) fn clients(world: &mut World, port: u32, count: u16) -> Vec<(IpAddr, String)> {
    let mut connect = |group| {
        let client = world.address(group, 1);
        (client, world.connect(client, port))
    };
    (0..count).map(&mut connect).collect()
}

/// A client that has sent nothing yet and that the table sends to this Pod.
pub(crate) fn client_of(world: &World, port: u32, pod: &str) -> IpAddr {
    let mut clients = (1_000..2_000).map(|group| world.address(group, 1));
    clients.find(|client| world.clone().begin(*client, port) == pod).unwrap()
}
