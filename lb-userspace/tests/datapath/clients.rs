//! Many clients through the kernel's program: all are held, and where a map is too small, nobody goes without an answer.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::{
    BreakReason, Family, V4,
    family::{Address, Address4},
    host::{FrameSpec, Memory},
    layout::{Backend, Config, Frontend, SLOTS_PER_CHUNK, THIS_NODE, backend_state, frontend_flags, frontend_kind},
    wire::{Protocol, tcp_flags},
};
use lb_userspace::dataplane::Sizes;

use crate::kernel::{Kernel, SIZES, xdp_action};

const VIP: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), 80);
const SERVICE: u32 = 5;
/// Slots of the table: divided among 2 and among 7 Pods evenly.
const TABLE: u32 = 994;

/// One Service port with so many Pods on this node; with another number, nearly every slot is another's.
fn world(pods: u32, ghost_sets: u32) -> Memory {
    let mut memory = Memory {
        config: Config { ghost_sets, ..Config::default() },
        slots: (0..SLOTS_PER_CHUNK).map(|slot| 1 + slot % pods).collect(),
        backends: vec![Backend::default()],
        ..Memory::default()
    };
    memory.backends.extend((1..=pods).map(|pod| Backend {
        address: Address4::from(pod_address(pod)).to_words(),
        port: 8080,
        protocol: 0,
        state: backend_state::ACTIVE,
        node: THIS_NODE,
        generation: 1,
        service: SERVICE,
    }));
    let frontend = Frontend {
        kind: frontend_kind::LOAD_BALANCER_IP,
        flags: frontend_flags::CLIENT_AFFINITY,
        client_prefix: 32,
        pad: 0,
        check: 0,
        service: SERVICE,
        service_hash: 7,
        table_offset: 0,
        table_length: TABLE,
        affinity_timeout_seconds: 10_800,
        affinity: [1, 2],
    };
    let IpAddr::V4(vip) = VIP.0 else { panic!("IPv4") };
    memory.v4.add_frontend(V4::frontend_key(vip.into(), VIP.1, Protocol::TCP), frontend);
    memory
}

fn pod_address(pod: u32) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, 1, pod as u8)
}

fn client(number: u32) -> IpAddr {
    Ipv4Addr::from(0x6440_0000 + number).into()
}

/// A connection of two packets of each client: where it goes.
fn connect_all(kernel: &mut Kernel, clients: u32, source_port: u16) -> Vec<Ipv4Addr> {
    (0..clients)
        .map(|number| {
            let [first, second] = [tcp_flags::SYN, tcp_flags::ACK].map(|flags| {
                let outcome = kernel.ingress(&FrameSpec::tcp((client(number), source_port), VIP, flags).build());
                assert_eq!(outcome.action, xdp_action(lb_common::Action::Pass), "client {number} is served");
                let pod: [u8; 4] = outcome.bytes[30..34].try_into().unwrap();
                Ipv4Addr::from(pod)
            });
            assert_eq!(first, second, "client {number}: one connection, one Pod");
            first
        })
        .collect()
}

#[test]
fn ten_thousand_clients_on_two_pods_are_all_held() {
    const CLIENTS: u32 = 10_000;
    let mut kernel = Kernel::with(&world(2, SIZES.clients));
    let before = connect_all(&mut kernel, CLIENTS, 1_000);
    assert!((1..=2).all(|pod| before.iter().filter(|at| **at == pod_address(pod)).count() > 4_000));
    kernel.update(&world(7, SIZES.clients));
    assert!(connect_all(&mut kernel, CLIENTS, 1_001) == before, "more Pods move nobody");
    assert_eq!(kernel.breaks(SERVICE), [0; BreakReason::COUNT]);

    let new = kernel.ingress(&FrameSpec::syn((client(CLIENTS), 1), VIP).build());
    assert_eq!(new.action, xdp_action(lb_common::Action::Pass));
}

#[test]
fn when_the_map_is_full_all_are_served_and_who_loses_its_pod_is_told() {
    const CLIENTS: u32 = 3_000;
    let sizes = Sizes { clients: 1_500, ..SIZES };
    let mut kernel = Kernel::sized(&world(2, sizes.clients), &sizes);
    let before = connect_all(&mut kernel, CLIENTS, 1_000);
    assert!(connect_all(&mut kernel, CLIENTS, 1_001) == before, "the table names the same Pods");
    assert_eq!(kernel.breaks(SERVICE), [0; BreakReason::COUNT]);

    kernel.update(&world(7, sizes.clients));
    let after = connect_all(&mut kernel, CLIENTS, 1_002);
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count() as u64;
    assert!(moved > 500, "{moved} clients moved: the map was too small");
    let breaks = kernel.breaks(SERVICE);
    let evicted = breaks[BreakReason::Evicted.index() as usize];
    assert_eq!(breaks.iter().sum::<u64>(), evicted, "{breaks:?}");
    // With twice as many clients as the map holds, one ghost in fourteen or so is pushed out itself. Nobody is told who was
    // not moved.
    assert!(evicted <= moved && evicted * 10 >= moved * 9, "{moved} clients moved, {evicted} were told");
}
