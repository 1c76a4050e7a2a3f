//! `limpet.dev/affinity-key: service`: one Pod for all ports of a Service.

use lb_common::{
    BreakReason,
    layout::backend_state::{ACTIVE, DRAINING},
};

use crate::world::{FAMILIES, SHARED, Settings, TCP, TIMEOUT, UDP, World, client_of, clients, told};

/// A Service of two ports with these Pods each.
fn service(is_v6: bool, first: &[&str], second: &[&str]) -> (World, u32, u32) {
    let (mut world, port) = World::with(is_v6, SHARED, first);
    let other = world.add(SHARED, second);
    (world, port, other)
}

#[test]
fn both_ports_go_to_one_pod_also_when_the_table_says_otherwise() {
    for is_v6 in FAMILIES {
        let (mut world, first, second) = service(is_v6, &["a", "b"], &["a", "b"]);
        let known = clients(&mut world, first, 30);
        for port in [first, second] {
            world.ready(port, &["a", "b", "c", "d", "e"]);
        }
        for (client, pod) in &known {
            assert_eq!(world.connect(*client, second), *pod);
            assert_eq!(world.connect(*client, first), *pod);
        }
        assert_eq!(world.breaks(), []);
    }
}

#[test]
fn by_default_each_port_has_its_own() {
    for is_v6 in FAMILIES {
        let (mut world, first) = World::with(is_v6, TCP, &["a", "b"]);
        let second = world.add(TCP, &["a", "b"]);
        let client = client_of(&world, first, "a");
        world.connect(client, first);
        assert_eq!(world.held(client, second), None);
        world.pass(TIMEOUT);
        world.connect(client, second);
        world.pass(1);
        world.connect(client, first);
        assert_eq!(world.held(client, first).unwrap().expiries, 1);
        assert_eq!(world.held(client, second).unwrap().expiries, 0, "expiry at one port leaves the other alone");
    }
}

#[test]
fn tcp_and_udp_share_too() {
    for is_v6 in FAMILIES {
        let (mut world, first) = World::with(is_v6, SHARED, &["a", "b", "c"]);
        let second = world.add(Settings { shared: true, ..UDP }, &["a", "b", "c"]);
        for (client, pod) in clients(&mut world, first, 30) {
            assert_eq!(world.connect(client, second), pod);
        }
    }
}

#[test]
fn a_port_that_the_pod_lacks_goes_by_the_table_and_the_client_stays() {
    for is_v6 in FAMILIES {
        // The order in which the second packets of the two connections come must not matter.
        for late_first in [false, true] {
            let (mut world, first, second) = service(is_v6, &["a", "b"], &["b"]);
            let client = client_of(&world, first, "a");
            if late_first {
                assert_eq!(world.begin(client, first), "a");
            } else {
                assert_eq!(world.connect(client, first), "a");
            }
            assert_eq!(world.connect(client, second), "b");
            assert_eq!(world.connect(client, first), "a", "late_first: {late_first}");
            assert_eq!(world.pod(world.held(client, first).unwrap().backend), "a");
            assert_eq!(world.breaks(), []);
        }
    }
}

#[test]
fn a_connection_to_one_port_refreshes_for_all() {
    for is_v6 in FAMILIES {
        // Of the second one, the Pod has both ports, or not.
        for pods in [&["a", "b"][..], &["b"]] {
            let (mut world, first, second) = service(is_v6, &["a", "b"], pods);
            let client = client_of(&world, first, "a");
            world.connect(client, first);
            for _ in 0..5 {
                world.pass(TIMEOUT);
                world.connect(client, second);
            }
            assert_eq!(world.connect(client, first), "a");
            assert_eq!(world.held(client, first).unwrap().expiries, 0);
        }
    }
}

#[test]
fn a_break_at_one_port_is_one_for_all_and_is_told_once() {
    for is_v6 in FAMILIES {
        let (mut world, first, second) = service(is_v6, &["a", "b", "c"], &["a", "b", "c"]);
        let client = client_of(&world, first, "a");
        world.connect(client, first);
        world.connect(client, second);
        for port in [first, second] {
            world.pods(port, &[("a", DRAINING), ("b", ACTIVE), ("c", ACTIVE)]);
        }
        let now = world.connect(client, second);
        assert_ne!(now, "a");
        assert_eq!(world.breaks(), [told(BreakReason::Draining, "a", &now)]);
        assert_eq!(world.connect(client, first), now);
        assert_eq!(world.breaks(), []);
    }
}

#[test]
fn the_same_pod_at_another_port_is_no_break() {
    for is_v6 in FAMILIES {
        let (mut world, first, second) = service(is_v6, &["a", "b", "c"], &["a", "b", "c"]);
        for (client, pod) in clients(&mut world, first, 40) {
            world.forget_all();
            // The table of the other port names the same Pod, under an id of its own.
            assert_eq!(world.connect(client, second), pod);
            assert_eq!(world.held(client, second).unwrap().backend, world.id(second, &pod));
            let since = world.held(client, second).unwrap();
            world.pass(1);
            world.connect(client, first);
            assert_eq!(world.held(client, first).unwrap().since_seconds, since.since_seconds);
        }
        assert_eq!(world.breaks(), []);
    }
}

#[test]
fn eviction_is_compared_by_pod() {
    for is_v6 in FAMILIES {
        let (mut world, first, second) = service(is_v6, &["a", "b", "c"], &["a", "b", "c"]);
        let known = clients(&mut world, first, 20);
        world.evict_all();
        for (client, pod) in &known {
            assert_eq!(world.connect(*client, second), *pod);
        }
        assert_eq!(world.breaks(), []);
    }
}

#[test]
fn eviction_is_compared_by_pod_also_where_another_port_shows_that_the_client_is_there() {
    for is_v6 in FAMILIES {
        let (mut world, first, second) = service(is_v6, &["a", "b"], &["a", "b"]);
        let client = client_of(&world, first, "a");
        world.connect(client, second);
        world.evict_all();
        assert_eq!(world.begin(client, first), "a");
        assert_eq!(world.connect(client, second), "a");
        assert_eq!(world.breaks(), []);
    }
}
