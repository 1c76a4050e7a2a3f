//! A client whose backend may not be used any more: moved at once, told once, with the reason.

use lb_common::{
    BreakReason,
    layout::backend_state::{ACTIVE, DRAINING, EXCLUDED, NOT_READY},
};

use crate::world::{FAMILIES, Kind, TCP, UDP, World, client_of, told};

#[test]
fn each_state_has_its_reason_and_keeps_its_flows() {
    let cases =
        [(DRAINING, BreakReason::Draining), (NOT_READY, BreakReason::NotReady), (EXCLUDED, BreakReason::ConfigChanged)];
    for (state, reason) in cases {
        for is_v6 in FAMILIES {
            let (mut world, port) = World::with(is_v6, TCP, &["a", "b", "c"]);
            let client = client_of(&world, port, "a");
            world.connect_from((client, 777), port, 0);
            world.pods(port, &[("a", state), ("b", ACTIVE), ("c", ACTIVE)]);
            let now = world.connect(client, port);
            assert_ne!(now, "a", "{}", reason.name());
            assert_eq!(world.breaks(), [told(reason, "a", &now)]);
            assert_eq!(world.send(Kind::Ack, (client, 777), port, 0), "a", "its flow stays");
            world.ready(port, &["a", "b", "c"]);
            assert_eq!(world.connect(client, port), now, "when the first one comes back, the client stays");
            assert_eq!(world.breaks(), []);
        }
    }
}

#[test]
fn a_pod_that_is_gone_or_whose_id_is_anothers_is_left() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let client = client_of(&world, port, "a");
        world.connect(client, port);
        world.ready(port, &["b"]);
        assert_eq!(world.connect(client, port), "b");
        assert_eq!(world.breaks(), [told(BreakReason::BackendGone, "a", "b")]);

        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let other = world.add(TCP, &["x"]);
        world.connect_from((client, 777), port, 0);
        let id = world.id(port, "a");
        world.ready(port, &["b"]);
        world.reuse_id(id, other, "another-services");
        assert_eq!(world.send(Kind::Ack, (client, 777), port, 0), "b", "a flow never follows an id to another Pod");
        assert_eq!(world.connect(client, port), "b");
        let breaks = world.breaks();
        assert_eq!(breaks.len(), 1);
        assert_eq!((breaks[0].reason, breaks[0].to.as_str()), ("backend-gone", "b"));
    }
}

#[test]
fn a_state_that_passes_before_the_next_connection_moves_nobody() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b", "c"]);
        let client = client_of(&world, port, "a");
        world.connect(client, port);
        for state in [NOT_READY, DRAINING, EXCLUDED] {
            world.pods(port, &[("a", state), ("b", ACTIVE), ("c", ACTIVE)]);
            world.ready(port, &["a", "b", "c"]);
        }
        assert_eq!(world.connect(client, port), "a");
        assert_eq!(world.breaks(), []);
    }
}

#[test]
fn while_only_terminating_pods_are_left_they_serve_and_clients_stay() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let clients = [client_of(&world, port, "a"), client_of(&world, port, "b")];
        for client in clients {
            world.connect(client, port);
        }
        // Where nobody is ready, the model makes those that still serve the pool: they are active.
        world.pods(port, &[("a", ACTIVE), ("b", ACTIVE)]);
        assert_eq!(clients.map(|client| world.connect(client, port)), ["a", "b"]);
        world.pods(port, &[("a", ACTIVE), ("b", DRAINING), ("c", ACTIVE)]);
        assert_eq!(world.connect(clients[0], port), "a");
        let now = world.connect(clients[1], port);
        assert_eq!(world.breaks(), [told(BreakReason::Draining, "b", &now)]);
    }
}

#[test]
fn without_a_usable_pod_nothing_is_changed() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a"]);
        let client = world.address(1, 1);
        world.connect_from((client, 777), port, 0);
        world.pods(port, &[("a", NOT_READY)]);
        let before = world.remembered();
        assert_eq!(world.begin(client, port), "rejected");
        assert_eq!(world.begin(world.address(2, 1), port), "rejected");
        assert_eq!(world.remembered(), before);
        assert_eq!(world.send(Kind::Ack, (client, 777), port, 0), "a");
        world.ready(port, &["a"]);
        assert_eq!(world.connect(client, port), "a");
        assert_eq!(world.breaks(), [], "it never had another one");
    }
}

#[test]
fn while_the_table_still_names_it_nobody_is_moved_to_and_fro() {
    // A backend's state is written before the table.
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let client = client_of(&world, port, "a");
        world.connect(client, port);
        let id = world.id(port, "a");
        world.memory.backends[id as usize].state = DRAINING;
        assert_eq!(world.connect(client, port), "a", "the table says so");
        assert_eq!(world.breaks(), []);
        world.pods(port, &[("a", DRAINING), ("b", ACTIVE)]);
        assert_eq!(world.connect(client, port), "b");
        assert_eq!(world.breaks(), [told(BreakReason::Draining, "a", "b")]);
    }
}

#[test]
fn a_break_is_told_once_though_many_packets_find_it() {
    for is_v6 in FAMILIES {
        for settings in [TCP, UDP] {
            let (mut world, port) = World::with(is_v6, settings, &["a", "b", "c"]);
            let client = client_of(&world, port, "a");
            for source_port in 0..10 {
                world.connect_from((client, 700 + source_port), port, 0);
            }
            world.ready(port, &["b", "c"]);
            let now = world.begin(client, port);
            for source_port in 0..10 {
                // Known flows whose backend is gone, retransmitted SYNs, new connections.
                assert_eq!(world.connect_from((client, 700 + source_port), port, 0), now);
                assert_eq!(world.begin(client, port), now);
            }
            assert_eq!(world.breaks(), [told(BreakReason::BackendGone, "a", &now)]);
        }
    }
}

#[test]
fn an_established_tcp_connection_whose_pod_is_gone_tells_nothing_and_the_next_one_does() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let client = client_of(&world, port, "a");
        world.connect_from((client, 777), port, 0);
        world.ready(port, &["b"]);
        let before = world.remembered();
        assert_eq!(world.send(Kind::Ack, (client, 777), port, 0), "b");
        assert_eq!(world.remembered(), before);
        assert_eq!(world.breaks(), []);
        assert_eq!(world.connect(client, port), "b");
        assert_eq!(world.breaks(), [told(BreakReason::BackendGone, "a", "b")]);
    }
}

#[test]
fn a_udp_flow_whose_pod_went_is_a_new_connection() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, UDP, &["a", "b"]);
        let client = client_of(&world, port, "a");
        world.connect_from((client, 123), port, 0);
        world.pass(50);
        world.ready(port, &["b"]);
        assert_eq!(world.send(Kind::Datagram, (client, 123), port, 0), "b");
        assert_eq!(world.breaks(), [told(BreakReason::BackendGone, "a", "b")]);
        assert_eq!(world.held(client, port).unwrap().last_used_seconds, world.memory.now_seconds);
    }
}

#[test]
fn forgotten_clients_choose_by_the_table_again() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let held = client_of(&world, port, "a");
        world.connect(held, port);
        world.ready(port, &["a", "b", "c", "d", "e"]);
        let unmoved = client_of(&world, port, "b");
        world.connect(unmoved, port);
        world.pass(1);
        world.forget_all();
        assert_eq!(world.send(Kind::Ack, (held, 4_444), port, 0), "a", "what is under way stays");
        let now = world.connect(held, port);
        let expected = if now == "a" { vec![] } else { vec![told(BreakReason::Forgotten, "a", &now)] };
        assert_eq!(world.breaks(), expected);
        assert_eq!(world.connect(unmoved, port), "b", "the table says the same again");
        assert_eq!(world.breaks(), [], "which is no break");
        for client in [held, unmoved] {
            let known = world.held(client, port).unwrap();
            assert_eq!((known.flags, known.expiries), (0, 0), "forgotten once");
        }
    }
}

#[test]
fn a_client_of_one_packet_that_is_moved_had_nothing_to_lose() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let source = (client_of(&world, port, "a"), 777);
        world.send(Kind::Syn, source, port, 0);
        world.ready(port, &["b"]);
        assert_eq!(world.connect_from(source, port, 0), "b");
        assert_eq!(world.pod(world.held(source.0, port).unwrap().backend), "b");
        assert_eq!(world.breaks(), []);
    }
}

#[test]
fn an_older_flow_does_not_take_a_client_back() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let client = client_of(&world, port, "a");
        assert_eq!(world.send(Kind::Syn, (client, 777), port, 0), "a");
        world.pods(port, &[("a", DRAINING), ("b", ACTIVE)]);
        assert_eq!(world.send(Kind::Syn, (client, 778), port, 0), "b");
        assert_eq!(world.send(Kind::Ack, (client, 777), port, 0), "a", "the flow stays where it is");
        assert_eq!(world.pod(world.held(client, port).unwrap().backend), "b", "the client is held where it went last");
    }
}

/// Of connections that begin at once on two CPUs, one may note the client when the other has just made it one that is held.
#[test]
fn a_note_that_comes_too_late_does_not_take_a_client_back() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let client = client_of(&world, port, "a");
        world.send(Kind::Syn, (client, 777), port, 0);
        let late = world.noted(client, port).unwrap();
        world.send(Kind::Ack, (client, 777), port, 0);
        world.note(client, port, &late);
        world.pods(port, &[("a", NOT_READY), ("b", ACTIVE)]);
        assert_eq!(world.begin(client, port), "b");
        assert_eq!(world.breaks(), [told(BreakReason::NotReady, "a", "b")]);
        world.ready(port, &["a", "b"]);
        for _ in 0..2 {
            assert_eq!(world.connect(client, port), "b");
        }
        assert_eq!(world.breaks(), []);
        assert_eq!(world.noted(client, port), None);
    }
}
