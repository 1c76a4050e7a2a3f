//! A small world made of any bytes: Service ports of every kind, backends in every state, ways of every kind.
//!
//! It is as the agent could have left it: what a frontend, a flow or a client leads to may be gone, never another Service
//! port's.

mod frames;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::string::String;

use super::{Memory, Outcome, check::words, input::Input, run_and_check};
use crate::{
    Family, Stage, V4, V6,
    layout::{
        Affinity, Backend, Config, Flow, Frontend, INSIDE, SiblingKey, THIS_NODE, Way, affinity_flags, backend_state,
        frontend_flags, frontend_kind,
    },
    reason::Program,
    wire::Protocol,
};

/// The device that frames come in by.
pub const DEVICE: u32 = 1;
/// Service ports of each family. The last two share their clients.
const SERVICES: u32 = 6;
/// Backends of each Service port.
const BACKENDS: u32 = 4;
/// Slots of each table.
const TABLE: u32 = 7;
/// Other nodes.
const NODES: u32 = 4;
/// Clients.
const CLIENTS: u8 = 6;
/// The port of all frontends and Pods.
const PORT: u16 = 80;
const TUNNEL_PORT: u16 = 6181;
/// Frames in one run, at most: a state that takes more is not worth the time.
const MOST_FRAMES: usize = 64;

/// A small world.
#[derive(Clone, Debug)]
pub struct Scene {
    /// What is known in it.
    pub memory: Memory,
}

/// Makes a world of any bytes, sends frames through it for as long as there are bytes, and checks what became of each.
///
/// # Errors
/// What does not hold.
pub fn fuzz(bytes: &[u8]) -> Result<(), String> {
    let mut input = Input::new(bytes);
    let mut scene = Scene::new(&mut input);
    for _ in 0..MOST_FRAMES {
        if input.is_empty() {
            break;
        }
        let (program, frame) = scene.frame(&mut input);
        scene.check(program, &frame)?;
        scene.memory.now_seconds += input.pick(&[0, 0, 1, 40, 200]);
    }
    Ok(())
}

impl Scene {
    /// The world that these bytes make.
    pub fn new(input: &mut Input<'_>) -> Self {
        let mut memory = Memory {
            config: Config { mss4: 1412, mss6: 1360, tunnel_port: TUNNEL_PORT, pad: 0, ghost_sets: 4 },
            backends: std::vec![Backend::default(); (2 * SERVICES * BACKENDS + 1) as usize],
            now_seconds: 1_000,
            is_watched: true,
            is_unguarded: input.one_in(8),
            ..Memory::with_ghosts(4)
        };
        for is_v6 in [false, true] {
            for service in 1..=SERVICES {
                backends(&mut memory, input, is_v6, service);
                frontend(&mut memory, input, is_v6, service);
                siblings(&mut memory, is_v6, service);
            }
            for client in 0..CLIENTS {
                known(&mut memory, input, is_v6, client);
            }
            ways(&mut memory, input, is_v6);
            let tunnel = Frontend { kind: frontend_kind::TUNNEL, ..Frontend::default() };
            add_frontend(&mut memory, node(is_v6, THIS_NODE), TUNNEL_PORT, tunnel);
            ranges(&mut memory, input, is_v6);
        }
        Self { memory }
    }

    /// A frame that may come by in it, and the program that it meets.
    pub fn frame(&self, input: &mut Input<'_>) -> (Program, std::vec::Vec<u8>) {
        let program = if input.one_in(4) { Program::Egress } else { Program::Ingress };
        (program, frames::frame(input, program))
    }

    /// Runs a program on a frame, and checks what became of it.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self, program: Program, frame: &[u8]) -> Result<Outcome, String> {
        run_and_check(&self.memory, program, frame, DEVICE)
    }
}

fn address(is_v6: bool, group: u8, last: u32) -> IpAddr {
    if is_v6 {
        Ipv6Addr::new(0x2001, 0xdb8, group.into(), 0, 0, 0, 0, last as u16).into()
    } else {
        Ipv4Addr::new(10, group, (last >> 8) as u8, last as u8).into()
    }
}

fn vip(is_v6: bool, service: u32) -> IpAddr {
    address(is_v6, 1, service)
}

fn client(is_v6: bool, client: u8) -> IpAddr {
    address(is_v6, 2, client.into())
}

fn pod(is_v6: bool, number: u32) -> IpAddr {
    address(is_v6, 3, number)
}

fn node(is_v6: bool, node: u32) -> IpAddr {
    address(is_v6, 4, node + 1)
}

/// Ids of backends of IPv6 follow those of IPv4; 0 is none.
fn backend_id(is_v6: bool, service: u32, number: u32) -> u32 {
    1 + number + BACKENDS * (service - 1 + if is_v6 { SERVICES } else { 0 })
}

/// The last two Service ports are two ports of one Service, on the same Pods.
fn pod_number(service: u32, number: u32) -> u32 {
    (if service == SERVICES { SERVICES - 1 } else { service }) * BACKENDS + number
}

fn pod_port(service: u32) -> u16 {
    if service == SERVICES { PORT + 1 } else { PORT }
}

fn backends(memory: &mut Memory, input: &mut Input<'_>, is_v6: bool, service: u32) {
    let states = [
        backend_state::ACTIVE,
        backend_state::ACTIVE,
        backend_state::DRAINING,
        backend_state::NOT_READY,
        backend_state::EXCLUDED,
        backend_state::GONE,
    ];
    for number in 0..BACKENDS {
        let id = backend_id(is_v6, service, number);
        let backend = Backend {
            address: words(pod(is_v6, pod_number(service, number))),
            port: pod_port(service),
            protocol: 0,
            state: input.pick(&states),
            // Of a Service whose ports share their clients, a Pod is on one node.
            node: if service < SERVICES - 1 { input.below(NODES as usize + 1) as u32 } else { number },
            generation: 1 + input.below(3) as u32,
            service,
        };
        memory.backends[id as usize] = backend;
        if backend.node == THIS_NODE && backend.state != backend_state::GONE {
            for protocol in [Protocol::TCP, Protocol::UDP] {
                match pod(is_v6, pod_number(service, number)) {
                    IpAddr::V4(pod) => {
                        memory.v4.locals.insert(V4::frontend_key(pod.into(), backend.port, protocol), id);
                    }
                    IpAddr::V6(pod) => {
                        memory.v6.locals.insert(V6::frontend_key(pod.into(), backend.port, protocol), id);
                    }
                }
            }
        }
    }
}

fn frontend(memory: &mut Memory, input: &mut Input<'_>, is_v6: bool, service: u32) {
    // An empty pool is an empty table; now and then one that is wrong names backends that are not in it.
    let ids = (0..BACKENDS).map(|number| backend_id(is_v6, service, number));
    let may_be_wrong = input.one_in(16);
    let is_usable = |id: &u32| may_be_wrong || memory.backends[*id as usize].state == backend_state::ACTIVE;
    let pool: std::vec::Vec<u32> = ids.filter(is_usable).collect();
    let offset = memory.slots.len() as u32;
    memory
        .slots
        .extend((0..TABLE).map(|slot| pool.get(slot as usize % pool.len().max(1)).copied().unwrap_or_default()));
    let is_shared = service >= SERVICES - 1;
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let holds = is_shared || input.one_in(2);
    let frontend = Frontend {
        kind: frontend_kind::LOAD_BALANCER_IP,
        flags: flag(holds, frontend_flags::CLIENT_AFFINITY)
            | flag(input.one_in(2), frontend_flags::STABLE_EXPIRY)
            | flag(is_shared, frontend_flags::SERVICE_KEY)
            | flag(input.one_in(4), frontend_flags::SOURCE_RANGES)
            | flag(input.one_in(4), frontend_flags::DROP_IF_EMPTY),
        client_prefix: if is_v6 { 128 } else { 32 } - input.pick(&[0, 0, 1, 8]),
        service,
        service_hash: 77 * service,
        table_offset: offset,
        table_length: if pool.is_empty() { 0 } else { TABLE },
        affinity_timeout_seconds: 100,
        affinity: held_for(service),
        ..Frontend::default()
    };
    add_frontend(memory, vip(is_v6, service), PORT, frontend);
}

fn held_for(service: u32) -> [u32; 2] {
    [9, service.min(SERVICES - 1)]
}

fn add_frontend(memory: &mut Memory, address: IpAddr, port: u16, frontend: Frontend) {
    for protocol in [Protocol::TCP, Protocol::UDP] {
        match address {
            IpAddr::V4(address) => memory.v4.add_frontend(V4::frontend_key(address.into(), port, protocol), frontend),
            IpAddr::V6(address) => memory.v6.add_frontend(V6::frontend_key(address.into(), port, protocol), frontend),
        }
    }
}

fn siblings(memory: &mut Memory, is_v6: bool, service: u32) {
    if service < SERVICES - 1 {
        return;
    }
    let other = if service == SERVICES { SERVICES - 1 } else { SERVICES };
    for number in 0..BACKENDS {
        let backend = backend_id(is_v6, other, number);
        memory.add_sibling(SiblingKey { service, backend }, backend_id(is_v6, service, number));
    }
}

/// A flow and an affinity from before, of one client: at a backend that may be gone, or another by now.
fn known(memory: &mut Memory, input: &mut Input<'_>, is_v6: bool, number: u8) {
    let service = 1 + input.below(SERVICES as usize) as u32;
    let backend = backend_id(is_v6, service, input.below(BACKENDS as usize) as u32);
    let generation = memory.backends[backend as usize].generation + u32::from(input.one_in(4));
    let flow = Flow { backend, generation, service, ..Flow::default() };
    let affinity = Affinity {
        backend,
        generation,
        last_used_seconds: memory.now_seconds - input.pick(&[0, 50, 150]),
        expiries: input.below(2) as u32,
        flags: if input.one_in(8) { affinity_flags::FORGOTTEN } else { 0 },
        ..Affinity::default()
    };
    let stage = input.pick(&[Stage::Established, Stage::New]);
    match (client(is_v6, number), vip(is_v6, service)) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => {
            let key = V4::flow_key(client.into(), vip.into(), frames::FIRST_PORT, PORT, Protocol::TCP);
            memory.v4.add_flow(stage, key, flow);
            memory.v4.add_affinity(stage, V4::affinity_key(client.into(), held_for(service)), affinity);
        }
        (IpAddr::V6(client), IpAddr::V6(vip)) => {
            let key = V6::flow_key(client.into(), vip.into(), frames::FIRST_PORT, PORT, Protocol::TCP);
            memory.v6.add_flow(stage, key, flow);
            memory.v6.add_affinity(stage, V6::affinity_key(client.into(), held_for(service)), affinity);
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
    }
}

fn ways(memory: &mut Memory, input: &mut Input<'_>, is_v6: bool) {
    for number in 1..=NODES {
        let way = Way {
            device: input.pick(&[DEVICE, DEVICE + 1]),
            mtu: input.pick(&[1500, 1500, 9000, 140]),
            tunnel_port: if input.one_in(8) { 0 } else { TUNNEL_PORT },
            ethernet: [number, 2, 3],
            tags: [0x0100_0081_u32, 0x0200_0081],
            tag_count: input.pick(&[0, 0, 1, 2]),
        };
        memory.add_way(number, node(is_v6, THIS_NODE), node(is_v6, number), way);
    }
}

/// Who may come in where that is asked, and who is inside.
fn ranges(memory: &mut Memory, input: &mut Input<'_>, is_v6: bool) {
    let bits = if is_v6 { 128 } else { 32 };
    for service in 1..=SERVICES {
        let range = (service, client(is_v6, input.below(CLIENTS.into()) as u8), bits - 1);
        add_range(memory, range);
    }
    if input.one_in(4) {
        add_range(memory, (INSIDE, client(is_v6, CLIENTS - 1), bits));
    }
}

fn add_range(memory: &mut Memory, (service, first, bits): (u32, IpAddr, u32)) {
    match first {
        IpAddr::V4(first) => memory.v4.source_ranges.push((service, first.into(), bits)),
        IpAddr::V6(first) => memory.v6.source_ranges.push((service, first.into(), bits)),
    }
}
