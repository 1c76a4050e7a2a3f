//! Packets, bytes and new flows by Service port.

use lb_common::{
    Reason,
    host::{FrameSpec, Memory},
    layout::{ServiceCounts, Way, backend_state},
    wire::tcp_flags,
};

use crate::world::{ELSEWHERE, HERE, NOBODY, PORT, change, client, handle, vip, world};

fn counts(memory: &Memory, service: u32) -> ServiceCounts {
    memory.counts.borrow().get(&service).copied().unwrap_or_default()
}

#[test]
fn packets_and_their_bytes_from_the_ip_header_on_and_flows_that_begin() {
    for (service, is_v6) in [(HERE, false), (HERE, true), (ELSEWHERE, false), (ELSEWHERE, true)] {
        let memory = world();
        let syn = FrameSpec::syn((client(9, is_v6), 40_000), (vip(service, is_v6), PORT));
        let data = FrameSpec { flags: tcp_flags::ACK, tags: vec![5], payload: vec![0; 101], ..syn.clone() };
        let headers = if is_v6 { 60 } else { 40 };
        let mut expected = ServiceCounts::default();
        // A SYN that comes again begins another connection, as far as it can be told.
        for (spec, begins) in [(&syn, 1), (&data, 0), (&data, 0), (&syn, 1)] {
            // What the frame has behind the packet does not count.
            let padded = [spec.build(), vec![0; 7]].concat();
            assert_ne!(handle(&memory, &padded).0.action, lb_common::Action::Drop);
            expected.packets += 1;
            expected.bytes += headers + spec.payload.len() as u64;
            expected.new_flows += begins;
            assert_eq!(counts(&memory, service), expected, "service {service}, IPv6 {is_v6}");
        }
    }
}

#[test]
fn a_flow_that_moves_did_not_begin() {
    let mut memory = world();
    let syn = FrameSpec::syn((client(9, false), 40_000), (vip(HERE, false), PORT));
    handle(&memory, &syn.build());
    memory.backends[HERE as usize].state = backend_state::GONE;
    memory.slots[HERE as usize] = ELSEWHERE;
    let ack = FrameSpec { flags: tcp_flags::ACK, ..syn };
    assert_eq!(handle(&memory, &ack.build()).0.reason, Reason::RemoteMoved);
    assert_eq!(counts(&memory, HERE), ServiceCounts { packets: 2, bytes: 80, new_flows: 1 });
}

#[test]
fn what_reaches_no_pod_does_not_count() {
    let mut memory = world();
    change(&mut memory, HERE, false, |frontend| frontend.table_offset = 0);
    memory.v4.next_hops.values_mut().for_each(|hop| hop.way = Way::default());
    for (service, reason) in [(HERE, Reason::BadTable), (ELSEWHERE, Reason::NoNextHop), (NOBODY, Reason::Rejected)] {
        let syn = FrameSpec::syn((client(9, false), 40_000), (vip(service, false), PORT));
        assert_eq!(handle(&memory, &syn.build()).0.reason, reason);
    }
    assert_eq!(memory.counts.borrow().len(), 0);
}

#[test]
fn sums_are_of_all_three() {
    let one = ServiceCounts { packets: 1, bytes: 20, new_flows: 3 };
    assert_eq!(one.and(one), ServiceCounts { packets: 2, bytes: 40, new_flows: 6 });
}
