//! Nodes that never talk to each other send a client to the same Pod.

use lb_common::{BreakReason, host::Memory};

use crate::world::{FAMILIES, Kind, TCP, TIMEOUT, UDP, World, clients, told};

#[test]
fn a_client_that_never_expired_has_one_pod_on_all_nodes() {
    for is_v6 in FAMILIES {
        for settings in [TCP, UDP] {
            let (mut first, port) = World::with(is_v6, settings, &["a", "b", "c"]);
            let mut second = first.clone();
            let known = clients(&mut first, port, 200);
            first.pass(TIMEOUT);
            for (client, pod) in known {
                assert_eq!(second.connect(client, port), pod, "new on the other node");
                assert_eq!(first.connect(client, port), pod, "back here");
            }
        }
    }
}

#[test]
fn a_node_that_lost_everything_agrees() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["a", "b", "c"]);
        let known = clients(&mut world, port, 200);
        let fresh = World::with(is_v6, TCP, &["a", "b", "c"]).0;
        let Memory { v4, v6, ghosts, .. } = fresh.memory.clone();
        (world.memory.v4.flows, world.memory.v6.flows) = (v4.flows, v6.flows);
        (world.memory.v4.affinity, world.memory.v6.affinity) = (v4.affinity, v6.affinity);
        world.memory.ghosts = ghosts;
        for (client, pod) in known {
            assert_eq!(world.connect(client, port), pod);
        }
        assert_eq!(world.breaks(), []);
    }
}

#[test]
fn a_connection_that_a_router_sends_to_another_node_goes_on() {
    for is_v6 in FAMILIES {
        let (mut first, port) = World::with(is_v6, TCP, &["a", "b", "c"]);
        let mut second = first.clone();
        for group in 0..100 {
            let source = (first.address(group, 1), 777);
            let pod = first.connect_from(source, port, 0);
            assert_eq!(second.send(Kind::Ack, source, port, 0), pod);
            assert_eq!(second.send(Kind::Fin, source, port, 0), pod);
        }
    }
}

#[test]
fn a_pod_that_comes_back_under_its_name_gets_its_clients_and_nobody_elses() {
    for is_v6 in FAMILIES {
        let (mut world, port) = World::with(is_v6, TCP, &["web-0", "web-1", "web-2"]);
        let known = clients(&mut world, port, 200);
        let old = world.id(port, "web-1");
        world.replace(port, "web-1");
        assert_ne!(world.id(port, "web-1"), old);
        let mut expected = 0;
        for (client, pod) in &known {
            assert_eq!(world.connect(*client, port), *pod);
            expected += usize::from(pod == "web-1");
        }
        // The Pod is another one, whatever its name: what the old one knew is lost.
        assert_eq!(world.breaks(), vec![told(BreakReason::BackendGone, "web-1", "web-1"); expected]);
    }
}
