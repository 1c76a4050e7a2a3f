//! From a frame to what the datapath decides by: family, addresses, ports, lengths.

use crate::{
    family::{Address, Family},
    hash,
    packet::Packet,
    reason::Reason,
    wire::{
        self, Be16, ETHER_TYPE_OFFSET, ETHERNET_HEADER, EtherType, MAX_VLAN_TAGS, Protocol, TCP_CHECKSUM_OFFSET,
        TCP_HEADER, Tcp, UDP_CHECKSUM_OFFSET, UDP_HEADER, UDP_LENGTH_OFFSET, Udp, VLAN_TAG, tcp_flags,
    },
};

/// Where the IP header starts, and of which family it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Network {
    /// IPv4 at this offset, in bytes.
    V4(usize),
    /// IPv6 at this offset, in bytes.
    V6(usize),
}

/// What an IP header says.
#[derive(Clone, Copy, Debug)]
pub struct Ip<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Protocol of the payload.
    pub protocol: Protocol,
    /// IP header and payload, in bytes.
    pub total_length: usize,
    /// DSCP (6 bits) and ECN (2 bits).
    pub traffic_class: u8,
}

/// What the headers of a TCP or UDP packet say.
#[derive(Clone, Copy, Debug)]
pub struct Headers<A> {
    /// The IP header.
    pub ip: Ip<A>,
    /// Offset of the IP header in the frame, in bytes.
    pub l3: usize,
    /// Offset of the TCP or UDP header in the frame, in bytes.
    pub l4: usize,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// TCP's data offset byte: header length in 32-bit words, in the high 4 bits; 0 for UDP.
    pub tcp_data_offset: u8,
    /// TCP's flags; 0 for UDP.
    pub tcp_flags: u8,
}

/// Finds the IP header behind Ethernet and up to two VLAN tags.
///
/// # Errors
/// [`Reason::NotIp`], [`Reason::TooManyTags`], [`Reason::Truncated`].
#[inline(always)]
pub fn network<P: Packet>(packet: &P) -> Result<Network, Reason> {
    let mut offset = ETHER_TYPE_OFFSET;
    for _ in 0..=MAX_VLAN_TAGS {
        let ether_type = EtherType(packet.read::<Be16>(offset).ok_or(Reason::Truncated)?.get());
        let l3 = offset + (ETHERNET_HEADER - ETHER_TYPE_OFFSET);
        match ether_type {
            EtherType::IPV4 => return Ok(Network::V4(l3)),
            EtherType::IPV6 => return Ok(Network::V6(l3)),
            tag if tag.is_tag() => offset += VLAN_TAG,
            _ => return Err(Reason::NotIp),
        }
    }
    Err(Reason::TooManyTags)
}

/// Reads the headers of a TCP or UDP packet whose IP header is at `l3`.
///
/// # Errors
/// The reason why this packet is not for us to look into.
#[inline(always)]
pub fn headers<F: Family, P: Packet>(packet: &P, l3: usize) -> Result<Headers<F::Address>, Reason> {
    let ip = F::read_ip(packet, l3)?;
    let l4 = l3 + F::IP_HEADER;
    match ip.protocol {
        Protocol::TCP => {
            let tcp: Tcp = packet.read(l4).ok_or(Reason::Truncated)?;
            Ok(Headers {
                ip,
                l3,
                l4,
                source_port: tcp.source.get(),
                destination_port: tcp.destination.get(),
                tcp_data_offset: tcp.data_offset,
                tcp_flags: tcp.flags,
            })
        }
        Protocol::UDP => {
            let udp: Udp = packet.read(l4).ok_or(Reason::Truncated)?;
            Ok(Headers {
                ip,
                l3,
                l4,
                source_port: udp.source.get(),
                destination_port: udp.destination.get(),
                tcp_data_offset: 0,
                tcp_flags: 0,
            })
        }
        _ => Err(Reason::OtherProtocol),
    }
}

impl<A: Address> Headers<A> {
    /// Whether the lengths in the headers are possible, and the frame holds what they promise.
    ///
    /// A UDP datagram may be shorter than what IP carries (RFC 768 does not say that it must not), never longer.
    #[inline(always)]
    pub fn fit<P: Packet>(&self, packet: &P) -> bool {
        let header = self.l4 - self.l3;
        if self.ip.total_length < header || self.l3 + self.ip.total_length > packet.length() {
            return false;
        }
        let (least, length) = if self.is_udp() {
            (UDP_HEADER, packet.read::<Be16>(self.l4 + UDP_LENGTH_OFFSET).map_or(0, |length| length.get().into()))
        } else {
            (TCP_HEADER, self.tcp_header_length())
        };
        length >= least && header + length <= self.ip.total_length
    }

    /// Whether this is UDP; otherwise it is TCP.
    #[inline(always)]
    pub fn is_udp(&self) -> bool {
        self.ip.protocol == Protocol::UDP
    }

    /// Whether this opens a TCP connection: SYN, and neither ACK nor RST nor FIN.
    #[inline(always)]
    pub fn is_syn(&self) -> bool {
        let decisive = tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST | tcp_flags::FIN;
        self.tcp_flags & decisive == tcp_flags::SYN
    }

    /// Whether this is the answer to a SYN.
    #[inline(always)]
    pub fn is_syn_ack(&self) -> bool {
        let both = tcp_flags::SYN | tcp_flags::ACK;
        self.tcp_flags & both == both
    }

    /// Offset of the TCP or UDP checksum in the frame, in bytes.
    #[inline(always)]
    pub fn checksum_offset(&self) -> usize {
        self.l4 + if self.is_udp() { UDP_CHECKSUM_OFFSET } else { TCP_CHECKSUM_OFFSET }
    }

    /// Length of the TCP header with its options, in bytes; at most 60.
    #[inline(always)]
    pub fn tcp_header_length(&self) -> usize {
        usize::from(self.tcp_data_offset >> 4) * 4
    }

    /// Hash of the connection.
    #[inline(always)]
    pub fn flow_hash(&self) -> u32 {
        hash::flow(self.ip.source, self.ip.destination, self.source_port, self.destination_port, self.ip.protocol)
    }

    /// The connection, seen from the client.
    #[inline(always)]
    pub fn flow_key<F: Family<Address = A>>(&self) -> F::FlowKey {
        F::flow_key(self.ip.source, self.ip.destination, self.source_port, self.destination_port, self.ip.protocol)
    }

    /// What it is sent to.
    #[inline(always)]
    pub fn destination_key<F: Family<Address = A>>(&self) -> F::FrontendKey {
        F::frontend_key(self.ip.destination, self.destination_port, self.ip.protocol)
    }

    /// What it comes from.
    #[inline(always)]
    pub fn source_key<F: Family<Address = A>>(&self) -> F::FrontendKey {
        F::frontend_key(self.ip.source, self.source_port, self.ip.protocol)
    }
}

/// The longest TCP header, in bytes (RFC 9293: 15 words).
pub const MAX_TCP_HEADER: usize = 60;

const _: () = assert!(wire::TCP_HEADER < MAX_TCP_HEADER);
