//! The tables and the frames that are measured with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::{
    Family, V4, V6,
    family::{Address, Address4, Address6},
    host::{FrameSpec, Memory},
    layout::{
        Backend, Config, Frontend, SLOTS_PER_CHUNK, THIS_NODE, Way, backend_state, frontend_flags, frontend_kind,
    },
    wire::{Protocol, tcp_flags},
};

use crate::rows::{CLIENTS, Path, Row};

/// The loopback device, which test runs come in by.
pub(crate) const DEVICE: u32 = 1;
const TUNNEL_PORT: u16 = 6181;
const PORT: u16 = 80;
/// Other nodes, over which remote backends are spread.
const NODES: u32 = 3;
/// Source ranges of all Service ports together.
const RANGES: u32 = 512;
/// Slots of a table.
const TABLE: u32 = 1021;
/// So that no frame is shorter than what is put back.
const PAYLOAD: [u8; 100] = [0x5a; 100];
/// Services: one with backends here, one with backends elsewhere.
const LOCAL: u32 = 1;
const REMOTE: u32 = 2;

/// A frame, and where in it the client's address is varied.
pub(crate) struct Shot {
    pub(crate) frame: Vec<u8>,
    /// Offset of the last word of the client's address, in bytes.
    pub(crate) client_offset: u32,
}

/// The tables for a row.
pub(crate) fn memory(row: &Row) -> Memory {
    let mut memory = Memory {
        config: Config { mss4: 1412, mss6: 1360, tunnel_port: TUNNEL_PORT, pad: 0, ghost_sets: CLIENTS },
        slots: vec![0; (2 * TABLE).next_multiple_of(SLOTS_PER_CHUNK) as usize],
        backends: vec![Backend::default(); 2 * row.backends as usize + 1],
        ..Memory::default()
    };
    for index in 0..row.backends {
        backend(&mut memory, row.is_v6, 1 + index, THIS_NODE);
        backend(&mut memory, row.is_v6, 1 + row.backends + index, 1 + index % NODES);
    }
    for slot in 0..TABLE {
        memory.slots[slot as usize] = 1 + slot % row.backends;
        memory.slots[(TABLE + slot) as usize] = 1 + row.backends + slot % row.backends;
    }
    for number in 1..=row.frontends {
        frontend(&mut memory, vip(row.is_v6, number), PORT, Protocol::TCP, &service(number, row));
    }
    // Two datagrams make a client one that is held.
    frontend(&mut memory, vip(row.is_v6, REMOTE), PORT, Protocol::UDP, &service(REMOTE, row));
    let tunnel = Frontend { kind: frontend_kind::TUNNEL, ..Frontend::default() };
    frontend(&mut memory, node(row.is_v6, THIS_NODE), TUNNEL_PORT, Protocol::UDP, &tunnel);
    (1..=NODES).for_each(|number| way(&mut memory, row.is_v6, number));
    // Beside the one that is asked for, which has none that fits: as many as a few Services have.
    memory.v4.source_ranges =
        (0..RANGES).map(|number| (number % 8, Address4((0xac10_0000 + number).to_be()), 32)).collect();
    memory.v6.source_ranges =
        (0..RANGES).map(|number| (number % 8, Address6([0xfd_u32, 0, 0, number.to_be()]), 128)).collect();
    memory
}

/// The frame that a row is about.
pub(crate) fn shot(row: &Row) -> Shot {
    let client = (client(row.is_v6), 40_000);
    let (segment, offset) = match row.path {
        Path::NotOurs => (tcp(client, (vip(row.is_v6, row.frontends + 1), PORT), tcp_flags::ACK), false),
        Path::FlowLocal => (tcp(client, (vip(row.is_v6, LOCAL), PORT), tcp_flags::ACK), false),
        Path::FlowRemote => (tcp(client, (vip(row.is_v6, REMOTE), PORT), tcp_flags::ACK), false),
        Path::NewFlow | Path::SynFlood | Path::SourceRange => {
            (tcp((newcomer(row.is_v6), 40_000), (vip(row.is_v6, REMOTE), PORT), tcp_flags::SYN), false)
        }
        Path::HeldClient => (tcp(client, (vip(row.is_v6, REMOTE), PORT), tcp_flags::SYN), false),
        Path::Decapsulate => return tunnelled(row, &tcp(client, (vip(row.is_v6, LOCAL), PORT), tcp_flags::ACK)),
        Path::Reply => (tcp((pod(row.is_v6, 1), PORT), client, tcp_flags::ACK), true),
    };
    Shot { frame: segment.build(), client_offset: ethernet_and(address_offset(row.is_v6, offset)) }
}

/// The frame that makes a row's flows known, for rows that are about known flows.
pub(crate) fn introduction(row: &Row) -> Option<Shot> {
    let known_by = match row.path {
        Path::NotOurs | Path::SynFlood | Path::SourceRange => return None,
        Path::FlowLocal | Path::FlowRemote | Path::Decapsulate => row.path,
        Path::NewFlow => Path::FlowRemote,
        Path::HeldClient => return Some(datagram(row)),
        Path::Reply => Path::Decapsulate,
    };
    Some(shot(&Row { path: known_by, ..*row }))
}

fn datagram(row: &Row) -> Shot {
    let segment = FrameSpec::udp((client(row.is_v6), 40_000), (vip(row.is_v6, REMOTE), PORT), &PAYLOAD);
    Shot { frame: segment.build(), client_offset: ethernet_and(address_offset(row.is_v6, false)) }
}

fn tcp(source: (IpAddr, u16), destination: (IpAddr, u16), flags: u8) -> FrameSpec {
    FrameSpec { payload: PAYLOAD.to_vec(), ..FrameSpec::tcp(source, destination, flags) }
}

fn tunnelled(row: &Row, inner: &FrameSpec) -> Shot {
    let mut payload = match pod(row.is_v6, 1) {
        IpAddr::V4(pod) => [&[3, 0x40, 0x08, 0x00, 0, 0, 0, 0, 0xff, 0x4c, 0x81, 2][..], &pod.octets()].concat(),
        IpAddr::V6(pod) => [&[6, 0x40, 0x86, 0xdd, 0, 0, 0, 0, 0xff, 0x4c, 0x81, 5][..], &pod.octets()].concat(),
    };
    payload.extend(PORT.to_be_bytes());
    payload.extend([0, 0]);
    payload.extend(&inner.build()[14..]);
    let source = (node(row.is_v6, 1), 50_000);
    let frame = FrameSpec::udp(source, (node(row.is_v6, THIS_NODE), TUNNEL_PORT), &payload).build();
    let overhead = if row.is_v6 { V6::TUNNEL_OVERHEAD } else { V4::TUNNEL_OVERHEAD };
    Shot { frame, client_offset: ethernet_and(overhead + address_offset(row.is_v6, false)) }
}

fn ethernet_and(offset: usize) -> u32 {
    (14 + offset) as u32
}

/// Offset of the last word of an address in an IP header, in bytes.
fn address_offset(is_v6: bool, is_destination: bool) -> usize {
    match (is_v6, is_destination) {
        (false, false) => V4::SOURCE_OFFSET,
        (false, true) => V4::DESTINATION_OFFSET,
        (true, false) => V6::SOURCE_OFFSET + 12,
        (true, true) => V6::DESTINATION_OFFSET + 12,
    }
}

fn service(number: u32, row: &Row) -> Frontend {
    Frontend {
        kind: frontend_kind::LOAD_BALANCER_IP,
        flags: match (row.path, row.has_affinity) {
            (Path::SourceRange, _) => frontend_flags::SOURCE_RANGES,
            (_, true) => frontend_flags::CLIENT_AFFINITY,
            (_, false) => 0,
        },
        client_prefix: if row.is_v6 { 128 } else { 32 },
        affinity_timeout_seconds: 10_800,
        affinity: [0, number],
        service: number,
        table_offset: if number == REMOTE { TABLE } else { 0 },
        table_length: TABLE,
        ..Frontend::default()
    }
}

fn backend(memory: &mut Memory, is_v6: bool, id: u32, node: u32) {
    let address = pod(is_v6, id);
    let words = match address {
        IpAddr::V4(address) => Address4::from(address).to_words(),
        IpAddr::V6(address) => Address6::from(address).to_words(),
    };
    memory.backends[id as usize] = Backend {
        address: words,
        port: PORT,
        protocol: Protocol::TCP.0 as u8,
        state: backend_state::ACTIVE,
        node,
        generation: 1,
        service: if node == THIS_NODE { LOCAL } else { REMOTE },
    };
    if node == THIS_NODE {
        match SocketAddr::new(address, PORT) {
            SocketAddr::V4(pod) => {
                memory.v4.locals.insert(V4::frontend_key((*pod.ip()).into(), PORT, Protocol::TCP), id);
            }
            SocketAddr::V6(pod) => {
                memory.v6.locals.insert(V6::frontend_key((*pod.ip()).into(), PORT, Protocol::TCP), id);
            }
        }
    }
}

fn frontend(memory: &mut Memory, address: IpAddr, port: u16, protocol: Protocol, value: &Frontend) {
    match address {
        IpAddr::V4(address) => {
            memory.v4.add_frontend(V4::frontend_key(address.into(), port, protocol), *value);
        }
        IpAddr::V6(address) => {
            memory.v6.add_frontend(V6::frontend_key(address.into(), port, protocol), *value);
        }
    }
}

fn way(memory: &mut Memory, is_v6: bool, number: u32) {
    let ethernet = [0x0000_0002, 0x0002_0001 + (number << 8), 0x0001_0000];
    let way = Way { device: DEVICE, mtu: 1500, tunnel_port: TUNNEL_PORT, ethernet, tags: [0; 2], tag_count: 0 };
    memory.add_way(number, node(is_v6, THIS_NODE), node(is_v6, number), way);
}

fn vip(is_v6: bool, number: u32) -> IpAddr {
    if is_v6 {
        Ipv6Addr::from(0x2001_0db8_0113_0000_0000_0000_0000_0000 | u128::from(number)).into()
    } else {
        Ipv4Addr::from(0xc612_0000 + number).into()
    }
}

fn pod(is_v6: bool, id: u32) -> IpAddr {
    if is_v6 {
        Ipv6Addr::from(0xfd00_0244_0000_0000_0000_0000_0000_0000 | u128::from(id)).into()
    } else {
        Ipv4Addr::from(0x0af4_0000 + id).into()
    }
}

fn node(is_v6: bool, number: u32) -> IpAddr {
    if is_v6 {
        Ipv6Addr::from(0xfd00_0018_0000_0000_0000_0000_0000_000a + u128::from(number)).into()
    } else {
        Ipv4Addr::from(0xac12_000a + number).into()
    }
}

/// A client that is not among the known ones: the highest bit of the last word is the other one.
fn newcomer(is_v6: bool) -> IpAddr {
    if is_v6 {
        Ipv6Addr::from(0x2001_0db8_000c_0000_0000_0000_8000_0000).into()
    } else {
        Ipv4Addr::from(0x4000_0200).into()
    }
}

fn client(is_v6: bool) -> IpAddr {
    if is_v6 {
        Ipv6Addr::from(0x2001_0db8_000c_0000_0000_0000_0000_0000).into()
    } else {
        Ipv4Addr::from(0xc000_0200).into()
    }
}
