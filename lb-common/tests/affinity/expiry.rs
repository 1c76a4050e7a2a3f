//! When a client's time is over, and what then.

use std::collections::BTreeSet;

use lb_common::{BreakReason, hash};

use crate::world::{FAMILIES, Settings, TCP, TIMEOUT, UDP, World, client_of, told};

#[test]
fn a_client_is_held_for_its_timeout_and_not_a_second_longer() {
    for is_v6 in FAMILIES {
        for protocol in [TCP, UDP] {
            for timeout in [1, 2, 10_800, 86_400] {
                for (passed, expiries) in
                    [(0, 0), (timeout - 1, 0), (timeout, 0), (timeout + 1, 1), (2 * timeout + 5, 1)]
                {
                    let (mut world, port) = World::with(is_v6, Settings { timeout, ..protocol }, &["a", "b", "c"]);
                    let client = world.address(1, 1);
                    let before = world.connect(client, port);
                    world.pass(passed);
                    let now = world.connect(client, port);
                    let held = world.held(client, port).unwrap();
                    assert_eq!(held.expiries, expiries, "timeout {timeout}, {passed} s passed");
                    assert_eq!(held.last_used_seconds, world.memory.now_seconds);
                    assert!(expiries == 1 || now == before);
                }
            }
        }
    }
}

#[test]
fn an_expired_client_may_get_another_pod() {
    for is_v6 in FAMILIES {
        for protocol in [TCP, UDP] {
            let (mut world, port) = World::with(is_v6, protocol, &["a", "b", "c"]);
            let mut one_only = 0;
            for group in 0..20 {
                let client = world.address(group, 1);
                let mut pods = BTreeSet::new();
                for _ in 0..10 {
                    pods.insert(world.connect(client, port));
                    world.pass(TIMEOUT + 1);
                }
                one_only += usize::from(pods.len() < 2);
            }
            assert_eq!(one_only, 0, "of 20 clients some saw one Pod in 10 tries");
        }
    }
}

#[test]
fn a_client_of_lone_packets_expires_too() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, UDP, &["a", "b", "c"]);
        let client = world.address(1, 1);
        let pods: BTreeSet<_> = (0..20)
            .map(|_| {
                world.pass(TIMEOUT + 1);
                world.begin(client, port)
            })
            .collect();
        assert!(pods.len() > 1, "{pods:?}");
    }
}

#[test]
fn the_pod_after_an_expiry_is_the_one_that_the_table_names_for_the_next_number() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b", "c"]);
        let client = world.address(3, 1);
        let mut before = world.connect(client, port);
        for expiries in 1..20 {
            world.pass(TIMEOUT + 1);
            let now = world.connect(client, port);
            let held = world.held(client, port).unwrap();
            assert_eq!(held.expiries, expiries);
            assert_eq!(now, world.pod(slot_of(&world, client, port, expiries)));
            let expected = if now == before { vec![] } else { vec![told(BreakReason::Expired, &before, &now)] };
            assert_eq!(world.breaks(), expected, "expiry {expiries}");
            let since = if now == before { held.since_seconds < held.last_used_seconds } else { true };
            assert!(since, "who keeps the Pod has had it for longer than this connection");
            before = now;
        }
    }
}

fn slot_of(world: &World, client: std::net::IpAddr, port: u32, expiries: u32) -> u32 {
    let service_hash = 0x5a00 + port;
    let hash = match client {
        std::net::IpAddr::V4(client) => hash::client(lb_common::family::Address4::from(client), service_hash, expiries),
        std::net::IpAddr::V6(client) => hash::client(lb_common::family::Address6::from(client), service_hash, expiries),
    };
    world.memory.slots[(port * 60 + hash::slot(hash, 60)) as usize]
}

#[test]
fn stable_keeps_the_number_and_so_the_slot() {
    for is_v6 in FAMILIES {
        let settings = Settings { stable: true, ..TCP };
        let (mut world, port) = World::with(is_v6, settings, &["a", "b", "c"]);
        let client = world.address(1, 1);
        let pod = world.connect(client, port);
        for _ in 0..20 {
            world.pass(TIMEOUT + 1);
            assert_eq!(world.connect(client, port), pod);
        }
        assert_eq!(world.held(client, port).unwrap().expiries, 0);
        assert_eq!(world.breaks(), []);

        // Its time over, a client goes where the table says, and that changes with the Pods.
        let moved: Vec<_> = (0..50).map(|group| world.address(group, 2)).collect();
        let before: Vec<_> = moved.iter().map(|client| world.connect(*client, port)).collect();
        world.ready(port, &["a", "b", "c", "d", "e"]);
        world.pass(TIMEOUT + 1);
        let mut expected = Vec::new();
        for (client, before) in moved.iter().zip(&before) {
            let now = world.connect(*client, port);
            if now != *before {
                expected.push(told(BreakReason::Expired, before, &now));
            }
        }
        assert!(!expected.is_empty());
        assert_eq!(world.breaks(), expected);
    }
}

#[test]
fn a_changed_timeout_acts_at_once_on_everybody() {
    // The timeout before and after, how long ago the last connection was, and whether the client is held.
    let cases =
        [(100, 10, 50, false), (100, 50, 50, true), (100, 49, 50, false), (10, 100, 50, true), (10, 49, 50, false)];
    for (before, after, passed, held) in cases {
        for is_v6 in FAMILIES {
            let (mut world, port) = World::with(is_v6, Settings { timeout: before, ..TCP }, &["a", "b", "c"]);
            let client = world.address(1, 1);
            world.connect(client, port);
            world.pass(passed);
            world.set(port, Settings { timeout: after, ..TCP });
            world.connect(client, port);
            let expiries = world.held(client, port).unwrap().expiries;
            assert_eq!(expiries == 0, held, "{before} s, then {after} s; {passed} s passed");
        }
    }
}

#[test]
fn who_expired_and_whose_pod_is_gone_has_expired() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let client = client_of(&world, port, "a");
        world.connect(client, port);
        world.pass(TIMEOUT + 1);
        world.ready(port, &["b"]);
        assert_eq!(world.connect(client, port), "b");
        assert_eq!(world.breaks(), [told(BreakReason::Expired, "a", "b")]);
        assert_eq!(world.held(client, port).unwrap().expiries, 1);
    }
}
