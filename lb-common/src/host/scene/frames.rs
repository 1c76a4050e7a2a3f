//! Frames around a small world, of any bytes: mostly sensible, often a little wrong, sometimes just the bytes.

use core::net::IpAddr;
use std::vec::Vec;

use super::{BACKENDS, CLIENTS, NODES, PORT, SERVICES, THIS_NODE, TUNNEL_PORT, client, node, pod, vip};
use crate::{
    host::{FrameSpec, Input},
    reason::Program,
    wire::tcp_flags,
};

/// The first of the clients' ports.
pub(super) const FIRST_PORT: u16 = 4_000;
/// Most bytes of a payload, and of a frame that is just bytes.
const MOST_BYTES: usize = 256;
const FLAGS: [u8; 6] = [
    tcp_flags::SYN,
    tcp_flags::ACK,
    tcp_flags::SYN | tcp_flags::ACK,
    tcp_flags::FIN | tcp_flags::ACK,
    tcp_flags::RST,
    0xff,
];

/// A frame that may meet this program.
pub(super) fn frame(input: &mut Input<'_>, program: Program) -> Vec<u8> {
    let is_v6 = input.one_in(2);
    let mut frame = match (program, input.below(8)) {
        (_, 7) => {
            let length = usize::from(input.byte());
            input.take(length.min(MOST_BYTES)).to_vec()
        }
        (Program::Egress, _) => reply(input, is_v6).build(),
        (Program::Ingress, 0..4) => request(input, is_v6).build(),
        (Program::Ingress, _) => tunnelled(input, is_v6),
    };
    mutate(input, &mut frame);
    frame
}

/// A packet to a frontend, or nearly so.
fn request(input: &mut Input<'_>, is_v6: bool) -> FrameSpec {
    let destination = match input.below(16) {
        15 => node(is_v6, THIS_NODE),
        14 => pod(is_v6, BACKENDS + input.below((SERVICES * BACKENDS) as usize) as u32),
        _ => vip(is_v6, 1 + input.below(SERVICES as usize) as u32),
    };
    let source = match input.below(16) {
        15 => destination,
        14 => "255.255.255.255".parse().unwrap_or(destination),
        13 => node(is_v6, 1),
        _ => client(is_v6, input.below(CLIENTS.into()) as u8),
    };
    let source = if source.is_ipv6() == is_v6 { source } else { destination };
    let port = if input.one_in(8) { TUNNEL_PORT } else { PORT };
    let source = (source, FIRST_PORT + u16::from(input.byte() % 4));
    dress(input, source, (destination, port))
}

/// A Pod's answer, or nearly so.
fn reply(input: &mut Input<'_>, is_v6: bool) -> FrameSpec {
    let number = BACKENDS + input.below((SERVICES * BACKENDS) as usize) as u32;
    let source = (pod(is_v6, number), PORT + u16::from(input.one_in(4)));
    let destination = client(is_v6, input.below(CLIENTS.into()) as u8);
    let destination = (destination, FIRST_PORT + u16::from(input.byte() % 4));
    dress(input, source, destination)
}

fn dress(input: &mut Input<'_>, source: (IpAddr, u16), destination: (IpAddr, u16)) -> FrameSpec {
    let length = input.pick(&[0, 1, 8, 33, 120]);
    let payload = input.take(length);
    let mut spec = if input.one_in(3) {
        FrameSpec::udp(source, destination, payload)
    } else {
        let mut spec = FrameSpec::tcp(source, destination, input.pick(&FLAGS));
        let options: [&[u8]; 4] = [&[], &[2, 4, 0x05, 0xb4], &[1, 2, 4, 0x23, 0, 1, 1, 1], &[3, 0, 2, 4]];
        spec.options = input.pick(&options).to_vec();
        spec.payload = payload.to_vec();
        spec
    };
    let tags = input.pick(&[0, 0, 0, 1, 2, 3, 5]);
    spec.tags = (0..tags).collect();
    spec
}

/// A packet in our tunnel, or nearly so: perhaps from a stranger, with another option, for another Pod, or twice inside.
fn tunnelled(input: &mut Input<'_>, is_v6: bool) -> Vec<u8> {
    let mut spec = request(input, is_v6);
    spec.tags.clear();
    let mut inner = spec.build();
    for _ in 0..=usize::from(input.one_in(8)) {
        let pod = pod(is_v6, BACKENDS + input.below((SERVICES * BACKENDS) as usize) as u32);
        let mut payload = match pod {
            IpAddr::V4(pod) => [&[3, 0x40, 0x08, 0x00, 0, 0, 0, 0, 0xff, 0x4c, 0x81, 2][..], &pod.octets()].concat(),
            IpAddr::V6(pod) => [&[6, 0x40, 0x86, 0xdd, 0, 0, 0, 0, 0xff, 0x4c, 0x81, 5][..], &pod.octets()].concat(),
        };
        payload.extend((PORT + u16::from(input.one_in(4))).to_be_bytes());
        payload.extend([0, 0]);
        if input.one_in(4) {
            let at = input.below(payload.len());
            payload[at] = input.byte();
        }
        payload.extend(&inner[14..]);
        let from = if input.one_in(8) { client(is_v6, 0) } else { node(is_v6, 1 + input.below(NODES as usize) as u32) };
        inner = FrameSpec::udp((from, 50_000), (node(is_v6, THIS_NODE), TUNNEL_PORT), &payload).build();
    }
    inner
}

/// Offsets in an untagged frame of what says how long it is and what comes next: EtherType; of IPv4 version and length,
/// total length, fragment, protocol; of IPv6 payload length and next header; lengths in UDP and TCP.
const TELLING: [u8; 15] = [12, 13, 14, 16, 17, 18, 19, 20, 21, 23, 38, 39, 46, 58, 66];

/// Perhaps: a header that lies, bytes overwritten, the end cut off, padding added.
fn mutate(input: &mut Input<'_>, frame: &mut Vec<u8>) {
    match input.below(8) {
        4 => {
            if let Some(byte) = frame.get_mut(usize::from(input.pick(&TELLING))) {
                *byte = input.byte();
            }
        }
        7 => {
            for _ in 0..=input.below(4) {
                let at = usize::from(input.byte());
                if let Some(byte) = frame.get_mut(at) {
                    *byte = input.byte();
                }
            }
        }
        6 => frame.truncate(usize::from(input.word() % 512)),
        5 => frame.extend(input.take(20)),
        _ => {}
    }
}
