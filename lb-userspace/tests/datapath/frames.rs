//! Random frames around the world of [`crate::world`]: mostly sensible, often a little wrong.

use std::net::IpAddr;

use lb_common::{
    host::FrameSpec,
    wire::{Protocol, tcp_flags},
};

use crate::known_clients::KNOWN;
use crate::world::{
    Addresses, ORPHANED_PORT, PORT, REASSIGNED_PORT, TUNNEL_PORT, V4_ADDRESSES, V6_ADDRESSES, backend, node, vip,
};

/// Shortest frame that the kernel's test run of XDP takes: more than an Ethernet header, in bytes.
const LEAST_FRAME: usize = 15;
/// Shortest packet that the kernel's test run of tc takes: one whose IPv6 header is whole, in bytes.
const LEAST_PACKET: usize = 54;

/// A small reproducible generator (xorshift64*, Vigna 2016): the same seed gives the same frames everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        ((self.next() >> 32) as usize * limit) >> 32
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// A frame as it may arrive at an uplink.
pub(crate) fn arriving(random: &mut Random) -> Vec<u8> {
    let family = if random.one_in(2) { V4_ADDRESSES } else { V6_ADDRESSES };
    let mut frame = match random.below(10) {
        0..6 => request(random, family).build(),
        6..8 => tunnelled(random, family),
        8 => unhandled(random, family),
        _ => noise(random, LEAST_FRAME),
    };
    mutate(random, &mut frame, LEAST_FRAME);
    frame
}

/// A frame as it may leave by an uplink.
pub(crate) fn leaving(random: &mut Random) -> Vec<u8> {
    let family = if random.one_in(2) { V4_ADDRESSES } else { V6_ADDRESSES };
    let mut frame = match random.below(10) {
        0..8 => reply(random, family).build(),
        8 => unhandled(random, family),
        _ => noise(random, LEAST_PACKET),
    };
    mutate(random, &mut frame, LEAST_PACKET);
    frame
}

/// A TCP or UDP packet to a frontend, or nearly so.
fn request(random: &mut Random, family: Addresses) -> FrameSpec {
    let destination = match random.below(12) {
        0 => (family.client)(200),
        1 => (family.vip)(vip::MIXED),
        2 => (family.node)(0),
        _ => (family.vip)(random.pick(&vip::ALL)),
    };
    let port = if random.one_in(16) { PORT + 1 } else { PORT };
    let holds_clients = vip::AFFINES.iter().any(|affine| destination == (family.vip)(*affine));
    let client = random.below(if holds_clients { usize::from(KNOWN) } else { 8 });
    let client = if random.one_in(60) { (family.nobody)(random.below(4)) } else { (family.client)(client as u8) };
    let source = (client, source_port(random));
    let mut spec = if random.one_in(3) {
        FrameSpec::udp(source, (destination, port), &[])
    } else {
        let flags = [tcp_flags::SYN, tcp_flags::ACK, tcp_flags::ACK | tcp_flags::FIN, tcp_flags::RST, 0x12, 0xc2];
        FrameSpec::tcp(source, (destination, port), random.pick(&flags))
    };
    dress(random, &mut spec);
    spec
}

/// The answer of a Pod, or nearly so.
fn reply(random: &mut Random, family: Addresses) -> FrameSpec {
    let pod = match random.below(8) {
        0 => random.below(20) as u32,
        1 => backend::DRAINING,
        _ => backend::LOCAL,
    };
    let destination = ((family.client)(random.below(8) as u8), source_port(random));
    let source = ((family.pod)(pod), PORT);
    let mut spec = if random.one_in(3) {
        FrameSpec::udp(source, destination, &[])
    } else {
        let flags = [tcp_flags::SYN | tcp_flags::ACK, tcp_flags::ACK];
        FrameSpec::tcp(source, destination, random.pick(&flags))
    };
    dress(random, &mut spec);
    if spec.protocol == Protocol::TCP {
        let options: [&[u8]; 7] = [
            &[2, 4, 0x05, 0xb4],
            &[1, 2, 4, 0x05, 0xb4, 1, 1, 1],
            &[4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 2, 4, 0x23, 0],
            &[2, 4, 0x01, 0],
            &[0, 2, 4, 5],
            &[3, 0, 2, 4],
            &[],
        ];
        spec.options = random.pick(&options).to_vec();
    }
    spec
}

fn source_port(random: &mut Random) -> u16 {
    match random.below(8) {
        0 => ORPHANED_PORT + 2 * random.below(2) as u16,
        1 => REASSIGNED_PORT + 2 * random.below(2) as u16,
        _ => 32_768 + random.below(16) as u16,
    }
}

/// Tags and a payload.
fn dress(random: &mut Random, spec: &mut FrameSpec) {
    let tags = random.pick(&[0, 0, 0, 0, 1, 2, 3]);
    spec.tags = (0..tags).map(|tag| 100 + tag).collect();
    let length = random.pick(&[0, 0, 1, 7, 64, 65, 700, 1400]);
    spec.payload = (0..length).map(|_| random.next() as u8).collect();
}

/// A packet in our tunnel, or nearly so.
fn tunnelled(random: &mut Random, family: Addresses) -> Vec<u8> {
    let inner = request(random, family);
    let tagless = FrameSpec { tags: Vec::new(), ..inner.clone() }.build();
    let pod = (family.pod)(random.pick(&[backend::LOCAL, backend::LOCAL, backend::DRAINING, backend::REMOTE]));
    let mut payload = match pod {
        IpAddr::V4(pod) => {
            let mut geneve = vec![3, 0x40, 0x08, 0x00, 0, 0, 0, 0, 0xff, 0x4c, 0x81, 2];
            geneve.extend(pod.octets());
            geneve
        }
        IpAddr::V6(pod) => {
            let mut geneve = vec![6, 0x40, 0x86, 0xdd, 0, 0, 0, 0, 0xff, 0x4c, 0x81, 5];
            geneve.extend(pod.octets());
            geneve
        }
    };
    payload.extend(PORT.to_be_bytes());
    payload.extend([0, 0]);
    if random.one_in(6) {
        let at = random.below(payload.len());
        payload[at] ^= 1 << random.below(8);
    }
    payload.extend(&tagless[14..]);
    let from = if random.one_in(8) { 99 } else { node::PLAIN };
    let mut outer = FrameSpec::udp(((family.node)(from), 50_000), ((family.node)(0), TUNNEL_PORT), &payload);
    outer.tags = inner.tags;
    outer.build()
}

/// What the datapath leaves alone: fragments, options, extension headers, other protocols.
fn unhandled(random: &mut Random, family: Addresses) -> Vec<u8> {
    let mut spec = request(random, family);
    spec.tags.clear();
    let mut frame = spec.build();
    let is_v4 = frame[12] == 0x08;
    match (random.below(4), is_v4) {
        (0, true) => frame[20] = random.pick(&[0x20, 0x00, 0x1f]) | 0x20,
        (1, true) => frame[14] = random.pick(&[0x46, 0x4f, 0x44, 0x55, 0x00]),
        (_, true) => frame[23] = random.pick(&[1, 2, 50, 132, 41]),
        (0, false) => frame[14] = random.pick(&[0x40, 0x50, 0x70]),
        (_, false) => frame[20] = random.pick(&[0, 43, 44, 51, 60, 58, 132, 59]),
    }
    frame
}

/// Anything.
fn noise(random: &mut Random, least: usize) -> Vec<u8> {
    let length = least + random.below(120);
    let mut frame: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
    if random.one_in(2) {
        frame[12..14].copy_from_slice(&random.pick(&[[0x08, 0x00], [0x86, 0xdd], [0x08, 0x06], [0x81, 0x00]]));
    }
    frame
}

/// Now and then: bits flipped, the end cut off, padding added.
fn mutate(random: &mut Random, frame: &mut Vec<u8>, least: usize) {
    match random.below(8) {
        0 => {
            for _ in 0..=random.below(4) {
                let at = random.below(frame.len().min(140));
                frame[at] ^= 1 << random.below(8);
            }
        }
        1 => frame.truncate(least + random.below(frame.len().saturating_sub(least) + 1)),
        2 => frame.extend((0..random.below(30)).map(|_| 0)),
        _ => {}
    }
}
