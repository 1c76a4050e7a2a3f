//! A flood of lone packets pushes out nobody.

use crate::world::{FAMILIES, Kind, TCP, UDP, World, client_of, clients};

#[test]
fn lone_packets_are_noted_and_nothing_more() {
    for is_v6 in FAMILIES {
        for settings in [TCP, UDP] {
            let (mut world, port) = World::with(is_v6, settings, &["a", "b", "c"]);
            let known = clients(&mut world, port, 20);
            let (held, flows, ghosts) = (held_count(&world), flow_count(&world), world.ghosts());
            for group in 1_000..3_000 {
                world.begin(world.address(group, 3), port);
            }
            assert_eq!((held_count(&world), flow_count(&world), world.ghosts()), (held, flows, ghosts));
            world.evict_new();
            world.ready(port, &["a", "b", "c", "d", "e"]);
            for (client, pod) in known {
                assert_eq!(world.connect(client, port), pod);
            }
            assert_eq!(world.breaks(), []);
        }
    }
}

#[test]
fn a_syn_that_is_sent_again_and_again_is_still_a_lone_packet() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b"]);
        let source = (client_of(&world, port, "a"), 777);
        for _ in 0..5 {
            world.pass(1);
            assert_eq!(world.send(Kind::Syn, source, port, 0), "a");
        }
        let noted = world.noted(source.0, port).unwrap();
        assert_eq!((noted.since_seconds, noted.last_used_seconds), (1_001, 1_005));
        assert_eq!((held_count(&world), flow_count(&world), world.ghosts()), (0, 0, vec![]));
        world.send(Kind::Ack, source, port, 0);
        assert_eq!(world.held(source.0, port), Some(noted));
        assert_eq!(world.noted(source.0, port), None);
    }
}

#[test]
fn a_client_of_single_datagrams_is_not_pushed_out_once_it_is_known() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, UDP, &["a", "b"]);
        let client = client_of(&world, port, "a");
        world.begin(client, port);
        assert_eq!(held_count(&world), 0);
        world.begin(client, port);
        world.ready(port, &["a", "b", "c", "d", "e"]);
        world.evict_new();
        assert_eq!(world.begin(client, port), "a");
    }
}

#[test]
fn a_handshake_whose_notes_were_pushed_out_goes_to_the_same_pod() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b", "c"]);
        for group in 0..50 {
            let source = (world.address(group, 1), 777);
            let pod = world.send(Kind::Syn, source, port, 0);
            world.evict_new();
            assert_eq!(world.send(Kind::Ack, source, port, 0), pod);
            assert_eq!(world.connect(source.0, port), pod);
        }
    }
}

fn held_count(world: &World) -> usize {
    world.memory.v4.affinity[1].borrow().len() + world.memory.v6.affinity[1].borrow().len()
}

fn flow_count(world: &World) -> usize {
    world.memory.v4.flows[1].borrow().len() + world.memory.v6.flows[1].borrow().len()
}
