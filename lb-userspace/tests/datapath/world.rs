//! A small world in which every reason can be reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::{
    Family, Stage, V4, V6,
    host::Memory,
    layout::{
        Backend, Config, Flow, Frontend, INSIDE, SLOTS_PER_CHUNK, SiblingKey, THIS_NODE, Way, backend_state,
        frontend_flags, frontend_kind,
    },
    wire::Protocol,
};
use lb_userspace::clock;

use crate::known_clients;

/// The device that test frames come in by: the loopback device, as in `BPF_PROG_TEST_RUN`.
pub(crate) const DEVICE: u32 = 1;
/// Another device, for packets that leave by it.
const OTHER_DEVICE: u32 = 7;
/// The tunnel's UDP port.
pub(crate) const TUNNEL_PORT: u16 = 6181;
/// Port of all frontends and Pods.
pub(crate) const PORT: u16 = 80;
/// Source port whose flows are bound to a backend that is gone.
pub(crate) const ORPHANED_PORT: u16 = 4_000;
/// Source port whose flows are bound to an id that has been given away again.
pub(crate) const REASSIGNED_PORT: u16 = 4_001;

/// Nodes by what they are for.
pub(crate) mod node {
    pub(crate) const PLAIN: u32 = 1;
    pub(crate) const OTHER_DEVICE: u32 = 2;
    pub(crate) const UNRESOLVED: u32 = 3;
    pub(crate) const NARROW: u32 = 4;
}

/// Backends by what they are for.
pub(crate) mod backend {
    pub(crate) const LOCAL: u32 = 1;
    pub(crate) const REMOTE: u32 = 2;
    pub(crate) const REDIRECTED: u32 = 3;
    pub(crate) const UNREACHABLE: u32 = 4;
    pub(crate) const NARROW: u32 = 5;
    pub(crate) const DRAINING: u32 = 6;
    pub(crate) const GONE: u32 = 7;
    pub(crate) const COUNT: u32 = 8;
    /// Of Service ports with affinity alone.
    pub(crate) const NOT_READY: u32 = 4;
    /// Likewise.
    pub(crate) const EXCLUDED: u32 = 5;
}

/// The last octet of frontends' addresses, by what they are for.
pub(crate) mod vip {
    pub(crate) const MIXED: u8 = 1;
    pub(crate) const AFFINE: u8 = 2;
    pub(crate) const PREFIXED: u8 = 7;
    pub(crate) const STABLE: u8 = 8;
    /// Two ports of one Service that share their clients.
    pub(crate) const SHARED: [u8; 2] = [9, 10];
    pub(crate) const EMPTY: u8 = 3;
    pub(crate) const BROKEN: u8 = 4;
    pub(crate) const UNREACHABLE: u8 = 5;
    pub(crate) const NARROW: u8 = 6;
    /// Without a Pod here, where one is asked for.
    pub(crate) const SILENT: u8 = 11;
    /// For some sources alone.
    pub(crate) const RANGED: u8 = 12;
    pub(crate) const ALL: [u8; 12] =
        [MIXED, AFFINE, EMPTY, BROKEN, UNREACHABLE, NARROW, PREFIXED, STABLE, SHARED[0], SHARED[1], SILENT, RANGED];
    /// Those that hold their clients.
    pub(crate) const AFFINES: [u8; 5] = [AFFINE, PREFIXED, STABLE, SHARED[0], SHARED[1]];
}

/// Addresses of one family.
#[derive(Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) vip: fn(u8) -> IpAddr,
    pub(crate) client: fn(u8) -> IpAddr,
    /// Addresses that are not one host's.
    pub(crate) nobody: fn(usize) -> IpAddr,
    pub(crate) pod: fn(u32) -> IpAddr,
    pub(crate) node: fn(u32) -> IpAddr,
}

pub(crate) const V4_ADDRESSES: Addresses = Addresses {
    vip: |n| IpAddr::V4(Ipv4Addr::new(203, 0, 113, n)),
    client: |n| IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)),
    nobody: |n| {
        IpAddr::V4([Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)][n])
    },
    pod: |n| IpAddr::V4(Ipv4Addr::new(10, 244, 1, n as u8)),
    node: |n| IpAddr::V4(Ipv4Addr::new(172, 18, 0, 10 + n as u8)),
};

pub(crate) const V6_ADDRESSES: Addresses = Addresses {
    vip: |n| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, n.into())),
    client: |n| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 1, 2, 3, n.into())),
    nobody: |n| {
        let multicast = [0xff02, 0xff05].map(|first| Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 1));
        IpAddr::V6([Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, multicast[0], multicast[1]][n])
    },
    pod: |n| IpAddr::V6(Ipv6Addr::new(0xfd00, 0x244, 1, 0, 0, 0, 0, n as u16)),
    node: |n| IpAddr::V6(Ipv6Addr::new(0xfd00, 0x18, 0, 0, 0, 0, 0, 10 + n as u16)),
};

/// Slots of each table.
const TABLE: u32 = 61;
/// Tables of each family that are not of Service ports with affinity.
const TABLES: u32 = 7;
/// Id of the Service port that is for some sources alone.
const RANGED: u32 = 7;
/// Sets of ghosts: so many that nobody's is pushed out.
const GHOST_SETS: u32 = 16_384;
/// The timeout of clients, in seconds: longer than the test takes.
pub(crate) const TIMEOUT: u32 = 120;

/// A Service port that holds its clients.
pub(crate) struct Affine {
    vip: u8,
    /// Whose Pods it has: those of one Service are the same.
    pods: u32,
    /// Bits of a client's address, of IPv4 and IPv6.
    prefixes: [u8; 2],
    flags: u8,
}

/// All of them. Their ids follow those of the other Service ports.
pub(crate) const AFFINE: [Affine; 5] = [
    Affine { vip: vip::AFFINE, pods: 1, prefixes: [32, 128], flags: 0 },
    Affine { vip: vip::PREFIXED, pods: 2, prefixes: [30, 126], flags: 0 },
    Affine { vip: vip::STABLE, pods: 3, prefixes: [32, 128], flags: frontend_flags::STABLE_EXPIRY },
    Affine { vip: vip::SHARED[0], pods: 4, prefixes: [32, 128], flags: frontend_flags::SERVICE_KEY },
    Affine { vip: vip::SHARED[1], pods: 4, prefixes: [32, 128], flags: frontend_flags::SERVICE_KEY },
];

impl Affine {
    /// The Service port's id.
    fn service(&self) -> u32 {
        u32::from(self.vip) + 20
    }

    /// What its clients are held for.
    pub(crate) fn held_for(&self) -> [u32; 2] {
        [0xaff1_0000, self.pods]
    }
}

/// Bits of an address that make a client of a Service port.
pub(crate) fn clients_of(affine: &Affine, is_v6: bool) -> u8 {
    affine.prefixes[usize::from(is_v6)]
}

/// Ids of the backends of Service ports with affinity follow all others.
pub(crate) fn affine_id(is_v6: bool, affine: &Affine, role: u32) -> u32 {
    let number = u32::from(affine.vip) + if is_v6 { u32::from(vip::SHARED[1]) } else { 0 };
    (number + 1) * backend::COUNT + role
}

/// Ids of IPv6 backends follow those of the IPv4 ones.
fn id(is_v6: bool, backend: u32) -> u32 {
    backend + if is_v6 { backend::COUNT } else { 0 }
}

/// The tables of this world, at the second before now.
pub(crate) fn world() -> Memory {
    let mut memory = Memory {
        config: Config { mss4: 1412, mss6: 1360, tunnel_port: TUNNEL_PORT, pad: 0, ghost_sets: GHOST_SETS },
        slots: vec![0; 2 * SLOTS_PER_CHUNK as usize],
        backends: vec![Backend::default(); 256],
        is_watched: true,
        now_seconds: (clock::monotonic().unwrap().as_secs() as u32).saturating_sub(1),
        ..Memory::with_ghosts(GHOST_SETS)
    };
    for is_v6 in [false, true] {
        backends(&mut memory, is_v6);
        frontends(&mut memory, is_v6);
        affine_ports(&mut memory, is_v6);
        known_clients::add(&mut memory, is_v6);
        ways(&mut memory, is_v6);
        old_flows(&mut memory, is_v6);
    }
    memory
}

pub(crate) fn addresses(is_v6: bool) -> Addresses {
    if is_v6 { V6_ADDRESSES } else { V4_ADDRESSES }
}

fn backends(memory: &mut Memory, is_v6: bool) {
    let nodes = [
        (backend::LOCAL, THIS_NODE),
        (backend::REMOTE, node::PLAIN),
        (backend::REDIRECTED, node::OTHER_DEVICE),
        (backend::UNREACHABLE, node::UNRESOLVED),
        (backend::NARROW, node::NARROW),
        (backend::DRAINING, THIS_NODE),
        (backend::GONE, THIS_NODE),
    ];
    for (backend, node) in nodes {
        let address = (addresses(is_v6).pod)(backend);
        memory.backends[id(is_v6, backend) as usize] = Backend {
            address: words(address),
            port: PORT,
            protocol: 0,
            state: match backend {
                backend::GONE => backend_state::GONE,
                backend::DRAINING => backend_state::DRAINING,
                _ => backend_state::ACTIVE,
            },
            node,
            generation: 3,
            service: 1,
        };
        if node == THIS_NODE && backend != backend::GONE {
            for protocol in [Protocol::TCP, Protocol::UDP] {
                match address {
                    IpAddr::V4(address) => {
                        let key = V4::frontend_key(address.into(), PORT, protocol);
                        memory.v4.locals.insert(key, id(is_v6, backend));
                    }
                    IpAddr::V6(address) => {
                        let key = V6::frontend_key(address.into(), PORT, protocol);
                        memory.v6.locals.insert(key, id(is_v6, backend));
                    }
                }
            }
        }
    }
}

fn frontends(memory: &mut Memory, is_v6: bool) {
    let mixed: &[u32] = &[backend::LOCAL, backend::REMOTE, backend::REDIRECTED];
    let tables: [(u8, &[u32], u8); 7] = [
        (vip::MIXED, mixed, 0),
        (vip::EMPTY, &[], 0),
        (vip::BROKEN, &[backend::GONE], 0),
        (vip::UNREACHABLE, &[backend::UNREACHABLE], 0),
        (vip::NARROW, &[backend::NARROW], 0),
        (vip::SILENT, &[], frontend_flags::DROP_IF_EMPTY),
        (vip::RANGED, mixed, frontend_flags::SOURCE_RANGES),
    ];
    for (index, (vip, pool, flags)) in tables.into_iter().enumerate() {
        let offset = TABLE * (index as u32 + if is_v6 { TABLES } else { 0 });
        for slot in 0..if pool.is_empty() { 0 } else { TABLE } {
            memory.slots[(offset + slot) as usize] = id(is_v6, pool[slot as usize % pool.len()]);
        }
        let frontend = Frontend {
            kind: frontend_kind::LOAD_BALANCER_IP,
            flags,
            service: index as u32 + 1,
            service_hash: 0x5eed_0000 + index as u32,
            table_offset: offset,
            table_length: if pool.is_empty() { 0 } else { TABLE },
            ..Frontend::default()
        };
        for protocol in [Protocol::TCP, Protocol::UDP] {
            insert_frontend(memory, (addresses(is_v6).vip)(vip), PORT, protocol, frontend);
        }
    }
    ranges(memory, is_v6);
    let tunnel = Frontend { kind: frontend_kind::TUNNEL, ..Frontend::default() };
    insert_frontend(memory, (addresses(is_v6).node)(THIS_NODE), TUNNEL_PORT, Protocol::UDP, tunnel);
}

/// Half of the clients, one more, and of another Service port all of them; and one that is inside the cluster.
fn ranges(memory: &mut Memory, is_v6: bool) {
    let bits = if is_v6 { 128 } else { 32 };
    for (service, of, bits) in [(RANGED, 0, bits - 2), (RANGED, 6, bits), (RANGED + 1, 0, 0), (INSIDE, 7, bits)] {
        match (addresses(is_v6).client)(of) {
            IpAddr::V4(first) => memory.v4.source_ranges.push((service, first.into(), bits)),
            IpAddr::V6(first) => memory.v6.source_ranges.push((service, first.into(), bits)),
        }
    }
}

/// Service ports that hold their clients, each with backends of its own in every state.
fn affine_ports(memory: &mut Memory, is_v6: bool) {
    let roles = [
        (backend::LOCAL, backend_state::ACTIVE, THIS_NODE),
        (backend::REMOTE, backend_state::ACTIVE, node::PLAIN),
        (backend::REDIRECTED, backend_state::ACTIVE, node::OTHER_DEVICE),
        (backend::NOT_READY, backend_state::NOT_READY, node::PLAIN),
        (backend::EXCLUDED, backend_state::EXCLUDED, THIS_NODE),
        (backend::DRAINING, backend_state::DRAINING, THIS_NODE),
        (backend::GONE, backend_state::GONE, node::PLAIN),
    ];
    for (index, affine) in AFFINE.iter().enumerate() {
        // A Pod that lacks the second of the ports that share their clients.
        let lacks = |role| affine.vip == vip::SHARED[1] && role == backend::LOCAL;
        let mut pool = Vec::new();
        for (role, state, node) in roles.into_iter().filter(|(role, ..)| !lacks(*role)) {
            let id = affine_id(is_v6, affine, role);
            memory.backends[id as usize] = Backend {
                address: words((addresses(is_v6).pod)(100 + affine.pods * backend::COUNT + role)),
                port: PORT + u16::from(affine.vip),
                protocol: 0,
                state,
                node,
                generation: 3,
                service: affine.service(),
            };
            if state == backend_state::ACTIVE {
                pool.push(id);
            }
            let others = AFFINE.iter().filter(|other| other.pods == affine.pods && other.vip != affine.vip);
            for other in others.filter(|_| state == backend_state::ACTIVE) {
                let key = SiblingKey { service: affine.service(), backend: affine_id(is_v6, other, role) };
                memory.add_sibling(key, id);
            }
        }
        let offset = TABLE * (2 * TABLES + index as u32 + if is_v6 { 5 } else { 0 });
        for slot in 0..TABLE {
            memory.slots[(offset + slot) as usize] = pool[slot as usize % pool.len()];
        }
        let frontend = Frontend {
            kind: frontend_kind::LOAD_BALANCER_IP,
            flags: frontend_flags::CLIENT_AFFINITY | affine.flags,
            client_prefix: clients_of(affine, is_v6),
            pad: 0,
            check: 0,
            service: affine.service(),
            service_hash: 0x5eed_1000 + affine.pods,
            table_offset: offset,
            table_length: TABLE,
            affinity_timeout_seconds: TIMEOUT,
            affinity: affine.held_for(),
        };
        for protocol in [Protocol::TCP, Protocol::UDP] {
            insert_frontend(memory, (addresses(is_v6).vip)(affine.vip), PORT, protocol, frontend);
        }
    }
}

fn insert_frontend(memory: &mut Memory, address: IpAddr, port: u16, protocol: Protocol, frontend: Frontend) {
    match address {
        IpAddr::V4(address) => {
            memory.v4.add_frontend(V4::frontend_key(address.into(), port, protocol), frontend);
        }
        IpAddr::V6(address) => {
            memory.v6.add_frontend(V6::frontend_key(address.into(), port, protocol), frontend);
        }
    }
}

fn ways(memory: &mut Memory, is_v6: bool) {
    let ways = [
        (node::PLAIN, DEVICE, 1500, TUNNEL_PORT, 0),
        (node::OTHER_DEVICE, OTHER_DEVICE, 1500, TUNNEL_PORT, 1),
        (node::UNRESOLVED, 0, 0, 0, 0),
        (node::NARROW, DEVICE, 140, TUNNEL_PORT, 2),
    ];
    let tags = [u32::from_ne_bytes([0x88, 0xa8, 0, 100]), u32::from_ne_bytes([0x81, 0, 0, 101])];
    for (node, device, mtu, tunnel_port, tag_count) in ways {
        let ethernet = [0x0000_0002, 0x0002_0001 + (node << 8), 0x0001_0000];
        let way = Way { device, mtu, tunnel_port, ethernet, tags, tag_count };
        memory.add_way(node, (addresses(is_v6).node)(THIS_NODE), (addresses(is_v6).node)(node), way);
    }
}

/// Flows from before: bound to a backend that is gone, or to an id that has another generation by now.
fn old_flows(memory: &mut Memory, is_v6: bool) {
    let orphaned = Flow { backend: id(is_v6, backend::GONE), generation: 3, service: 1, ..Flow::default() };
    let reassigned = Flow { backend: id(is_v6, backend::LOCAL), generation: 2, service: 1, ..Flow::default() };
    for client in 0..8 {
        for (port, flow) in [(ORPHANED_PORT, orphaned), (REASSIGNED_PORT, reassigned)] {
            for (number, stage) in [Stage::New, Stage::Established].into_iter().enumerate() {
                let source = (addresses(is_v6).client)(client);
                let port = port + 2 * number as u16;
                match (source, (addresses(is_v6).vip)(vip::MIXED)) {
                    (IpAddr::V4(source), IpAddr::V4(vip)) => {
                        let key = V4::flow_key(source.into(), vip.into(), port, PORT, Protocol::TCP);
                        memory.v4.add_flow(stage, key, flow);
                    }
                    (IpAddr::V6(source), IpAddr::V6(vip)) => {
                        let key = V6::flow_key(source.into(), vip.into(), port, PORT, Protocol::TCP);
                        memory.v6.add_flow(stage, key, flow);
                    }
                    (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                        unreachable!("one family at a time")
                    }
                }
            }
        }
    }
}

fn words(address: IpAddr) -> [u32; 4] {
    use lb_common::family::{Address, Address4, Address6};
    match address {
        IpAddr::V4(address) => Address4::from(address).to_words(),
        IpAddr::V6(address) => Address6::from(address).to_words(),
    }
}
