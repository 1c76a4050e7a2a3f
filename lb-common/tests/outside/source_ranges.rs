//! `spec.loadBalancerSourceRanges`: who is in none of them begins nothing.

use std::net::IpAddr;

use lb_common::{
    Reason, Verdict,
    host::{FrameSpec, Memory},
    layout::{Flow, backend_state, frontend_flags},
    wire::tcp_flags,
};

use crate::world::{ELSEWHERE, HERE, NOBODY, PORT, change, client, handle, vip, world};

const REFUSED: Verdict = Verdict::drop(Reason::SourceRange);

/// A world in which both families' frontends of all Service ports ask, and this one has these ranges.
fn asking(service: u32, ranges: &[&str]) -> Memory {
    let mut memory = world();
    for is_v6 in [false, true] {
        for service in [HERE, ELSEWHERE, NOBODY] {
            change(&mut memory, service, is_v6, |frontend| frontend.flags = frontend_flags::SOURCE_RANGES);
        }
    }
    allow(&mut memory, service, ranges);
    memory
}

fn allow(memory: &mut Memory, service: u32, ranges: &[&str]) {
    memory.v4.source_ranges.clear();
    memory.v6.source_ranges.clear();
    for range in ranges {
        let (first, bits) = range.split_once('/').unwrap();
        let bits = bits.parse().unwrap();
        match first.parse().unwrap() {
            IpAddr::V4(first) => memory.v4.source_ranges.push((service, first.into(), bits)),
            IpAddr::V6(first) => memory.v6.source_ranges.push((service, first.into(), bits)),
        }
    }
}

fn syn(source: &str, service: u32) -> Vec<u8> {
    let source: IpAddr = source.parse().unwrap();
    FrameSpec::syn((source, 40_000), (vip(service, source.is_ipv6()), PORT)).build()
}

#[test]
fn those_in_a_range_come_in_and_all_others_do_not() {
    let cases: [(&[&str], &str, bool); 16] = [
        (&["198.51.100.0/24"], "198.51.100.0", true),
        (&["198.51.100.0/24"], "198.51.100.255", true),
        (&["198.51.100.0/24"], "198.51.101.0", false),
        (&["198.51.100.0/24"], "198.51.99.255", false),
        (&["198.51.100.7/32", "10.0.0.0/8"], "198.51.100.7", true),
        (&["198.51.100.7/32", "10.0.0.0/8"], "10.255.0.1", true),
        (&["198.51.100.7/32", "10.0.0.0/8"], "198.51.100.6", false),
        (&["0.0.0.0/0"], "8.8.8.8", true),
        (&["0.0.0.0/0"], "2001:db8::1", false),
        (&["::/0"], "2001:db8::1", true),
        (&["::/0"], "8.8.8.8", false),
        (&["2001:db8:1::/48"], "2001:db8:1:ffff::1", true),
        (&["2001:db8:1::/48"], "2001:db8:2::1", false),
        (&["2001:db8::7/128"], "2001:db8::7", true),
        (&["2001:db8::7/128"], "2001:db8::6", false),
        (&[], "198.51.100.7", false),
    ];
    for (ranges, source, expected) in cases {
        let asked = syn(source, HERE);
        let (verdict, bytes) = handle(&asking(HERE, ranges), &asked);
        let wanted = if expected { Verdict::pass(Reason::LocalNew) } else { REFUSED };
        assert_eq!(verdict, wanted, "{source} and {ranges:?}");
        assert!(expected || bytes == asked, "{source}: untouched");
    }
}

#[test]
fn ranges_are_one_service_ports() {
    let memory = asking(ELSEWHERE, &["0.0.0.0/0"]);
    assert_eq!(handle(&memory, &syn("8.8.8.8", HERE)).0, REFUSED);
    assert_eq!(handle(&memory, &syn("8.8.8.8", ELSEWHERE)).0.reason, Reason::RemoteNew);
}

/// A node port of the same Service is such a frontend.
#[test]
fn a_frontend_that_does_not_ask_is_open() {
    let mut memory = asking(HERE, &["10.0.0.0/8"]);
    change(&mut memory, HERE, false, |_| {});
    assert_eq!(handle(&memory, &syn("8.8.8.8", HERE)).0, Verdict::pass(Reason::LocalNew));
}

#[test]
fn who_is_refused_is_not_told_that_nobody_is_there() {
    let memory = asking(NOBODY, &["10.0.0.0/8"]);
    assert_eq!(handle(&memory, &syn("8.8.8.8", NOBODY)).0, REFUSED);
    assert_eq!(handle(&memory, &syn("10.0.0.1", NOBODY)).0.reason, Reason::Rejected);
}

#[test]
fn a_connection_lives_on_when_the_ranges_change_but_no_new_one_begins() {
    for is_v6 in [false, true] {
        let open = if is_v6 { "::/0" } else { "0.0.0.0/0" };
        let mut memory = asking(HERE, &[open]);
        let first = FrameSpec::syn((client(9, is_v6), 40_000), (vip(HERE, is_v6), PORT));
        let next = FrameSpec { flags: tcp_flags::ACK, ..first.clone() };
        assert_eq!(handle(&memory, &first.build()).0.reason, Reason::LocalNew);
        allow(&mut memory, HERE, &[]);
        for _ in 0..2 {
            assert_eq!(handle(&memory, &next.build()).0, Verdict::pass(Reason::LocalFlow));
        }
        assert_eq!(handle(&memory, &first.build()).0, REFUSED, "a SYN on a known flow begins another connection");
        assert_eq!(handle(&memory, &next.build()).0, Verdict::pass(Reason::LocalFlow), "the first goes on");
        let other = FrameSpec { source_port: 40_001, ..next };
        assert_eq!(handle(&memory, &other.build()).0, REFUSED, "of a flow that nobody knows");
    }
}

#[test]
fn a_flow_whose_pod_is_gone_is_asked_again() {
    let mut memory = asking(HERE, &["0.0.0.0/0"]);
    let first = FrameSpec::syn((client(9, false), 40_000), (vip(HERE, false), PORT));
    let next = FrameSpec { flags: tcp_flags::ACK, ..first.clone() };
    assert_eq!(handle(&memory, &first.build()).0.reason, Reason::LocalNew);
    memory.backends[HERE as usize].state = backend_state::GONE;
    memory.slots[HERE as usize] = ELSEWHERE;
    allow(&mut memory, HERE, &[]);
    assert_eq!(handle(&memory, &next.build()).0, REFUSED);
    allow(&mut memory, HERE, &["0.0.0.0/0"]);
    assert_eq!(handle(&memory, &next.build()).0.reason, Reason::RemoteMoved);
}

#[test]
fn nothing_is_remembered_of_who_is_refused_nor_is_a_client_that_is_held() {
    let mut memory = asking(HERE, &["0.0.0.0/0"]);
    let held = frontend_flags::SOURCE_RANGES | frontend_flags::CLIENT_AFFINITY;
    change(&mut memory, HERE, false, |frontend| {
        (frontend.flags, frontend.client_prefix, frontend.affinity_timeout_seconds) = (held, 32, 60);
    });
    let first = FrameSpec::syn((client(9, false), 40_000), (vip(HERE, false), PORT));
    assert_eq!(handle(&memory, &first.build()).0.reason, Reason::LocalNew);
    let all = |memory: &Memory| {
        let flows: Vec<Vec<Flow>> =
            memory.v4.flows.iter().map(|map| map.borrow().values().copied().collect()).collect();
        let clients: Vec<Vec<_>> =
            memory.v4.affinity.iter().map(|map| map.borrow().values().copied().collect()).collect();
        (flows, clients)
    };
    let before = all(&memory);

    allow(&mut memory, HERE, &[]);
    memory.now_seconds += 5;
    let again = FrameSpec { source_port: 40_001, ..first.clone() };
    let stranger = FrameSpec { source: client(10, false), ..first };
    for spec in [again, stranger] {
        assert_eq!(handle(&memory, &spec.build()).0, REFUSED);
    }
    assert_eq!(all(&memory), before);
    assert!(memory.breaks.borrow().is_empty());
    assert!(memory.counts.borrow().values().all(|counts| counts.packets == 1));
}
