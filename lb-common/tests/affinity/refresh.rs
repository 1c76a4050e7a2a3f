//! What keeps a client's time running: new connections, and nothing else.

use crate::world::{FAMILIES, Kind, Settings, TCP, TIMEOUT, UDP, World, client_of};

#[test]
fn each_new_connection_refreshes() {
    for is_v6 in FAMILIES {
        for protocol in [TCP, UDP] {
            let (mut world, port) = World::with(is_v6, Settings { timeout: 5, ..protocol }, &["a", "b", "c"]);
            let client = world.address(1, 1);
            let pod = world.connect(client, port);
            for _ in 0..20 {
                world.pass(3);
                assert_eq!(world.connect(client, port), pod);
            }
            assert_eq!(world.held(client, port).unwrap().expiries, 0);
            assert_eq!(world.breaks(), []);
        }
    }
}

#[test]
fn what_refreshes_and_what_does_not() {
    // What is sent, from a port of its own or that of the connection, and whether it refreshes.
    let cases = [
        (TCP, Kind::Syn, true, true, "a SYN from a new port"),
        (TCP, Kind::Syn, false, true, "a SYN on a known connection: another one from the same port"),
        (TCP, Kind::Ack, false, false, "a packet of the connection"),
        (TCP, Kind::Fin, false, false, "the end of the connection"),
        (TCP, Kind::Ack, true, false, "a packet of a connection that nobody knows"),
        (TCP, Kind::Fin, true, false, "the end of a connection that nobody knows"),
        (UDP, Kind::Datagram, true, true, "a datagram from a new port"),
        (UDP, Kind::Datagram, false, false, "a datagram of a known flow"),
    ];
    for (settings, kind, new_port, refreshes, what) in cases {
        for is_v6 in FAMILIES {
            let (mut world, port) = World::with(is_v6, settings, &["a", "b", "c"]);
            let source = (world.address(1, 1), 777);
            let pod = world.connect_from(source, port, 0);
            let before = world.remembered();
            world.pass(10);
            let source = if new_port { (source.0, 778) } else { source };
            assert_eq!(world.send(kind, source, port, 0), pod, "{what}");
            if refreshes {
                assert_eq!(world.held(source.0, port).unwrap().last_used_seconds, world.memory.now_seconds, "{what}");
            } else {
                assert_eq!(world.remembered(), before, "{what}");
            }
        }
    }
}

#[test]
fn a_long_connection_does_not_refresh_and_is_not_touched() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b", "c"]);
        let source = (world.address(1, 1), 777);
        let pod = world.connect_from(source, port, 0);
        for _ in 0..20 {
            world.pass(TIMEOUT / 10);
            assert_eq!(world.send(Kind::Ack, source, port, 0), pod);
        }
        world.connect(source.0, port);
        assert_eq!(world.held(source.0, port).unwrap().expiries, 1, "the time was over");
        assert_eq!(world.send(Kind::Ack, source, port, 0), pod, "the old connection stays");
    }
}

#[test]
fn packets_of_a_draining_flow_write_nothing() {
    use lb_common::layout::backend_state::{ACTIVE, DRAINING, EXCLUDED, NOT_READY};
    for is_v6 in FAMILIES {
        for state in [DRAINING, NOT_READY, EXCLUDED] {
            let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
            let source = (client_of(&world, port, "a"), 777);
            world.connect_from(source, port, 0);
            world.pods(port, &[("a", state), ("b", ACTIVE)]);
            let before = world.remembered();
            for kind in [Kind::Ack, Kind::Ack, Kind::Fin, Kind::Ack] {
                world.pass(1);
                assert_eq!(world.send(kind, source, port, 0), "a", "state {state}");
            }
            assert_eq!(world.remembered(), before, "state {state}");
            assert_eq!(world.breaks(), []);
        }
    }
}

#[test]
fn the_last_use_is_written_once_a_second_at_most() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let client = world.address(1, 1);
        world.connect(client, port);
        // A mark that a write within the same second would overwrite.
        world.pass(1);
        world.connect(client, port);
        let written = world.remembered();
        for ghosts in world.memory.ghosts.borrow_mut().iter_mut().flatten().filter(|ghost| ghost.fingerprint != 0) {
            ghosts.backend = 99;
        }
        let marked = world.ghosts();
        for _ in 0..5 {
            world.connect(client, port);
        }
        assert_eq!(world.ghosts(), marked, "nothing is written in the same second");
        world.pass(1);
        world.connect(client, port);
        assert_ne!(world.ghosts(), marked);
        assert_ne!(world.remembered(), written);
    }
}

#[test]
fn packets_of_unknown_connections_ask_and_never_write() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let known = client_of(&world, port, "a");
        world.connect(known, port);
        world.ready(port, &["a", "b", "c", "d", "e"]);
        world.evict_flows();
        let before = world.remembered();
        for source_port in 0..40 {
            for kind in [Kind::Ack, Kind::Fin] {
                assert_eq!(
                    world.send(kind, (known, 20_000 + source_port), port, 0),
                    "a",
                    "it is held, also beyond the table"
                );
                world.send(kind, (world.address(source_port, 9), 20_000), port, 0);
            }
        }
        assert_eq!(world.remembered(), before);
        assert_eq!(world.breaks(), []);
    }
}

#[test]
fn a_connection_that_moved_here_from_another_node_goes_on_after_its_clients_time() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let client = client_of(&world, port, "a");
        world.connect(client, port);
        world.ready(port, &["a", "b", "c", "d", "e"]);
        world.pass(2 * TIMEOUT);
        assert_eq!(world.send(Kind::Ack, (client, 4_444), port, 0), "a", "expiry is for new connections");
    }
}
