//! Frames that begin something and never go on: a SYN, or one datagram, from an address that is nobody's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::address::Family;
use crate::world::Protocol;

/// An Ethernet address.
pub(super) type Mac = [u8; 6];

const ETHERNET_BYTES: usize = 14;
const ETHERTYPE_V4: u16 = 0x0800;
const ETHERTYPE_V6: u16 = 0x86dd;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const HOPS: u8 = 64;
/// A TCP header with the one option that every SYN has: the largest segment.
const SYN_BYTES: usize = 24;
const UDP_BYTES: usize = 8;
const UDP_PAYLOAD: &[u8] = b"who\n";

/// Where sources are from: shared address space (RFC 6598), 4,194,304 addresses, and documentation (RFC 3849). Nothing
/// else in the lab has addresses of these.
const SOURCES_V4: (Ipv4Addr, u8) = (Ipv4Addr::new(100, 64, 0, 0), 10);
const SOURCES_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2001, 0xdb8, 0xf100, 0, 0, 0, 0, 0), 48);
/// Sources' ports are those that clients' kernels choose from.
const FIRST_PORT: u16 = 32_768;

/// The ranges that sources are from.
pub(crate) fn source_ranges() -> [String; 2] {
    let ((v4, bits_v4), (v6, bits_v6)) = (SOURCES_V4, SOURCES_V6);
    [format!("{v4}/{bits_v4}"), format!("{v6}/{bits_v6}")]
}

/// What makes one frame differ from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    fn address(self, family: Family) -> IpAddr {
        // The high half: the low one is the port's and the sequence number's.
        match family {
            Family::V4 => {
                let (range, bits) = SOURCES_V4;
                let host = (self.0 >> 32) as u32 & (u32::MAX >> bits);
                Ipv4Addr::from(u32::from(range) | host).into()
            }
            Family::V6 => {
                let (range, _) = SOURCES_V6;
                Ipv6Addr::from(u128::from(range) | u128::from(self.0 >> 32)).into()
            }
        }
    }

    fn port(self) -> u16 {
        FIRST_PORT | (self.0 >> 16) as u16
    }

    fn sequence(self) -> u32 {
        self.0 as u32
    }
}

/// A frame of one kind to one address, of which each copy has another source.
#[derive(Clone, Debug)]
pub(super) struct Template {
    bytes: Vec<u8>,
    family: Family,
    protocol: Protocol,
    to: SocketAddr,
}

impl Template {
    /// For a TCP port a SYN, for a UDP port a datagram, on a wire from one device to another.
    pub(super) fn new(from: Mac, receiver: Mac, protocol: Protocol, to: SocketAddr) -> Self {
        let family = Family::of(to.ip());
        let segment_bytes = match protocol {
            Protocol::Tcp => SYN_BYTES,
            Protocol::Udp => UDP_BYTES + UDP_PAYLOAD.len(),
        };
        let (ethertype, ip_bytes) = match family {
            Family::V4 => (ETHERTYPE_V4, IPV4_BYTES),
            Family::V6 => (ETHERTYPE_V6, IPV6_BYTES),
        };
        let mut bytes = Vec::with_capacity(ETHERNET_BYTES + ip_bytes + segment_bytes);
        bytes.extend(receiver);
        bytes.extend(from);
        bytes.extend(ethertype.to_be_bytes());
        bytes.resize(ETHERNET_BYTES + ip_bytes + segment_bytes, 0);
        let mut template = Self { bytes, family, protocol, to };
        template.write_constants(segment_bytes);
        template
    }

    /// The next copy.
    pub(super) fn spoof(&mut self, chance: Chance) -> &[u8] {
        let source = chance.address(self.family);
        let segment = self.segment_at();
        match source {
            IpAddr::V4(source) => {
                self.put(ETHERNET_BYTES + 12, &source.octets());
                self.put(ETHERNET_BYTES + 10, &[0; 2]);
                let sum = finish(add(0, &self.bytes[ETHERNET_BYTES..segment]));
                self.put(ETHERNET_BYTES + 10, &sum);
            }
            IpAddr::V6(source) => self.put(ETHERNET_BYTES + 8, &source.octets()),
        }
        self.put(segment, &chance.port().to_be_bytes());
        if self.protocol == Protocol::Tcp {
            self.put(segment + 4, &chance.sequence().to_be_bytes());
        }
        self.put(self.checksum_at(), &[0; 2]);
        let sum = finish(add(self.pseudo_header(source), &self.bytes[segment..]));
        self.put(self.checksum_at(), &sum);
        &self.bytes
    }

    fn write_constants(&mut self, segment_bytes: usize) {
        // A frame of less than a hundred bytes.
        let length = |bytes: usize| (bytes as u16).to_be_bytes();
        let protocol = self.protocol_number();
        match self.to.ip() {
            IpAddr::V4(to) => {
                self.put(ETHERNET_BYTES, &[0x45]);
                self.put(ETHERNET_BYTES + 2, &length(IPV4_BYTES + segment_bytes));
                // Don't Fragment, as clients' kernels set it.
                self.put(ETHERNET_BYTES + 6, &[0x40, 0, HOPS, protocol]);
                self.put(ETHERNET_BYTES + 16, &to.octets());
            }
            IpAddr::V6(to) => {
                self.put(ETHERNET_BYTES, &[0x60]);
                self.put(ETHERNET_BYTES + 4, &length(segment_bytes));
                self.put(ETHERNET_BYTES + 6, &[protocol, HOPS]);
                self.put(ETHERNET_BYTES + 24, &to.octets());
            }
        }
        let segment = self.segment_at();
        self.put(segment + 2, &self.to.port().to_be_bytes());
        match self.protocol {
            // Six words of header, SYN, a window of 64,240 bytes; the option: segments of at most 1,460.
            Protocol::Tcp => {
                self.put(segment + 12, &[0x60, 0x02, 0xfa, 0xf0]);
                self.put(segment + 20, &[2, 4, 0x05, 0xb4]);
            }
            Protocol::Udp => {
                self.put(segment + 4, &length(segment_bytes));
                self.put(segment + UDP_BYTES, UDP_PAYLOAD);
            }
        }
    }

    fn segment_at(&self) -> usize {
        match self.family {
            Family::V4 => ETHERNET_BYTES + IPV4_BYTES,
            Family::V6 => ETHERNET_BYTES + IPV6_BYTES,
        }
    }

    fn checksum_at(&self) -> usize {
        match self.protocol {
            Protocol::Tcp => self.segment_at() + 16,
            Protocol::Udp => self.segment_at() + 6,
        }
    }

    fn protocol_number(&self) -> u8 {
        match self.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }

    /// The sum over addresses, length and protocol (RFC 9293, 3.1; RFC 8200, 8.1).
    fn pseudo_header(&self, source: IpAddr) -> u32 {
        let addresses = match (source, self.to.ip()) {
            (IpAddr::V4(source), IpAddr::V4(to)) => add(add(0, &source.octets()), &to.octets()),
            (IpAddr::V6(source), IpAddr::V6(to)) => add(add(0, &source.octets()), &to.octets()),
            // A source is of its frame's family.
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
        };
        let segment_bytes = (self.bytes.len() - self.segment_at()) as u32;
        addresses + segment_bytes + u32::from(self.protocol_number())
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// Adds 16-bit words to a sum (RFC 1071).
fn add(sum: u32, bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)));
    sum + words.sum::<u32>()
}

/// The checksum as it stands in a header.
fn finish(sum: u32) -> [u8; 2] {
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    // A UDP checksum that comes out as 0 is written as its other form, for 0 means none; TCP takes both.
    match !(folded as u16) {
        0 => [0xff; 2],
        sum => sum.to_be_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const FROM: Mac = [2, 0, 0, 0, 0, 1];
    const RECEIVER: Mac = [2, 1, 2, 3, 4, 5];

    fn templates() -> impl Iterator<Item = Template> {
        ["203.0.113.7:80", "[2001:db8:113::7]:80"].into_iter().flat_map(|to| {
            Protocol::BOTH.into_iter().map(move |protocol| Template::new(FROM, RECEIVER, protocol, to.parse().unwrap()))
        })
    }

    #[test]
    fn a_syn_is_written_as_the_standards_say() {
        let mut template = Template::new(FROM, RECEIVER, Protocol::Tcp, "203.0.113.7:80".parse().unwrap());
        let frame = template.spoof(Chance(0x0001_0203_8765_4321));
        let expected = [
            &[2, 1, 2, 3, 4, 5, 2, 0, 0, 0, 0, 1, 0x08, 0x00][..],
            &[0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6, 0x98, 0x80, 100, 65, 2, 3, 203, 0, 113, 7],
            &[0x87, 0x65, 0, 80, 0x87, 0x65, 0x43, 0x21, 0, 0, 0, 0, 0x60, 2, 0xfa, 0xf0],
        ]
        .concat();
        assert_eq!(frame[..expected.len()], expected);
        assert_eq!(frame[54..], [2, 4, 5, 0xb4]);
    }

    #[test]
    fn checksums_are_right_for_every_source() {
        for mut template in templates() {
            for round in 0..1000_u64 {
                let chance = Chance(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let (family, source) = (template.family, chance.address(template.family));
                let frame = template.spoof(chance).to_vec();
                let segment = template.segment_at();
                let sum = |sum| add(sum, &frame[segment..]);
                assert_eq!(finish(sum(template.pseudo_header(source))), [0xff; 2], "{frame:x?}");
                if family == Family::V4 {
                    assert_eq!(finish(add(0, &frame[ETHERNET_BYTES..segment])), [0xff; 2], "{frame:x?}");
                }
            }
        }
    }

    #[test]
    fn sources_differ_and_are_of_the_ranges_alone() {
        let mut seen = HashSet::new();
        for round in 0..1000_u64 {
            let chance = Chance(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let (IpAddr::V4(v4), IpAddr::V6(v6)) = (chance.address(Family::V4), chance.address(Family::V6)) else {
                panic!("an address of another family");
            };
            assert!(v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]), "{v4}");
            assert_eq!(v6.segments()[..3], [0x2001, 0xdb8, 0xf100], "{v6}");
            assert!(chance.port() >= FIRST_PORT);
            seen.insert((v4, v6));
        }
        assert!(seen.len() > 990, "{} of 1000", seen.len());
    }
}
