//! Nobody is there, and the sender is told (or not).

use lb_common::{
    Action, Reason, Verdict,
    host::{Frame, FrameSpec, HEADROOM, checksums_are_valid},
    layout::frontend_flags,
    reject::MAX_PER_SECOND,
    wire::{Protocol, tcp_flags},
};

use crate::world::{DEVICE, HERE, NOBODY, PORT, change, client, handle, vip, world};

const REJECTED: Verdict = Verdict { action: Action::Transmit, reason: Reason::Rejected };

fn to(service: u32, is_v6: bool, protocol: Protocol) -> FrameSpec {
    let (source, destination) = ((client(9, is_v6), 40_000), (vip(service, is_v6), PORT));
    let spec = FrameSpec::udp(source, destination, &[1, 2, 3, 4, 5]);
    if protocol == Protocol::TCP { FrameSpec { protocol, flags: tcp_flags::SYN, ..spec } } else { spec }
}

#[test]
fn the_packet_turns_back_as_port_unreachable_with_its_headers_quoted() {
    for is_v6 in [false, true] {
        for (protocol, quoted) in [(Protocol::TCP, 20), (Protocol::UDP, 8)] {
            for tags in [vec![], vec![5], vec![5, 6]] {
                let request = FrameSpec { tags, ..to(NOBODY, is_v6, protocol) };
                let what = format!("{request:?}");
                let asked = request.build();
                let (verdict, told) = handle(&world(), &asked);
                assert_eq!(verdict, REJECTED, "{what}");
                assert!(checksums_are_valid(&told), "{what}");

                let l3 = 14 + 4 * request.tags.len();
                let ip = if is_v6 { 40 } else { 20 };
                assert_eq!((&told[..6], &told[6..12]), (&asked[6..12], &asked[..6]), "{what}: the way back");
                assert_eq!(told[12..l3], asked[12..l3], "{what}: tags and EtherType");
                let (source, destination) = if is_v6 { (8, 24) } else { (12, 16) };
                let width = if is_v6 { 16 } else { 4 };
                let at = |frame: &[u8], offset: usize| frame[l3 + offset..l3 + offset + width].to_vec();
                assert_eq!(at(&told, source), at(&asked, destination), "{what}: from the frontend");
                assert_eq!(at(&told, destination), at(&asked, source), "{what}: to the client");
                let (next, hops) = if is_v6 { (6, 7) } else { (9, 8) };
                assert_eq!(told[l3 + next], if is_v6 { 58 } else { 1 }, "{what}: the protocol");
                assert_eq!(told[l3 + hops], 64, "{what}: hops");
                assert_eq!(told[l3 + ip..][..2], if is_v6 { [1, 4] } else { [3, 3] }, "{what}: port unreachable");
                assert_eq!(told[l3 + ip + 4..][..4], [0; 4], "{what}: unused");
                assert_eq!(told[l3 + ip + 8..], asked[l3..l3 + ip + quoted], "{what}: the quote");
            }
        }
    }
}

#[test]
fn what_is_behind_the_packet_in_the_frame_is_not_quoted() {
    let mut padded = to(NOBODY, false, Protocol::UDP).build();
    padded.extend([0xaa; 20]);
    let (verdict, told) = handle(&world(), &padded);
    assert_eq!(verdict, REJECTED);
    assert_eq!(told.len(), 14 + 20 + 8 + 20 + 8);
}

#[test]
fn nothing_is_remembered_of_it() {
    let memory = world();
    for is_v6 in [false, true] {
        assert_eq!(handle(&memory, &to(NOBODY, is_v6, Protocol::TCP).build()).0, REJECTED);
    }
    let flows = memory.v4.flows.iter().map(|map| map.borrow().len()).sum::<usize>();
    let flows6 = memory.v6.flows.iter().map(|map| map.borrow().len()).sum::<usize>();
    assert_eq!((flows, flows6, memory.counts.borrow().len()), (0, 0, 0));
}

#[test]
fn where_others_have_a_backend_the_packet_is_dropped_in_silence() {
    for is_v6 in [false, true] {
        let mut memory = world();
        change(&mut memory, NOBODY, is_v6, |frontend| frontend.flags = frontend_flags::DROP_IF_EMPTY);
        let asked = to(NOBODY, is_v6, Protocol::TCP).build();
        assert_eq!(handle(&memory, &asked), (Verdict::drop(Reason::NoLocalBackend), asked));
        assert_eq!(memory.rejects.borrow().sent, 0);
    }
}

/// The flag says what becomes of new connections while nobody is there, not what becomes of those that go on.
#[test]
fn a_flow_that_is_held_lives_on_when_the_table_is_empty() {
    for flag in [0, frontend_flags::DROP_IF_EMPTY] {
        let mut memory = world();
        let syn = to(HERE, false, Protocol::TCP);
        let ack = FrameSpec { flags: tcp_flags::ACK, ..syn.clone() };
        assert_eq!(handle(&memory, &syn.build()).0, Verdict::pass(Reason::LocalNew));
        change(&mut memory, HERE, false, |frontend| (frontend.table_length, frontend.flags) = (0, flag));
        assert_eq!(handle(&memory, &ack.build()).0, Verdict::pass(Reason::LocalFlow));
        assert_ne!(handle(&memory, &syn.build()).0.action, Action::Pass, "a new connection finds nobody");
    }
}

#[test]
fn whoever_cannot_be_one_sender_is_not_told() {
    let sources = ["0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"];
    for source in sources {
        let source = source.parse().unwrap();
        let spec = FrameSpec { source, ..to(NOBODY, matches!(source, std::net::IpAddr::V6(_)), Protocol::UDP) };
        let memory = world();
        assert_eq!(handle(&memory, &spec.build()).0, Verdict::drop(Reason::BadSource), "{source}");
        assert_eq!(memory.rejects.borrow().sent, 0, "{source} is not counted as told");
    }
    for at in [0, 6] {
        let mut asked = to(NOBODY, false, Protocol::UDP).build();
        asked[at] |= 1;
        assert_eq!(handle(&world(), &asked).0, Verdict::drop(Reason::NoBackend), "Ethernet address at {at}");
    }
}

#[test]
fn so_many_are_told_in_a_second_and_the_rest_is_dropped() {
    let mut memory = world();
    let asked = to(NOBODY, false, Protocol::TCP).build();
    for turn in 0..MAX_PER_SECOND + 3 {
        let expected = if turn < MAX_PER_SECOND { REJECTED } else { Verdict::drop(Reason::NoBackend) };
        assert_eq!(handle(&memory, &asked).0, expected, "packet {turn}");
    }
    memory.now_seconds += 1;
    assert_eq!(handle(&memory, &asked).0, REJECTED);
}

#[test]
fn without_room_in_front_the_packet_is_dropped() {
    let asked = to(NOBODY, true, Protocol::TCP).build();
    for (headroom, expected) in [
        (HEADROOM, REJECTED),
        (48, REJECTED),
        (47, Verdict::drop(Reason::NoHeadroom)),
        (0, Verdict::drop(Reason::NoHeadroom)),
    ] {
        let mut frame = Frame::with_headroom(&asked, DEVICE, headroom);
        assert_eq!(lb_common::handle(&mut frame, &world()), expected, "{headroom} bytes");
    }
}
