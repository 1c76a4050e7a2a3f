//! Against real maps and, in a network namespace without devices, against the kernel's routing; they need root.

use std::{net::Ipv4Addr, panic::resume_unwind, thread};

use lb_common::{
    Family as _, V4,
    layout::{Config, NextHop4, THIS_NODE, Way},
};
use nix::sched::{CloneFlags, unshare};
use tokio::runtime::Runtime;

use super::{ways::Answer, *};
use crate::{
    dataplane::{Sizes, Switches, load},
    model::NodeAddresses,
    netlink::{Ends, Hop, Target, Unresolved},
    plan::AppliedNode,
};

const SIZES: Sizes =
    Sizes { flows: 64, clients: 64, slots: 1024, backends: 16, services: 8, frontends: 16, source_ranges: 8, nodes: 8 };
const PORT: u16 = 6181;
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OWN_LATER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const PENDING: Answer = Err(Unresolved::NeighbourPending);
const FAILED: Answer = Err(Unresolved::NeighbourFailed);

fn maps() -> Maps {
    load(&SIZES, None, Switches::default()).expect("this test makes BPF maps: run it as root").maps
}

/// This node and another one.
fn nodes(own: Option<Ipv4Addr>, other_name: &str) -> Applied {
    let node = |name: &str, v4| AppliedNode { name: name.to_owned(), addresses: NodeAddresses { v4, v6: None } };
    let nodes = [(THIS_NODE, node("n0", own)), (1, node(other_name, Some(OTHER)))];
    Applied { nodes: nodes.into(), ..Applied::default() }
}

fn target(source: Ipv4Addr) -> Target {
    Target { node: 1, ends: Ends::V4 { source, address: OTHER } }
}

fn hop(device: u32, mtu: u16) -> Hop {
    let tags = [u32::from_ne_bytes([0x81, 0, 0, 5]), 0];
    Hop { device, route_device: device + 1, mtu, ethernet: [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], tags, tag_count: 1 }
}

/// What is in the map for a way over [`hop`].
fn written(source: Ipv4Addr, hop: &Hop, tunnel_port: u16) -> NextHop4 {
    NextHop4 {
        source: source.into(),
        destination: OTHER.into(),
        way: Way {
            device: hop.device,
            mtu: hop.mtu,
            tunnel_port,
            ethernet: zerocopy::transmute!(hop.ethernet),
            tags: hop.tags,
            tag_count: hop.tag_count,
        },
    }
}

fn not_known(source: Ipv4Addr) -> NextHop4 {
    NextHop4 { source: source.into(), destination: OTHER.into(), ..NextHop4::default() }
}

fn in_map(maps: &Maps) -> NextHop4 {
    maps.v4.next_hops.get(&1, 0).unwrap().0
}

/// Takes answers in one after the other; compares the map after each.
fn check(ways: &mut Ways, maps: &mut Maps, source: Ipv4Addr, steps: &[(&str, Answer, NextHop4)]) {
    for (description, answer, expected) in steps {
        ways.take(vec![(target(source), *answer)], maps).unwrap();
        assert_eq!(in_map(maps), *expected, "{description}");
    }
}

#[test]
fn ways_follow_the_answers() {
    let (mut maps, mut ways) = (maps(), Ways::default());
    assert!(ways.follow(&nodes(Some(OWN), "n1"), PORT, &mut maps).unwrap());
    assert_eq!(ways.targets(), [target(OWN)]);
    let found = written(OWN, &hop(3, 1500), PORT);
    check(
        &mut ways,
        &mut maps,
        OWN,
        &[
            ("asked", PENDING, not_known(OWN)),
            ("found", Ok(hop(3, 1500)), found),
            ("asked again", PENDING, found),
            ("silent", FAILED, not_known(OWN)),
            ("asked again in vain", PENDING, not_known(OWN)),
        ],
    );
    assert!(!ways.is_any_pending(), "a silent one is not waited for");
    assert_eq!(ways.problems(None).len(), 1);
}

/// A NEXT_HOPS entry once kept the outer source of an address that the node had no longer.
#[test]
fn a_new_own_address_is_the_source_of_all_ways() {
    let (mut maps, mut ways) = (maps(), Ways::default());
    ways.follow(&nodes(Some(OWN), "n1"), PORT, &mut maps).unwrap();
    check(&mut ways, &mut maps, OWN, &[("found", Ok(hop(3, 1500)), written(OWN, &hop(3, 1500), PORT))]);

    assert!(ways.follow(&nodes(Some(OWN_LATER), "n1"), PORT, &mut maps).unwrap());
    assert_eq!(ways.targets(), [target(OWN_LATER)]);
    let moved = written(OWN_LATER, &hop(3, 1500), PORT);
    check(&mut ways, &mut maps, OWN_LATER, &[("the same hop from there", Ok(hop(3, 1500)), moved)]);

    ways.follow(&nodes(None, "n1"), PORT, &mut maps).unwrap();
    assert_eq!(in_map(&maps), not_known(OWN_LATER), "no address to send from");
}

/// An agent that started once took away a way that worked, until the neighbour had answered.
#[test]
fn a_way_of_an_earlier_agent_stays_until_there_is_an_answer() {
    let mut maps = maps();
    let old = hop(3, 1400);
    for (description, source, kept) in [("the same ends", OWN, true), ("another source", OWN_LATER, false)] {
        dataplane::set_next_hop(&mut maps, &target(OWN), Some(&old), PORT - 1).unwrap();
        let mut ways = Ways::default();
        ways.follow(&nodes(Some(source), "n1"), PORT, &mut maps).unwrap();
        let expected = if kept { written(source, &old, PORT) } else { not_known(source) };
        check(&mut ways, &mut maps, source, &[(description, PENDING, expected)]);
        assert_eq!(ways.smallest_mtu(Family::V4), kept.then_some(1400), "{description}");
        assert_eq!(ways.problems(None).is_empty(), kept, "{description}");
        check(&mut ways, &mut maps, source, &[("it does not answer", FAILED, not_known(source))]);
    }
}

#[test]
fn names_follow_renames() {
    let (mut maps, mut ways) = (maps(), Ways::default());
    ways.follow(&nodes(Some(OWN), "n1"), PORT, &mut maps).unwrap();
    ways.take(vec![(target(OWN), FAILED)], &mut maps).unwrap();
    let is_new = ways.follow(&nodes(Some(OWN), "renamed"), PORT, &mut maps).unwrap();
    assert!(!is_new, "the targets are the same");
    assert_eq!(ways.problems(None)[0].object.as_deref(), Some("Node renamed"));
}

#[test]
fn ways_over_devices_that_are_no_uplinks_are_problems() {
    let (mut maps, mut ways) = (maps(), Ways::default());
    ways.follow(&nodes(Some(OWN), "n1"), PORT, &mut maps).unwrap();
    ways.take(vec![(target(OWN), Ok(hop(3_000_000, 1500)))], &mut maps).unwrap();
    for (description, uplinks, expected) in [
        ("not known yet", None, 0),
        ("the device", Some(&[2, 3_000_000][..]), 0),
        ("the VLAN device over it", Some(&[3_000_001]), 0),
        ("another", Some(&[2]), 1),
    ] {
        assert_eq!(ways.problems(uplinks).len(), expected, "{description}");
    }
    let problem = ways.problems(Some(&[])).remove(0).to_string();
    assert_eq!(
        problem,
        "warning: Node n1: the way to 192.0.2.2 leads over device 3000001, which is no uplink: what this node sends for \
         it back is not taken out of the tunnel; name device 3000001 with --uplink too"
    );
}

/// Runs a test in a network namespace of its own, with a runtime and netlink.
fn in_namespace(test: impl FnOnce(Runtime, Hops, Maps) + Send + 'static) {
    let run = || {
        let maps = maps();
        unshare(CloneFlags::CLONE_NEWNET).expect("this test makes a network namespace: run it as root");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let hops = Hops::new(runtime.block_on(async { Netlink::open().unwrap() }));
        test(runtime, hops, maps);
    };
    thread::spawn(run).join().unwrap_or_else(|panic| resume_unwind(panic));
}

/// A connection that ended with its runtime.
fn broken_netlink() -> Netlink {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { Netlink::open().unwrap() })
}

/// The nodes once counted as followed before their ways had been looked up, and an error of netlink was forgotten.
#[test]
fn what_netlink_failed_at_is_a_problem_and_is_done_when_asked_again() {
    in_namespace(|runtime, mut hops, mut maps| {
        let working = std::mem::replace(&mut hops.netlink, broken_netlink());
        let applied = nodes(Some(OWN), "n1");
        runtime.block_on(async {
            hops.follow(&applied, PORT, &mut maps).await.unwrap_err();
            let problem = hops.problems().remove(0).to_string();
            let expected = "error: cannot look up the ways to other nodes, which stay as they are: ";
            assert!(problem.starts_with(expected), "{problem}");

            let broken = std::mem::replace(&mut hops.netlink, working);
            hops.follow(&applied, PORT, &mut maps).await.unwrap();
            let problems: Vec<String> = hops.problems().iter().map(ToString::to_string).collect();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains("no way to 192.0.2.2: there is no route"), "{problems:?}");

            hops.netlink = broken;
            hops.refresh(&mut maps).await.unwrap_err();
            assert!(hops.problems()[0].to_string().starts_with(expected));
        });
    });
}

#[test]
fn the_largest_segment_follows_the_narrowest_way() {
    in_namespace(|runtime, mut hops, mut maps| {
        let headers = (V4::TUNNEL_OVERHEAD + V4::IP_HEADER + lb_common::wire::TCP_HEADER) as u16;
        let mss4 = |maps: &Maps| maps.config.get(&0, 0).unwrap().0.mss4;
        // What an earlier agent left, for a way that is no more.
        let left = Config { mss4: 1000 - headers, mss6: 900, tunnel_port: PORT - 1, pad: 0, ghost_sets: 64 };
        maps.config.set(0, dataplane::Pod(left), 0).unwrap();
        dataplane::configure(&mut maps, 1500, PORT).unwrap();
        assert_eq!(mss4(&maps), 1000 - headers, "nobody knows better yet");
        hops.use_uplinks(vec![3], 1500);

        runtime.block_on(async {
            hops.follow(&Applied::default(), PORT, &mut maps).await.unwrap();
            assert_eq!(mss4(&maps), 1500 - headers, "there are no other nodes");
            let applied = nodes(Some(OWN), "n1");
            hops.follow(&applied, PORT, &mut maps).await.unwrap();

            for (mtu, expected) in [(1400, 1400), (9000, 1500), (1280, 1280)] {
                hops.ways.take(vec![(target(OWN), Ok(hop(3, mtu)))], &mut maps).unwrap();
                hops.fit_mss(&mut maps).unwrap();
                assert_eq!(mss4(&maps), expected - headers, "{mtu}");
            }
            // In this namespace there is no route: the narrow way goes.
            hops.refresh(&mut maps).await.unwrap();
            assert_eq!(mss4(&maps), 1500 - headers);
            assert_eq!(maps.config.get(&0, 0).unwrap().0.tunnel_port, PORT);
        });
    });
}
