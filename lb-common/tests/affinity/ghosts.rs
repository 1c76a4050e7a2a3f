//! A client that a full map has forgotten is told from one that was never there.

use lb_common::BreakReason;

use crate::world::{FAMILIES, Kind, TCP, TIMEOUT, UDP, World, client_of, clients, told};

#[test]
fn who_is_forgotten_and_gets_another_pod_is_told() {
    for is_v6 in FAMILIES {
        for settings in [TCP, UDP] {
            let (mut world, port) = World::with(is_v6, settings, &["a", "b"]);
            let known = clients(&mut world, port, 50);
            world.ready(port, &["a", "b", "c", "d", "e"]);
            world.evict_all();
            let mut expected = Vec::new();
            for (client, before) in &known {
                let now = world.connect(*client, port);
                if now != *before {
                    expected.push(told(BreakReason::Evicted, before, &now));
                }
                assert_eq!(world.connect(*client, port), now);
            }
            assert!(!expected.is_empty());
            assert_eq!(world.breaks(), expected);
        }
    }
}

#[test]
fn first_sight_is_no_break() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        clients(&mut world, port, 50);
        world.ready(port, &["a", "b", "c", "d", "e"]);
        for group in 50..100 {
            world.connect(world.address(group, 1), port);
        }
        assert_eq!(world.breaks(), []);
    }
}

#[test]
fn who_is_forgotten_after_its_time_has_expired() {
    for is_v6 in FAMILIES {
        for (passed, reason) in [(TIMEOUT, BreakReason::Evicted), (TIMEOUT + 1, BreakReason::Expired)] {
            let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
            let known = clients(&mut world, port, 30);
            world.ready(port, &["a", "b", "c", "d", "e"]);
            world.evict_all();
            world.pass(passed);
            for (client, _) in &known {
                world.connect(*client, port);
            }
            let breaks = world.breaks();
            assert!(!breaks.is_empty());
            assert!(breaks.iter().all(|told| told.reason == reason.name()), "{passed} s passed: {breaks:?}");
        }
    }
}

#[test]
fn what_counts_is_when_it_was_given_the_other_pod_not_when_that_was_noticed() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let client = client_of(&world, port, "a");
        world.connect(client, port);
        world.ready(port, &["b"]);
        world.ready(port, &["b", "a"]);
        let client = client_of(&world, port, "a");
        world.connect(client, port);
        let id = world.id(port, "a");
        // The table names the others alone, while the Pod may still be used.
        for slot in &mut world.memory.slots {
            if *slot == id {
                *slot = world.memory.backends.iter().position(|b| b.state == 1 && b.service == port).unwrap() as u32;
            }
        }
        world.evict_all();
        world.pass(TIMEOUT);
        let other = world.begin(client, port);
        world.pass(50);
        world.connect(client, port);
        assert_eq!(world.breaks().last(), Some(&told(BreakReason::Evicted, "a", &other)));
    }
}

#[test]
fn who_is_forgotten_and_whose_pod_went_has_lost_it_to_that() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let client = client_of(&world, port, "a");
        world.connect(client, port);
        world.evict_all();
        world.ready(port, &["b"]);
        world.connect(client, port);
        assert_eq!(world.breaks(), [told(BreakReason::BackendGone, "a", "b")]);
    }
}

#[test]
fn who_is_forgotten_and_returns_on_a_known_flow_is_told_too() {
    for is_v6 in FAMILIES {
        // A client that uses its port again for the next connection, while the flow of the last one is still known.
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let source = (client_of(&world, port, "a"), 777);
        world.connect_from(source, port, 0);
        world.ready(port, &["b"]);
        world.evict_all();
        assert_eq!(world.connect_from(source, port, 0), "b");
        assert_eq!(world.breaks(), [told(BreakReason::BackendGone, "a", "b")]);
        assert_eq!(world.pod(world.held(source.0, port).unwrap().backend), "b", "it is held, not only noted");

        // A client that always sends from one port, and whose Pod went twice.
        let (mut world, port) = World::with(is_v6, UDP, &["a", "b", "c"]);
        let source = (client_of(&world, port, "a"), 777);
        world.connect_from(source, port, 0);
        world.evict_all();
        world.ready(port, &["b", "c"]);
        let second = world.send(Kind::Datagram, source, port, 0);
        assert_eq!(world.breaks(), [told(BreakReason::BackendGone, "a", &second)]);
        let third = if second == "b" { "c" } else { "b" };
        world.ready(port, &[third]);
        assert_eq!(world.send(Kind::Datagram, source, port, 0), third);
        assert_eq!(world.breaks(), [told(BreakReason::BackendGone, &second, third)]);
    }
}

#[test]
fn a_client_of_single_datagrams_is_told_like_any_other() {
    // As in DNS: each request from a port of its own, so that no flow has a second packet.
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, UDP, &["a", "b", "c"]);
        let client = client_of(&world, port, "a");
        for _ in 0..3 {
            world.pass(1);
            assert_eq!(world.begin(client, port), "a");
        }
        world.ready(port, &["b", "c"]);
        let now = world.begin(client, port);
        assert_eq!(world.breaks(), [told(BreakReason::BackendGone, "a", &now)]);
    }
}
