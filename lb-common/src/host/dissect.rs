//! What the headers of a frame say, read without the datapath's own code, so that tests can compare.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::vec::Vec;

/// The protocol number of ICMP for IPv4.
pub(super) const ICMP4: u8 = 1;
/// The protocol number of ICMP for IPv6.
pub(super) const ICMP6: u8 = 58;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
/// Length of a VLAN tag, in bytes.
const TAG: usize = 4;

/// What the headers say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dissected {
    /// Offset of the IP header in the frame, in bytes.
    pub l3: usize,
    /// Offset of what follows the IP header, in bytes.
    pub l4: usize,
    /// Offset behind the packet, by its own account: what follows is padding.
    pub end: usize,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Source and destination port, of TCP and UDP.
    pub ports: Option<(u16, u16)>,
}

impl Dissected {
    /// Whether it is IPv6.
    pub fn is_v6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// IP header and payload, in bytes.
    pub fn total_length(&self) -> usize {
        self.end - self.l3
    }

    /// Where its checksum is, of TCP, UDP and ICMP.
    pub fn checksum_offset(&self) -> Option<usize> {
        match self.protocol {
            TCP => Some(self.l4 + 16),
            UDP => Some(self.l4 + 6),
            ICMP4 | ICMP6 => Some(self.l4 + 2),
            _ => None,
        }
    }
}

/// Reads a frame with any number of tags and a whole IP packet that is neither fragmented nor has options or extension
/// headers; none where it is anything else, or not all there.
pub fn dissect(frame: &[u8]) -> Option<Dissected> {
    let mut l3 = 14;
    loop {
        match frame.get(l3 - 2..l3)? {
            [0x81, 0x00] | [0x88, 0xa8] => l3 += TAG,
            [0x08, 0x00] => return dissect_v4(frame, l3),
            [0x86, 0xdd] => return dissect_v6(frame, l3),
            _ => return None,
        }
    }
}

/// The frame with the length in its IP header that it really has, and the one that it had there.
pub(super) fn with_true_length(frame: &[u8]) -> (Vec<u8>, Option<u16>) {
    let mut frame = frame.to_vec();
    let mut l3 = 14;
    while matches!(frame.get(l3 - 2..l3), Some([0x81, 0x00] | [0x88, 0xa8])) {
        l3 += TAG;
    }
    let is_v4 = frame.get(l3 - 2..l3) == Some(&[0x08, 0x00]);
    let (at, behind) = if is_v4 { (l3 + 2, l3) } else { (l3 + 4, l3 + 40) };
    let (said, length) = (u16_at(&frame, at), frame.len().saturating_sub(behind) as u16);
    if let Some(field) = frame.get_mut(at..at + 2) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    (frame, said)
}

fn dissect_v4(frame: &[u8], l3: usize) -> Option<Dissected> {
    let header = frame.get(l3..l3 + 20)?;
    let is_fragment = u16_at(header, 6)? & 0x3fff != 0;
    if header[0] != 0x45 || is_fragment {
        return None;
    }
    let octets = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(header.get(at..at + 4)?).ok()?)));
    let end = l3 + usize::from(u16_at(header, 2)?);
    of_packet(frame, (l3, l3 + 20, end), (octets(12)?, octets(16)?), header[9])
}

fn dissect_v6(frame: &[u8], l3: usize) -> Option<Dissected> {
    let header = frame.get(l3..l3 + 40)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let octets = |at: usize| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(header.get(at..at + 16)?).ok()?)));
    let end = l3 + 40 + usize::from(u16_at(header, 4)?);
    of_packet(frame, (l3, l3 + 40, end), (octets(8)?, octets(24)?), header[6])
}

fn of_packet(
    frame: &[u8],
    (l3, l4, end): (usize, usize, usize),
    (source, destination): (IpAddr, IpAddr),
    protocol: u8,
) -> Option<Dissected> {
    let header_length = match protocol {
        TCP => 20,
        UDP | ICMP4 | ICMP6 => 8,
        _ => 0,
    };
    if l4 + header_length > end || end > frame.len() {
        return None;
    }
    let ports = if [TCP, UDP].contains(&protocol) { Some((u16_at(frame, l4)?, u16_at(frame, l4 + 2)?)) } else { None };
    Some(Dissected { l3, l4, end, source, destination, protocol, ports })
}

/// Whether the IPv4 header checksum, where there is one, and the TCP, UDP or ICMP checksum of a whole frame are right; not
/// where it cannot be dissected.
pub fn checksums_are_valid(frame: &[u8]) -> bool {
    dissect(frame).is_some_and(|packet| {
        let has_none = packet.protocol == UDP && u16_at(frame, packet.l4 + 6) == Some(0);
        header_error(frame, &packet) == 0 && (has_none || payload_error(frame, &packet) == 0)
    })
}

/// By how much the IPv4 header checksum is wrong; 0 where there is none.
pub(super) fn header_error(frame: &[u8], packet: &Dissected) -> u16 {
    if packet.is_v6() { 0 } else { 0xffff - sum16(&[&frame[packet.l3..packet.l4]]) }
}

/// By how much the TCP, UDP or ICMP checksum is wrong.
pub(super) fn payload_error(frame: &[u8], packet: &Dissected) -> u16 {
    let bytes = &frame[packet.l4..packet.end];
    let addresses = if packet.is_v6() { &frame[packet.l3 + 8..packet.l4] } else { &frame[packet.l3 + 12..packet.l4] };
    // ICMP for IPv4 alone has none.
    let pseudo =
        if packet.protocol == ICMP4 { Vec::new() } else { pseudo_header(addresses, packet.protocol, bytes.len()) };
    0xffff - sum16(&[&pseudo, bytes])
}

/// What TCP, UDP and ICMP of IPv6 sum up before their own header.
pub(super) fn pseudo_header(addresses: &[u8], protocol: u8, length: usize) -> Vec<u8> {
    let mut header = addresses.to_vec();
    header.extend((length as u32).to_be_bytes());
    header.extend([0, 0, 0, protocol]);
    header
}

/// One's complement sum of big-endian 16-bit words, an odd last byte padded (RFC 1071); 0 only of zeros.
pub(super) fn sum16(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The number of two bytes at `offset`.
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(offset)?, *bytes.get(offset + 1)?]))
}
