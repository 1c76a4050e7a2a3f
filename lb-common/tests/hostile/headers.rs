//! What stands before the transport header: chains of IPv6 extension headers, stacks of VLAN tags, other EtherTypes.

use lb_common::{Reason, host::FrameSpec, wire::Protocol};

use crate::world::{is_kept_out, is_sent_on, request};

const L3: usize = 14;
const L4: usize = L3 + 40;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const TCP: u8 = 6;

/// A SYN with these headers of 8 bytes each in front of TCP, `body` being what follows next header and length.
fn chain(headers: &[u8], body: [u8; 6]) -> Vec<u8> {
    let mut frame = request(true, Protocol::TCP).build();
    let mut inserted = Vec::new();
    for (index, _) in headers.iter().enumerate() {
        let next = headers.get(index + 1).copied().unwrap_or(TCP);
        inserted.extend([next, 0]);
        inserted.extend(body);
    }
    frame[L3 + 6] = headers.first().copied().unwrap_or(TCP);
    let length = u16::from_be_bytes([frame[L3 + 4], frame[L3 + 5]]) + inserted.len() as u16;
    frame[L3 + 4..L3 + 6].copy_from_slice(&length.to_be_bytes());
    frame.splice(L4..L4, inserted);
    frame
}

#[test]
fn chains_of_extension_headers_are_left_to_the_kernel() {
    let padding = [1, 4, 0, 0, 0, 0];
    is_sent_on("no chain", &chain(&[], padding), Reason::LocalNew);
    let cases: [(&str, Vec<u8>, Reason); 10] = [
        ("hop-by-hop options", vec![HOP_BY_HOP], Reason::ExtensionHeader),
        ("destination options", vec![DESTINATION], Reason::ExtensionHeader),
        ("a routing header", vec![ROUTING], Reason::ExtensionHeader),
        ("an authentication header", vec![AUTHENTICATION], Reason::ExtensionHeader),
        ("a fragment", vec![FRAGMENT], Reason::Fragment),
        ("a fragment behind hop-by-hop options", vec![HOP_BY_HOP, FRAGMENT], Reason::ExtensionHeader),
        ("a fragment before others", vec![FRAGMENT, DESTINATION, ROUTING], Reason::Fragment),
        ("a long chain", vec![DESTINATION; 150], Reason::ExtensionHeader),
        ("hop-by-hop options in the wrong place", vec![DESTINATION, HOP_BY_HOP], Reason::ExtensionHeader),
        ("every kind", vec![HOP_BY_HOP, DESTINATION, ROUTING, AUTHENTICATION, FRAGMENT], Reason::ExtensionHeader),
    ];
    for (what, headers, expected) in cases {
        is_kept_out(what, &chain(&headers, padding), &[expected]);
    }
}

#[test]
fn a_jumbogram_is_left_to_the_kernel() {
    let mut frame = chain(&[HOP_BY_HOP], [0xc2, 4, 0, 1, 0, 0]);
    frame[L3 + 4..L3 + 6].fill(0);
    is_kept_out("a jumbogram (RFC 2675)", &frame, &[Reason::ExtensionHeader]);
    let mut frame = request(true, Protocol::TCP).build();
    frame[L3 + 4..L3 + 6].fill(0);
    is_kept_out("the length of a jumbogram, without its option", &frame, &[Reason::BadLength]);
}

#[test]
fn fragments_are_left_to_the_kernel() {
    for (what, body) in [
        ("an atomic fragment (RFC 6946)", [0, 0, 0, 0, 0, 1]),
        ("a first one", [0, 1, 0, 0, 0, 1]),
        ("a later one", [0, 9, 0, 0, 0, 1]),
        ("one at the end of what there can be", [0xff, 0xf8, 0, 0, 0, 1]),
    ] {
        is_kept_out(what, &chain(&[FRAGMENT], body), &[Reason::Fragment]);
    }
    for protocol in [Protocol::TCP, Protocol::UDP] {
        for (what, bytes) in [("first", [0x20, 0]), ("later", [0, 1]), ("last", [0x1f, 0xff]), ("odd", [0x60, 0])] {
            let mut frame = request(false, protocol).build();
            frame[L3 + 6..L3 + 8].copy_from_slice(&bytes);
            is_kept_out(&format!("the {what} fragment of IPv4"), &frame, &[Reason::Fragment]);
        }
    }
}

#[test]
fn whatever_is_neither_tcp_nor_udp_is_left_to_the_kernel() {
    for is_v6 in [false, true] {
        for number in (0..=255_u8).filter(|number| ![6, 17].contains(number)) {
            let mut frame = request(is_v6, Protocol::TCP).build();
            frame[L3 + if is_v6 { 6 } else { 9 }] = number;
            let expected = match number {
                FRAGMENT if is_v6 => Reason::Fragment,
                HOP_BY_HOP | ROUTING | DESTINATION | AUTHENTICATION if is_v6 => Reason::ExtensionHeader,
                _ => Reason::OtherProtocol,
            };
            is_kept_out(&format!("protocol {number}"), &frame, &[expected]);
        }
    }
}

#[test]
fn stacks_of_tags() {
    for is_v6 in [false, true] {
        for tags in 0..6 {
            for (what, tag) in [("tags", 100), ("priority tags", 0xe000), ("tags of VLAN 4095", 0x0fff)] {
                let frame = FrameSpec { tags: vec![tag; tags], ..request(is_v6, Protocol::TCP) }.build();
                let what = format!("{tags} {what}");
                match tags {
                    0..3 => is_sent_on(&what, &frame, Reason::LocalNew),
                    _ => is_kept_out(&what, &frame, &[Reason::TooManyTags]),
                }
            }
        }
    }
}

#[test]
fn other_ethertypes_are_left_to_the_kernel() {
    for tags in 0..3 {
        let right = FrameSpec { tags: vec![1; tags], ..request(false, Protocol::TCP) }.build();
        let at = 12 + 4 * tags;
        for (what, ether_type) in [
            ("ARP", 0x0806_u16),
            ("an old double tag", 0x9100),
            ("MPLS", 0x8847),
            ("PPPoE", 0x8864),
            ("a length (IEEE 802.3)", 46),
            ("nothing", 0),
            ("all ones", 0xffff),
        ] {
            let mut frame = right.clone();
            frame[at..at + 2].copy_from_slice(&ether_type.to_be_bytes());
            is_kept_out(&format!("{what} behind {tags} tags"), &frame, &[Reason::NotIp]);
        }
        let mut other = right.clone();
        other[at..at + 2].copy_from_slice(&[0x86, 0xdd]);
        is_kept_out("IPv4 that says that it is IPv6", &other, &[Reason::Truncated]);
    }
}
