//! Into the tunnel: from strangers, with other options, for other Pods, nested, cut off, in pieces.

use std::net::IpAddr;

use lb_common::{Reason, host::FrameSpec, wire::Protocol};

use crate::world::{HERE, POD_PORT, TUNNEL_PORT, client, is_kept_out, is_sent_on, node, pod, request, vip};

/// A packet in the tunnel, in parts that can be made wrong.
#[derive(Clone)]
struct Tunnelled {
    is_v6: bool,
    from: IpAddr,
    geneve: Vec<u8>,
    inner: Vec<u8>,
}

/// Offsets in the Geneve header and our option, in bytes.
mod at {
    pub(super) const LENGTH: usize = 0;
    pub(super) const FLAGS: usize = 1;
    pub(super) const PROTOCOL: usize = 2;
    pub(super) const CLASS: usize = 8;
    pub(super) const TYPE: usize = 10;
    pub(super) const OPTION_LENGTH: usize = 11;
    pub(super) const ADDRESS: usize = 12;
}

impl Tunnelled {
    /// As the other node sends it, for the Pod that is here.
    fn right(is_v6: bool, protocol: Protocol) -> Self {
        let inner = request(is_v6, protocol).build()[14..].to_vec();
        Self { is_v6, from: node(1, is_v6), geneve: geneve(pod(HERE, is_v6), POD_PORT), inner }
    }

    fn build(&self) -> Vec<u8> {
        let payload = [&self.geneve[..], &self.inner].concat();
        FrameSpec::udp((self.from, 50_000), (node(0, self.is_v6), TUNNEL_PORT), &payload).build()
    }
}

/// The header and the option that names a backend.
fn geneve(pod: IpAddr, port: u16) -> Vec<u8> {
    let mut bytes = match pod {
        IpAddr::V4(pod) => [&[3, 0x40, 0x08, 0x00, 0, 0, 0, 0, 0xff, 0x4c, 0x81, 2][..], &pod.octets()].concat(),
        IpAddr::V6(pod) => [&[6, 0x40, 0x86, 0xdd, 0, 0, 0, 0, 0xff, 0x4c, 0x81, 5][..], &pod.octets()].concat(),
    };
    bytes.extend(port.to_be_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// Each family with each protocol, and a name for it.
fn kinds() -> impl Iterator<Item = (String, Tunnelled)> {
    let protocols = [("TCP", Protocol::TCP), ("UDP", Protocol::UDP)];
    [false, true].into_iter().flat_map(move |is_v6| {
        let family = if is_v6 { "IPv6" } else { "IPv4" };
        protocols.map(|(name, protocol)| (format!("{family} {name}"), Tunnelled::right(is_v6, protocol)))
    })
}

#[test]
fn what_is_right_comes_out() {
    for (kind, packet) in kinds() {
        is_sent_on(&kind, &packet.build(), Reason::Decapsulated);
    }
}

#[test]
fn strangers_are_kept_out() {
    for (kind, packet) in kinds() {
        let is_v6 = packet.is_v6;
        let nobody: [IpAddr; 2] =
            if is_v6 { ["::1", "ff02::1"] } else { ["127.0.0.1", "224.0.0.1"] }.map(|it| it.parse().unwrap());
        let strangers = [
            ("a client", client(9, is_v6)),
            ("this node itself", node(0, is_v6)),
            ("a frontend", vip(HERE, is_v6)),
            ("the Pod", pod(HERE, is_v6)),
            ("loopback", nobody[0]),
            ("multicast", nobody[1]),
        ];
        for (who, from) in strangers {
            let frame = Tunnelled { from, ..packet.clone() }.build();
            is_kept_out(&format!("{kind} from {who}"), &frame, &[Reason::TunnelStranger]);
        }
    }
}

#[test]
fn other_options_than_ours_are_refused() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, Change); 17] = [
        ("version 1", |it| it[at::LENGTH] |= 0x40),
        ("no options", |it| it[at::LENGTH] = 0),
        ("options a word shorter", |it| it[at::LENGTH] -= 1),
        ("options a word longer", |it| it[at::LENGTH] += 1),
        ("the most options that there can be", |it| it[at::LENGTH] = 0x3f),
        ("a message about the tunnel", |it| it[at::FLAGS] |= 0x80),
        ("Ethernet inside", |it| it[at::PROTOCOL..][..2].copy_from_slice(&[0x65, 0x58])),
        ("another family inside", |it| {
            let other = if it[at::PROTOCOL] == 0x08 { [0x86, 0xdd] } else { [0x08, 0x00] };
            it[at::PROTOCOL..][..2].copy_from_slice(&other);
        }),
        ("another class", |it| it[at::CLASS + 1] ^= 1),
        ("another type", |it| it[at::TYPE] = 0x82),
        ("a type that is not critical", |it| it[at::TYPE] = 0x01),
        ("data a word shorter", |it| it[at::OPTION_LENGTH] -= 1),
        ("data a word longer", |it| it[at::OPTION_LENGTH] += 1),
        ("the most data that there can be", |it| it[at::OPTION_LENGTH] = 0x1f),
        ("an unknown critical option before ours", |it| {
            it[at::LENGTH] += 1;
            it.splice(8..8, [0x01, 0x02, 0x90, 0]);
        }),
        ("an unknown critical option behind ours", |it| {
            it[at::LENGTH] += 1;
            it.extend([0x01, 0x02, 0x90, 0]);
        }),
        ("ours twice", |it| {
            let option = it[8..].to_vec();
            it[at::LENGTH] *= 2;
            it.extend(option);
        }),
    ];
    for (kind, packet) in kinds() {
        for (what, change) in cases {
            let mut wrong = packet.clone();
            change(&mut wrong.geneve);
            is_kept_out(&format!("{kind}, {what}"), &wrong.build(), &[Reason::TunnelMalformed]);
        }
    }
}

#[test]
fn who_is_no_backend_of_this_node_gets_nothing() {
    for (kind, packet) in kinds() {
        let is_v6 = packet.is_v6;
        let mut zero = packet.geneve.clone();
        zero[at::ADDRESS..].fill(0);
        let cases = [
            ("another Pod", geneve(pod(2, is_v6), POD_PORT)),
            ("another port of the Pod", geneve(pod(HERE, is_v6), POD_PORT + 1)),
            ("no port", geneve(pod(HERE, is_v6), 0)),
            ("this node", geneve(node(0, is_v6), POD_PORT)),
            ("the tunnel's end", geneve(node(0, is_v6), TUNNEL_PORT)),
            ("a frontend", geneve(vip(HERE, is_v6), 80)),
            ("nobody at all", zero),
        ];
        for (who, geneve) in cases {
            let frame = Tunnelled { geneve, ..packet.clone() }.build();
            is_kept_out(&format!("{kind} for {who}"), &frame, &[Reason::TunnelNotLocal]);
        }
    }
}

#[test]
fn what_is_inside_must_be_a_whole_packet() {
    type Change = fn(&mut Vec<u8>, bool);
    let cases: [(&str, Change); 12] = [
        ("nothing", |it, _| it.clear()),
        ("the other family", |it, _| it[0] ^= 0x20),
        ("version 0", |it, _| it[0] &= 0x0f),
        ("a first fragment", |it, is_v6| if is_v6 { it[6] = 44 } else { it[6] = 0x20 }),
        ("a later fragment", |it, is_v6| if is_v6 { it[6] = 44 } else { it[7] = 1 }),
        ("options or an extension header", |it, is_v6| if is_v6 { it[6] = 0 } else { it[0] = 0x46 }),
        ("ICMP", |it, is_v6| if is_v6 { it[6] = 58 } else { it[9] = 1 }),
        ("a packet that says that it is longer", |it, is_v6| it[if is_v6 { 5 } else { 3 }] += 1),
        ("a packet that says that it is much longer", |it, is_v6| it[if is_v6 { 4 } else { 2 }] = 0xff),
        ("a packet that says that it is nothing", |it, is_v6| {
            let at = if is_v6 { 4 } else { 2 };
            it[at..at + 2].fill(0);
        }),
        ("a cut-off packet", |it, _| it.truncate(it.len() - 1)),
        ("a transport header that says that it is longer", |it, is_v6| {
            let l4 = if is_v6 { 40 } else { 20 };
            let is_tcp = it[if is_v6 { 6 } else { 9 }] == 6;
            it[if is_tcp { l4 + 12 } else { l4 + 4 }] = 0xf0;
        }),
    ];
    for (kind, packet) in kinds() {
        for (what, change) in cases {
            let mut wrong = packet.clone();
            change(&mut wrong.inner, packet.is_v6);
            is_kept_out(&format!("{kind}, inside is {what}"), &wrong.build(), &[Reason::TunnelInner]);
        }
    }
}

#[test]
fn a_tunnel_in_the_tunnel_is_refused() {
    for (kind, packet) in kinds() {
        let mut nested = packet;
        for depth in 1..4 {
            nested.inner = nested.build()[14..].to_vec();
            is_kept_out(&format!("{kind}, {depth} times inside itself"), &nested.build(), &[Reason::TunnelInner]);
        }
    }
}

#[test]
fn what_is_cut_off_anywhere_is_kept_out() {
    // Where the frame ends early, and where all outer lengths say so, too.
    let cut_off = [Reason::NotIp, Reason::Truncated, Reason::BadLength, Reason::TunnelMalformed, Reason::TunnelInner];
    for (kind, packet) in kinds() {
        let frame = packet.build();
        for length in 0..frame.len() {
            is_kept_out(&format!("{kind}, {length} bytes of it"), &frame[..length], &cut_off);
        }
        let payload = [&packet.geneve[..], &packet.inner].concat();
        for length in 0..payload.len() {
            let (geneve, inner) = (payload[..length].to_vec(), Vec::new());
            let frame = Tunnelled { geneve, inner, ..packet.clone() }.build();
            is_kept_out(&format!("{kind}, {length} bytes in the tunnel"), &frame, &cut_off);
        }
    }
}

#[test]
fn pieces_of_the_tunnel_are_left_to_the_kernel() {
    for (kind, packet) in kinds() {
        let mut frame = packet.build();
        if packet.is_v6 {
            frame[20] = 44;
            is_kept_out(&format!("{kind}, a fragment"), &frame, &[Reason::Fragment]);
            continue;
        }
        for (what, bytes) in [("first", [0x20, 0]), ("later", [0, 1]), ("last", [0x1f, 0xff])] {
            frame[20..22].copy_from_slice(&bytes);
            is_kept_out(&format!("{kind}, the {what} fragment"), &frame, &[Reason::Fragment]);
        }
    }
}
