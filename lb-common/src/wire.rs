//! Headers as they are on the wire: Ethernet, IPv4 (RFC 791), IPv6 (RFC 8200), UDP (RFC 768) and TCP (RFC 9293). The
//! tunnel's own is in [`geneve`](crate::geneve).
//!
//! Multi-byte fields are big-endian types with the alignment of their width. A header may lie anywhere in a frame and
//! is read and written as if it had no alignment; the types have one so that copies of it on the stack are made of
//! words: the verifier refuses a word at an odd place there, and byte by byte is slow.

use network_types::{eth::EtherType as KnownEtherType, ip::IpProto};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    checksum,
    family::{Address4, Address6},
    parse::Ip,
    reason::Reason,
};

/// Length of an Ethernet header without tags, in bytes.
pub const ETHERNET_HEADER: usize = 14;
/// Offset of the EtherType in an Ethernet header, in bytes.
pub const ETHER_TYPE_OFFSET: usize = 12;
/// Length of a VLAN tag, in bytes (IEEE 802.1Q).
pub const VLAN_TAG: usize = 4;
/// VLAN tags that are looked through; a frame with more is passed.
pub const MAX_VLAN_TAGS: usize = 2;
/// Length of a UDP header, in bytes.
pub const UDP_HEADER: usize = 8;
/// Length of a TCP header without options, in bytes.
pub const TCP_HEADER: usize = 20;
/// Offset of the length in a UDP header, in bytes.
pub const UDP_LENGTH_OFFSET: usize = 4;
/// Offset of the checksum in a UDP header, in bytes.
pub const UDP_CHECKSUM_OFFSET: usize = 6;
/// Offset of the checksum in a TCP header, in bytes.
pub const TCP_CHECKSUM_OFFSET: usize = 16;
/// TTL and hop limit of headers that are made here (the recommended default of RFC 1700).
pub const OUTER_HOP_LIMIT: u8 = 64;
/// IPv4's Don't Fragment, as in the 16-bit field of flags and fragment offset.
const DONT_FRAGMENT: u16 = 0x4000;
/// More Fragments and the fragment offset: a packet with any of them set is a fragment.
const FRAGMENT_BITS: u16 = 0x3fff;

/// TCP flags that decide something here (RFC 9293, section 3.1).
pub mod tcp_flags {
    /// The sender has finished.
    pub const FIN: u8 = 0x01;
    /// A new connection.
    pub const SYN: u8 = 0x02;
    /// The connection is aborted.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// A 16-bit integer in wire order.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Be16(u16);

/// A 32-bit integer in wire order.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Be32(u32);

impl Be16 {
    /// Zero in any order.
    pub const ZERO: Self = Self(0);

    /// From host order.
    #[inline(always)]
    pub const fn new(value: u16) -> Self {
        Self(value.to_be())
    }

    /// In host order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }
}

impl Be32 {
    /// From host order.
    #[inline(always)]
    pub const fn new(value: u32) -> Self {
        Self(value.to_be())
    }

    /// In host order.
    #[inline(always)]
    pub const fn get(self) -> u32 {
        u32::from_be(self.0)
    }
}

/// An EtherType, in host order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(u16::from_be(KnownEtherType::Ipv4 as u16));
    /// IPv6.
    pub const IPV6: Self = Self(u16::from_be(KnownEtherType::Ipv6 as u16));
    /// A VLAN tag (802.1Q).
    pub const VLAN: Self = Self(u16::from_be(KnownEtherType::Ieee8021q as u16));
    /// A service VLAN tag (802.1ad).
    pub const SERVICE_VLAN: Self = Self(u16::from_be(KnownEtherType::Ieee8021ad as u16));

    /// Whether a VLAN tag follows.
    #[inline(always)]
    pub fn is_tag(self) -> bool {
        self == Self::VLAN || self == Self::SERVICE_VLAN
    }
}

/// An IP protocol number (IANA), in a word: the compiler makes odd-sized pieces of smaller ones on the stack.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub struct Protocol(pub u32);

impl Protocol {
    /// TCP.
    pub const TCP: Self = Self(IpProto::Tcp as u32);
    /// UDP.
    pub const UDP: Self = Self(IpProto::Udp as u32);
}

/// An IPv4 header without options.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ipv4 {
    /// Version (4 bits) and header length in 32-bit words (4 bits).
    pub version_ihl: u8,
    /// DSCP (6 bits) and ECN (2 bits).
    pub traffic_class: u8,
    /// Header and payload, in bytes.
    pub total_length: Be16,
    /// Identification, for fragments.
    pub identification: Be16,
    /// Flags (3 bits) and fragment offset in 8-byte units (13 bits).
    pub fragment: Be16,
    /// Time to live, in hops.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Header checksum (RFC 1071), as the machine reads it.
    pub checksum: u16,
    /// Source address.
    pub source: Address4,
    /// Destination address.
    pub destination: Address4,
}

const _: () = assert!(size_of::<Ipv4>() == 20);

impl Ipv4 {
    /// The header of a UDP packet that must not be fragmented; the checksum is filled in.
    #[inline(always)]
    pub fn udp(source: Address4, destination: Address4, payload_length: u16, traffic_class: u8) -> Self {
        Self::new(source, destination, IpProto::Udp as u8, payload_length, traffic_class)
    }

    /// The same for any protocol.
    #[inline(always)]
    pub fn new(source: Address4, destination: Address4, protocol: u8, payload_length: u16, traffic_class: u8) -> Self {
        let mut header = Self {
            version_ihl: 0x45,
            traffic_class,
            total_length: Be16::new(payload_length.wrapping_add(size_of::<Self>() as u16)),
            identification: Be16::ZERO,
            fragment: Be16::new(DONT_FRAGMENT),
            ttl: OUTER_HOP_LIMIT,
            protocol,
            checksum: 0,
            source,
            destination,
        };
        let words: [u32; 5] = zerocopy::transmute!(header);
        let sum = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from(*word)));
        header.checksum = !checksum::fold(sum);
        header
    }

    /// What the datapath needs of the header.
    ///
    /// # Errors
    /// [`Reason::Truncated`] for a version or length that lies, [`Reason::IpOptions`], [`Reason::Fragment`].
    #[inline(always)]
    pub fn parse(&self) -> Result<Ip<Address4>, Reason> {
        if self.version_ihl != 0x45 {
            let has_options = self.version_ihl > 0x45 && self.version_ihl <= 0x4f;
            return Err(if has_options { Reason::IpOptions } else { Reason::Truncated });
        }
        if self.fragment.get() & FRAGMENT_BITS != 0 {
            return Err(Reason::Fragment);
        }
        Ok(Ip {
            source: self.source,
            destination: self.destination,
            protocol: Protocol(self.protocol.into()),
            total_length: self.total_length.get().into(),
            traffic_class: self.traffic_class,
        })
    }
}

/// An IPv6 header.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ipv6 {
    /// Version (4 bits), traffic class (8 bits), flow label (20 bits).
    pub version_class_label: Be32,
    /// What follows this header, in bytes.
    pub payload_length: Be16,
    /// Protocol of the payload, or the first extension header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: Address6,
    /// Destination address.
    pub destination: Address6,
}

const _: () = assert!(size_of::<Ipv6>() == 40);

impl Ipv6 {
    /// The header of a UDP packet.
    #[inline(always)]
    pub fn udp(source: Address6, destination: Address6, payload_length: u16, traffic_class: u8) -> Self {
        Self::new(source, destination, IpProto::Udp as u8, payload_length, traffic_class)
    }

    /// The same for any protocol.
    #[inline(always)]
    pub fn new(source: Address6, destination: Address6, protocol: u8, payload_length: u16, traffic_class: u8) -> Self {
        Self {
            version_class_label: Be32::new(0x6000_0000 | (u32::from(traffic_class) << 20)),
            payload_length: Be16::new(payload_length),
            next_header: protocol,
            hop_limit: OUTER_HOP_LIMIT,
            source,
            destination,
        }
    }

    /// What the datapath needs of the header.
    ///
    /// # Errors
    /// [`Reason::Truncated`] for a version that lies, [`Reason::Fragment`], [`Reason::ExtensionHeader`].
    #[inline(always)]
    pub fn parse(&self) -> Result<Ip<Address6>, Reason> {
        let word = self.version_class_label.get();
        if word >> 28 != 6 {
            return Err(Reason::Truncated);
        }
        match self.next_header {
            FRAGMENT_HEADER => return Err(Reason::Fragment),
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | AUTHENTICATION => return Err(Reason::ExtensionHeader),
            _ => {}
        }
        Ok(Ip {
            source: self.source,
            destination: self.destination,
            protocol: Protocol(self.next_header.into()),
            total_length: usize::from(self.payload_length.get()) + size_of::<Self>(),
            traffic_class: (word >> 20) as u8,
        })
    }
}

const HOP_BY_HOP: u8 = IpProto::HopOpt as u8;
const ROUTING: u8 = IpProto::Ipv6Route as u8;
const FRAGMENT_HEADER: u8 = IpProto::Ipv6Frag as u8;
const AUTHENTICATION: u8 = IpProto::Ah as u8;
const DESTINATION_OPTIONS: u8 = IpProto::Ipv6Opts as u8;

/// A UDP header.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub source: Be16,
    /// Destination port.
    pub destination: Be16,
    /// Header and payload, in bytes.
    pub length: Be16,
    /// Checksum; zero for none (IPv6: allowed for tunnels by RFC 6935).
    pub checksum: Be16,
}

const _: () = assert!(size_of::<Udp>() == UDP_HEADER);

/// A TCP header without options.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tcp {
    /// Source port.
    pub source: Be16,
    /// Destination port.
    pub destination: Be16,
    /// Sequence number.
    pub sequence: Be32,
    /// Acknowledgement number.
    pub acknowledgement: Be32,
    /// Header length in 32-bit words (4 bits), reserved.
    pub data_offset: u8,
    /// See [`tcp_flags`].
    pub flags: u8,
    /// Receive window.
    pub window: Be16,
    /// Checksum.
    pub checksum: Be16,
    /// Urgent pointer.
    pub urgent: Be16,
}

const _: () = assert!(size_of::<Tcp>() == TCP_HEADER);
