//! Sources that cannot be: nobody is answered, nothing is remembered, no Pod sees them.

use std::net::IpAddr;

use lb_common::{
    Reason,
    host::FrameSpec,
    wire::{Protocol, tcp_flags},
};

use crate::world::{HERE, NOBODY, PORT, client, is_kept_out, is_sent_on, request, vip};

const NOT_ONE_HOST: [&str; 13] = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "ff02::1",
    "ff0e::1",
    "ffff::1",
];

/// Every flag that a packet may begin with: also what pretends to be in the middle of something.
const FLAGS: [u8; 5] = [tcp_flags::SYN, tcp_flags::ACK, tcp_flags::SYN | tcp_flags::ACK, tcp_flags::RST, 0];

fn check(what: &str, spec: &FrameSpec) {
    for service in [HERE, 2, NOBODY] {
        let destination = vip(service, spec.source.is_ipv6());
        let spec = FrameSpec { destination, ..spec.clone() };
        is_kept_out(&format!("{what} over UDP"), &FrameSpec { protocol: Protocol::UDP, ..spec.clone() }.build(), KEPT);
        for flags in FLAGS {
            let frame = FrameSpec { flags, protocol: Protocol::TCP, ..spec.clone() }.build();
            is_kept_out(&format!("{what} with flags {flags:#x}"), &frame, KEPT);
        }
    }
}

const KEPT: &[Reason] = &[Reason::BadSource];

#[test]
fn who_is_not_one_host_is_kept_out() {
    for source in NOT_ONE_HOST {
        let source: IpAddr = source.parse().unwrap();
        let spec = FrameSpec { source, ..request(source.is_ipv6(), Protocol::TCP) };
        check(&source.to_string(), &spec);
    }
}

#[test]
fn a_frontend_as_the_source_is_kept_out_the_packets_own_and_any_other() {
    for is_v6 in [false, true] {
        for service in [HERE, 2, NOBODY] {
            let spec = FrameSpec { source: vip(service, is_v6), source_port: PORT, ..request(is_v6, Protocol::TCP) };
            check(&format!("frontend {service}, IPv6: {is_v6}"), &spec);
        }
    }
}

#[test]
fn the_address_of_a_frontend_with_another_port_is_anybodys() {
    for is_v6 in [false, true] {
        let other = FrameSpec { source: vip(2, is_v6), ..request(is_v6, Protocol::TCP) };
        is_sent_on("another port", &other.build(), Reason::LocalNew);
        let host = FrameSpec { source: client(1, is_v6), ..other };
        is_sent_on("a client", &host.build(), Reason::LocalNew);
    }
}

/// The packet of an address that is all ones on the wire, by groups of frames: nobody is told by ICMP.
#[test]
fn frames_to_everybody_are_not_answered() {
    for is_v6 in [false, true] {
        let mut frame = FrameSpec { destination: vip(NOBODY, is_v6), ..request(is_v6, Protocol::UDP) }.build();
        for (what, at) in [("to a group of stations", 0), ("from a group of stations", 6)] {
            frame[at] |= 1;
            is_kept_out(what, &frame, &[Reason::NoBackend]);
            frame[at] &= !1;
        }
    }
}
