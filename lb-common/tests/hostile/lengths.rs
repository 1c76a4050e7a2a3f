//! Headers that lie about lengths, and packets that end anywhere.

use lb_common::{
    Reason,
    host::{FrameSpec, run_and_check},
    reason::Program,
    wire::Protocol,
};

use crate::world::{DEVICE, HERE, POD_PORT, is_kept_out, is_sent_on, pod, request, world};

/// Offset of the IP header, in bytes.
const L3: usize = 14;
const PROTOCOLS: [Protocol; 2] = [Protocol::TCP, Protocol::UDP];

fn l4(is_v6: bool) -> usize {
    L3 + if is_v6 { 40 } else { 20 }
}

fn set(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[test]
fn ipv4_header_lengths_and_versions() {
    for protocol in PROTOCOLS {
        let right = request(false, protocol).build();
        for first in 0..=255 {
            let expected = match first {
                0x45 => continue,
                0x46..=0x4f => Reason::IpOptions,
                _ => Reason::Truncated,
            };
            let mut frame = right.clone();
            frame[L3] = first;
            is_kept_out(&format!("IPv4 that begins with {first:#x}"), &frame, &[expected]);
        }
    }
}

#[test]
fn ipv6_versions() {
    for version in (0..16).filter(|version| *version != 6) {
        let mut frame = request(true, Protocol::TCP).build();
        frame[L3] = version << 4;
        is_kept_out(&format!("IPv6 of version {version}"), &frame, &[Reason::Truncated]);
    }
}

#[test]
fn ip_lengths() {
    for protocol in PROTOCOLS {
        for is_v6 in [false, true] {
            let right = request(is_v6, protocol).build();
            let (field, fixed) = if is_v6 { (L3 + 4, 40) } else { (L3 + 2, 0) };
            let transport = if protocol == Protocol::TCP { 20 } else { 8 };
            let least = l4(is_v6) - L3 + transport;
            let whole = right.len() - L3;
            // Of UDP, the length in its own header must fit, too.
            let least = if protocol == Protocol::TCP { least } else { whole };
            let wrong = (fixed..least).chain([whole + 1, whole + 100, usize::from(u16::MAX)]);
            for length in wrong {
                let mut frame = right.clone();
                set(&mut frame, field, (length - fixed) as u16);
                is_kept_out(&format!("{length} bytes of {whole}"), &frame, &[Reason::BadLength]);
            }
            let mut padded = right.clone();
            padded.extend([0xaa; 30]);
            is_sent_on("padding behind the packet", &padded, Reason::LocalNew);
        }
    }
}

#[test]
fn tcp_header_lengths() {
    for is_v6 in [false, true] {
        for (options, payload) in [(0, 0), (8, 0), (40, 0), (0, 100)] {
            let spec =
                FrameSpec { options: vec![1; options], payload: vec![0; payload], ..request(is_v6, Protocol::TCP) };
            let right = spec.build();
            for words in 0..16_u8 {
                let mut frame = right.clone();
                frame[l4(is_v6) + 12] = words << 4;
                let what = format!("a TCP header of {words} words, {options} bytes of options, {payload} of payload");
                let is_possible = words >= 5 && usize::from(words) * 4 <= 20 + options + payload;
                match is_possible {
                    true => is_sent_on(&what, &frame, Reason::LocalNew),
                    false => is_kept_out(&what, &frame, &[Reason::BadLength]),
                }
            }
        }
    }
}

#[test]
fn udp_lengths() {
    for is_v6 in [false, true] {
        let right = request(is_v6, Protocol::UDP).build();
        let whole = (right.len() - l4(is_v6)) as u16;
        for length in [0, 1, 7, whole + 1, whole + 8, 0x8000, u16::MAX] {
            let mut frame = right.clone();
            set(&mut frame, l4(is_v6) + 4, length);
            is_kept_out(&format!("a datagram of {length} bytes in {whole}"), &frame, &[Reason::BadLength]);
        }
        for length in [8, 9, whole - 1] {
            let mut frame = right.clone();
            set(&mut frame, l4(is_v6) + 4, length);
            is_sent_on(&format!("a datagram of {length} bytes in {whole}"), &frame, Reason::LocalNew);
        }
    }
}

#[test]
fn what_ends_anywhere_is_kept_out() {
    for protocol in PROTOCOLS {
        for is_v6 in [false, true] {
            for tags in 0..3 {
                let frame = FrameSpec { tags: vec![7; tags], ..request(is_v6, protocol) }.build();
                for length in 0..frame.len() {
                    let what = format!("{length} bytes of a packet with {tags} tags");
                    is_kept_out(&what, &frame[..length], &[Reason::Truncated, Reason::BadLength]);
                }
            }
        }
    }
}

/// What says no length, or a wrong one, is no whole packet to whoever checks it, but a Pod's reply all the same: the kernel
/// itself has such packets on the way out (BIG TCP).
#[test]
fn a_reply_that_lies_about_its_length_gets_its_source_all_the_same() {
    for protocol in PROTOCOLS {
        for is_v6 in [false, true] {
            let memory = world();
            let asked = request(is_v6, protocol);
            run_and_check(&memory, Program::Ingress, &asked.build(), DEVICE).unwrap();
            let said = FrameSpec {
                source: pod(HERE, is_v6),
                source_port: POD_PORT,
                destination: asked.source,
                destination_port: asked.source_port,
                ..asked
            };
            for length in [0, 1, 30, u16::MAX] {
                let mut frame = said.build();
                set(&mut frame, L3 + if is_v6 { 4 } else { 2 }, length);
                let outcome = run_and_check(&memory, Program::Egress, &frame, DEVICE).unwrap();
                assert_eq!(outcome.verdict.reason, Reason::ReplyRestored, "{length}, IPv6 {is_v6}");
            }
        }
    }
}
