//! One key for each client and Service port, whatever the frontend and the client's port.

use std::collections::BTreeSet;

use lb_common::BreakReason;

use crate::world::{FAMILIES, Kind, Settings, TCP, UDP, World, client_of, clients, told};

#[test]
fn all_connections_of_a_client_go_to_one_pod_over_all_frontends() {
    for is_v6 in FAMILIES {
        for settings in [TCP, UDP] {
            let (mut world, port) = World::with(is_v6, settings, &["a", "b", "c"]);
            for (client, pod) in clients(&mut world, port, 100) {
                for connection in 0..30 {
                    let source = (client, world.source_port());
                    assert_eq!(world.connect_from(source, port, connection % 3), pod, "connection {connection}");
                }
            }
            assert_eq!(world.breaks(), []);
        }
    }
}

#[test]
fn clients_spread_over_all_pods() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b", "c"]);
        let known = clients(&mut world, port, 300);
        for pod in ["a", "b", "c"] {
            let share = known.iter().filter(|(_, own)| own == pod).count();
            assert!((60..140).contains(&share), "{share} of 300 clients are at {pod}");
        }
    }
}

#[test]
fn datagrams_from_many_ports_go_to_one_pod() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, UDP, &["a", "b", "c"]);
        for group in 0..100 {
            let client = world.address(group, 1);
            let pods: BTreeSet<_> = (0..10).map(|_| world.begin(client, port)).collect();
            assert_eq!(pods.len(), 1, "client {client}: {pods:?}");
        }
    }
}

#[test]
fn a_datagram_from_a_known_port_stays_when_the_table_changes() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, UDP, &["a", "b"]);
        let known: Vec<_> = (0..100).map(|group| (world.address(group, 1), 777)).collect();
        let pods: Vec<_> = known.iter().map(|source| world.connect_from(*source, port, 0)).collect();
        world.ready(port, &["a", "b", "c", "d", "e"]);
        for (source, pod) in known.iter().zip(&pods) {
            assert_eq!(world.send(Kind::Datagram, *source, port, 0), *pod);
        }
        assert_eq!(world.breaks(), []);
    }
}

#[test]
fn scaling_up_moves_nobody_and_scaling_down_moves_those_of_removed_pods() {
    let all = ["a", "b", "c", "d", "e", "f"];
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &all[..2]);
        let known = clients(&mut world, port, 200);
        world.ready(port, &all);
        for (client, pod) in &known {
            assert_eq!(world.connect(*client, port), *pod);
        }
        assert_eq!(world.breaks(), []);
        world.ready(port, &all[1..]);
        for (client, pod) in &known {
            let now = world.connect(*client, port);
            assert_eq!(now == *pod, pod != "a", "{client} had {pod} and has {now}");
        }
        let breaks = world.breaks();
        assert_eq!(breaks.len(), known.iter().filter(|(_, pod)| pod == "a").count());
        assert!(breaks.iter().all(|told| told.reason == "backend-gone" && told.from == "a"), "{breaks:?}");
    }
}

#[test]
fn two_services_and_both_families_are_independent() {
    for is_v6 in FAMILIES {
        let (mut world, first) = World::with(is_v6, TCP, &["a", "b", "c"]);
        let second = world.add(TCP, &["a", "b", "c"]);
        let client = client_of(&world, first, "a");
        world.connect(client, first);
        world.connect(client, second);
        let before = world.held(client, second);
        world.ready(first, &["b", "c"]);
        let now = world.connect(client, first);
        assert_eq!(world.breaks(), [told(BreakReason::BackendGone, "a", &now)]);
        assert_eq!(world.held(client, second), before, "the other Service port keeps its own");
    }
}

#[test]
fn affinity_comes_and_goes() {
    for is_v6 in FAMILIES {
        let spread = Settings { affinity: false, ..TCP };
        let (mut world, port) = World::with(is_v6, spread, &["a", "b", "c"]);
        let client = world.address(1, 1);
        let reached =
            |world: &mut World| -> BTreeSet<String> { (0..40).map(|_| world.connect(client, port)).collect() };
        assert_eq!(reached(&mut world).len(), 3, "without affinity connections spread");
        assert_eq!(world.held(client, port), None);

        world.set(port, TCP);
        let held = reached(&mut world);
        assert_eq!(held.len(), 1, "from the next connection on it stays");
        world.set(port, spread);
        assert_eq!(reached(&mut world).len(), 3, "what is remembered does not count any more");
        world.set(port, TCP);
        assert_eq!(reached(&mut world), held, "the time is not over");
        assert_eq!(world.breaks(), []);
    }
}

#[test]
fn a_prefix_is_one_client() {
    // Bits for IPv4, bits for IPv6, and whether two addresses that differ in the last byte alone are one client.
    let cases = [(32, 128, false), (31, 127, true), (24, 64, true), (25, 121, true), (8, 1, true), (1, 65, true)];
    for (v4, v6, one) in cases {
        for is_v6 in FAMILIES {
            let settings = Settings { prefix: Some(if is_v6 { v6 } else { v4 }), ..TCP };
            let (mut world, port) = World::with(is_v6, settings, &["a", "b", "c", "d", "e"]);
            let pairs: Vec<_> = (0..60).map(|group| (world.address(group, 2), world.address(group, 3))).collect();
            let mut together = 0;
            for (first, second) in pairs {
                let pod = world.connect(first, port);
                assert!(world.held(first, port).is_some(), "/{v4} or /{v6}");
                assert_eq!(world.held(second, port).is_some(), one, "/{v4} or /{v6}");
                together += usize::from(world.connect(second, port) == pod);
            }
            assert_eq!(together == 60, one, "/{v4} or /{v6}: {together} of 60 pairs share a Pod");
            assert_eq!(world.breaks(), []);
        }
    }
}

#[test]
fn addresses_with_the_same_prefix_and_others_are_told_apart_by_every_bit() {
    for is_v6 in FAMILIES {
        let settings = Settings { prefix: Some(if is_v6 { 64 } else { 24 }), ..TCP };
        let (mut world, port) = World::with(is_v6, settings, &["a", "b"]);
        world.connect(world.address(6, 1), port);
        for (group, member, known) in [(6, 200, true), (6, 0, true), (7, 1, false), (4, 1, false), (6 + 256, 1, false)]
        {
            let client = world.address(group, member);
            assert_eq!(world.held(client, port).is_some(), known, "{client}");
            world.begin(client, port);
            assert_eq!(world.noted(client, port).is_some(), !known, "{client}");
        }
    }
}
