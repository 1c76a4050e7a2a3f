//! What an agent that starts finds in the maps is what the one before it had programmed. Needs root; one test needs a
//! BPF file system.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod take_over;
mod world;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use aya::maps::PerCpuValues;
use lb_common::layout::{ServiceCounts, frontend_kind};
use lb_userspace::{
    dataplane::{self, Maps, Pins, Pod, Sizes, Switches},
    model::{Desired, Protocol, ServicePortName},
    plan::{Applied, Limits, Write, plan},
};
use proptest::prelude::*;
use world::{OWN, World, desired, worlds};

const SIZES: Sizes = Sizes {
    flows: 64,
    clients: 64,
    slots: 262_144,
    backends: 256,
    services: 32,
    frontends: 64,
    source_ranges: 64,
    nodes: 8,
};
const PORT: u16 = 6181;

/// Brings the maps, and what is kept of them in memory, to what is desired.
fn program(maps: &mut Maps, applied: &mut Applied, desired: &Desired, now_seconds: u64) {
    let planned = plan(applied, desired, now_seconds, &Limits::from(&SIZES));
    assert_eq!(planned.problems, []);
    for write in &planned.writes {
        dataplane::write(maps, write, applied, PORT).unwrap();
        applied.apply(write, now_seconds);
    }
}

/// Without what no map holds: the times of what went, and ids and extents that cool down.
fn timeless(applied: &Applied) -> Applied {
    let mut applied = applied.clone();
    for backend in applied.backends.values_mut() {
        backend.retired_at = backend.retired_at.map(|_| 0);
    }
    applied.cooling_services.clear();
    applied.cooling_nodes.clear();
    applied.cooling_extents.clear();
    applied
}

/// This node's ends of the tunnel, as they are in the maps.
fn tunnel_ends(maps: &Maps) -> BTreeSet<SocketAddr> {
    let mut ends = BTreeSet::new();
    for (key, frontend) in maps.v4.frontends.iter().map(Result::unwrap) {
        let address = SocketAddr::new(IpAddr::V4(key.0.address.into()), key.0.port);
        ends.extend((frontend.0.kind == frontend_kind::TUNNEL).then_some(address));
    }
    for (key, frontend) in maps.v6.frontends.iter().map(Result::unwrap) {
        let address = SocketAddr::new(IpAddr::V6(key.0.address.into()), key.0.port);
        ends.extend((frontend.0.kind == frontend_kind::TUNNEL).then_some(address));
    }
    ends
}

fn own_ends(port: u16) -> BTreeSet<SocketAddr> {
    [IpAddr::V4(OWN.v4.unwrap()), IpAddr::V6(OWN.v6.unwrap())].map(|address| SocketAddr::new(address, port)).into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// After any turn of events what is read back is what was kept in memory, and nothing is left to do.
    #[test]
    fn what_is_read_back_is_what_was_programmed(
        steps in proptest::collection::vec((worlds(), 0..90_u64, any::<bool>()), 1..5),
    ) {
        let mut maps = dataplane::load(&SIZES, None, Switches::default()).unwrap().maps;
        let (mut applied, mut now) = (Applied::default(), 1_000);
        for (world, pause, restarts) in steps {
            now += pause;
            let desired = desired(&world);
            program(&mut maps, &mut applied, &desired, now);
            let read = dataplane::read(&maps, now).unwrap();
            prop_assert_eq!(timeless(&read), timeless(&applied));
            prop_assert_eq!(plan(&read, &desired, now, &Limits::from(&SIZES)).writes, vec![]);
            prop_assert_eq!(tunnel_ends(&maps), own_ends(PORT));
            if restarts {
                applied = read;
            }
        }
    }
}

/// The pins below one root; removed when dropped, also after a panic.
struct Pinned(Pins);

impl Drop for Pinned {
    fn drop(&mut self) {
        let removed = self.0.remove();
        assert!(std::thread::panicking() || removed.is_ok(), "{removed:?}");
    }
}

/// Packets to the new port were once passed to a socket that nobody has, and those to the old one decapsulated.
#[test]
fn another_tunnel_port_after_a_restart_moves_the_tunnel_and_nothing_else() {
    let pinned = Pinned(Pins::new(format!("/sys/fs/bpf/limpet-test-{}-recovery", std::process::id())));
    let load = || dataplane::load(&SIZES, Some(&pinned.0), Switches::default()).unwrap().maps;
    let desired = desired(&World::example());
    let mut applied = Applied::default();
    program(&mut load(), &mut applied, &desired, 0);

    let mut maps = load();
    let read = dataplane::read(&maps, 0).unwrap();
    assert_eq!(timeless(&read), timeless(&applied));
    assert_eq!(tunnel_ends(&maps), own_ends(PORT));
    dataplane::move_tunnel(&mut maps, read.nodes[&0].addresses, PORT + 1).unwrap();
    assert_eq!(tunnel_ends(&maps), own_ends(PORT + 1));
    assert_eq!(dataplane::read(&maps, 0).unwrap(), read);
    assert_eq!(plan(&read, &desired, 0, &Limits::from(&SIZES)).writes, []);

    dataplane::move_tunnel(&mut maps, read.nodes[&0].addresses, PORT + 1).unwrap();
    assert_eq!(tunnel_ends(&maps), own_ends(PORT + 1), "moved already");
}

/// What a Service port took in is not what the one took in that had its id before.
#[test]
fn an_id_that_is_given_out_counts_from_zero() {
    let mut maps = dataplane::load(&SIZES, None, Switches::default()).unwrap().maps;
    let cpus = aya::util::nr_cpus().unwrap();
    let old = ServiceCounts { packets: 7, bytes: 700, new_flows: 2 };
    maps.service_counts.set(1, PerCpuValues::try_from(vec![Pod(old); cpus]).unwrap(), 0).unwrap();
    let sum = (0..cpus).fold(ServiceCounts::default(), |sum, _| sum.and(old));
    assert_eq!(maps.service_counts(1).unwrap(), sum);

    let name = ServicePortName {
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        port: String::new(),
        protocol: Protocol::Tcp,
    };
    dataplane::write(&mut maps, &Write::NameService { id: 1, name }, &Applied::default(), PORT).unwrap();
    assert_eq!(maps.service_counts(1).unwrap(), ServiceCounts::default());
    assert_eq!(maps.service_counts(SIZES.services).unwrap(), ServiceCounts::default(), "past the end");
}

/// Whoever has the id next would be given the flows and clients that still name it.
#[test]
fn ids_that_were_given_back_before_a_restart_rest_after_it() {
    let mut maps = dataplane::load(&SIZES, None, Switches::default()).unwrap().maps;
    let mut applied = Applied::default();
    let (first, other) = (World::example(), World::of_another_service());
    program(&mut maps, &mut applied, &desired(&first), 0);
    program(&mut maps, &mut applied, &desired(&World::default()), 1);
    assert!(applied.services.is_empty());
    let read = dataplane::read(&maps, 100).unwrap();
    let ids = |now_seconds: u64| {
        let (mut maps, mut applied) = (dataplane::load(&SIZES, None, Switches::default()).unwrap().maps, read.clone());
        program(&mut maps, &mut applied, &desired(&other), now_seconds);
        applied.services.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(ids(100), [2], "at once");
    assert_eq!(ids(159), [2], "almost a minute later");
    assert_eq!(ids(160), [1], "a minute later");
}
