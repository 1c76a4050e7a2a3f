//! Nodes and Pods of the cluster are not outside: what they begin is left to the kernel, and to kube-proxy in it.

use lb_common::{
    Reason, Verdict,
    host::{FrameSpec, Memory},
    layout::{INSIDE, frontend_flags},
    wire::tcp_flags,
};

use crate::world::{ELSEWHERE, HERE, NOBODY, PORT, change, client, handle, vip, world};

const LEFT: Verdict = Verdict::pass(Reason::FromInside);

/// A world in which the first client of each family is a node.
fn with_a_node() -> Memory {
    let mut memory = world();
    make_node(&mut memory);
    memory
}

fn make_node(memory: &mut Memory) {
    for is_v6 in [false, true] {
        match client(1, is_v6) {
            std::net::IpAddr::V4(node) => memory.v4.source_ranges.push((INSIDE, node.into(), 32)),
            std::net::IpAddr::V6(node) => memory.v6.source_ranges.push((INSIDE, node.into(), 128)),
        }
    }
}

#[test]
fn what_begins_inside_is_passed_untouched_and_forgotten() {
    for is_v6 in [false, true] {
        for service in [HERE, ELSEWHERE, NOBODY] {
            let memory = with_a_node();
            let first = FrameSpec::syn((client(1, is_v6), 40_000), (vip(service, is_v6), PORT));
            let next = FrameSpec { flags: tcp_flags::ACK, ..first.clone() };
            for frame in [first.build(), next.build(), first.build()] {
                assert_eq!(handle(&memory, &frame), (LEFT, frame.clone()), "{service}");
            }
            assert!(memory.v4.flows.iter().all(|flows| flows.borrow().is_empty()));
            assert!(memory.v6.flows.iter().all(|flows| flows.borrow().is_empty()));
        }
    }
}

#[test]
fn everybody_else_is_outside() {
    for is_v6 in [false, true] {
        let memory = with_a_node();
        let frame = FrameSpec::syn((client(2, is_v6), 40_000), (vip(HERE, is_v6), PORT)).build();
        assert_eq!(handle(&memory, &frame).0, Verdict::pass(Reason::LocalNew));
    }
}

#[test]
fn a_connection_that_is_held_goes_on_when_its_client_turns_out_to_be_inside() {
    let mut memory = world();
    let first = FrameSpec::syn((client(1, false), 40_000), (vip(HERE, false), PORT));
    let next = FrameSpec { flags: tcp_flags::ACK, ..first.clone() };
    assert_eq!(handle(&memory, &first.build()).0.reason, Reason::LocalNew);
    make_node(&mut memory);
    assert_eq!(handle(&memory, &next.build()).0, Verdict::pass(Reason::LocalFlow));
    assert_eq!(handle(&memory, &first.build()).0, LEFT, "a SYN begins another one");
}

/// kube-proxy asks the ranges of those that are left to it.
#[test]
fn the_source_ranges_are_not_asked() {
    let mut memory = with_a_node();
    change(&mut memory, HERE, false, |frontend| frontend.flags = frontend_flags::SOURCE_RANGES);
    let frame = FrameSpec::syn((client(1, false), 40_000), (vip(HERE, false), PORT)).build();
    assert_eq!(handle(&memory, &frame).0, LEFT);
}
