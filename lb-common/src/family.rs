//! The two address families, as types: one code path, separate maps, IPv4 keys that stay small.

mod address;

use core::hash::Hash;

use zerocopy::{FromBytes, Immutable, IntoBytes};

pub use self::address::{Address, Address4, Address6};
use crate::{
    geneve::{TunnelOption4, TunnelOption6},
    icmp::{ICMP_HEADER, Icmp},
    layout::{
        AffinityKey4, AffinityKey6, Config, FlowKey4, FlowKey6, FrontendKey4, FrontendKey6, Key, Keyed, NextHop,
        NextHop4, NextHop6, Reply4, Reply6, SourceRange4, SourceRange6,
    },
    packet::Packet,
    parse::Ip,
    reason::Reason,
    wire::{EtherType, Ipv4, Ipv6, Protocol},
};

/// A value whose bytes mean the same on both sides of a map.
pub trait Layout: FromBytes + IntoBytes + Immutable + Copy + 'static {}

impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> Layout for T {}

/// An address family: its address, its headers and the keys of its maps.
pub trait Family: Copy + 'static {
    /// The address.
    type Address: Address;
    /// Key of `FRONTENDS` and `LOCALS`.
    type FrontendKey: Key;
    /// Key of `FLOWS` and `REPLIES`.
    type FlowKey: Key;
    /// Key of `AFFINITY`.
    type AffinityKey: Key;
    /// Key of `SOURCE_RANGES`, behind the length of its prefix.
    type SourceRange: Layout + Eq + Hash;
    /// Value of `REPLIES`: the frontend that a reply must carry as its source.
    type Reply: Keyed + Eq;
    /// Value of `NEXT_HOPS`: how to reach another node.
    type NextHop: NextHop<Self::Address> + Layout;
    /// Geneve header with our option.
    type TunnelOption: Layout;

    /// The EtherType, which is also Geneve's protocol type.
    const ETHER_TYPE: EtherType;
    /// Length of an IP header without options, in bytes.
    const IP_HEADER: usize;
    /// What the tunnel adds to a packet, in bytes: outer IP, UDP, Geneve, our option.
    const TUNNEL_OVERHEAD: usize;
    /// Offset of the source address within the IP header, in bytes.
    const SOURCE_OFFSET: usize;
    /// Offset of the destination address within the IP header, in bytes.
    const DESTINATION_OFFSET: usize;
    /// Offset of the header checksum within the IP header; IPv6 has none.
    const CHECKSUM_OFFSET: Option<usize>;

    /// Reads the IP header at `l3`.
    ///
    /// # Errors
    /// The reason why this packet is not for us to look into.
    fn read_ip<P: Packet>(packet: &P, l3: usize) -> Result<Ip<Self::Address>, Reason>;

    /// Writes an IP header for `payload_length` bytes of UDP at `l3`; `None` when the frame is too short.
    fn write_outer_ip<P: Packet>(
        packet: &mut P,
        l3: usize,
        hop: &Self::NextHop,
        payload_length: u16,
        traffic_class: u8,
    ) -> Option<()>;

    /// Writes an IP header at `l3` and "port unreachable" behind it; `None` when the frame is too short. `ends` are source and
    /// destination, `quoted` the sum of the words that follow, `quoted_length` their bytes.
    fn write_port_unreachable<P: Packet>(
        packet: &mut P,
        l3: usize,
        ends: (Self::Address, Self::Address),
        quoted: u64,
        quoted_length: u16,
    ) -> Option<()>;

    /// The Geneve header and the option that names a backend.
    fn tunnel_option(address: Self::Address, port: u16) -> Self::TunnelOption;

    /// The backend that a Geneve header and option name; `None` where the option is not exactly ours.
    fn parse_tunnel_option(option: &Self::TunnelOption) -> Option<(Self::Address, u16)>;

    /// A key of `FRONTENDS` and `LOCALS`; the port in host order.
    fn frontend_key(address: Self::Address, port: u16, protocol: Protocol) -> Self::FrontendKey;

    /// A key of `FLOWS` and `REPLIES`; ports in host order.
    fn flow_key(
        source: Self::Address,
        destination: Self::Address,
        source_port: u16,
        destination_port: u16,
        protocol: Protocol,
    ) -> Self::FlowKey;

    /// A key of `AFFINITY`: the client's address, masked, and what it is held for.
    fn affinity_key(client: Self::Address, service: [u32; 2]) -> Self::AffinityKey;

    /// A key of `SOURCE_RANGES`: an address and the Service port that it asks for.
    fn source_range(service: u32, address: Self::Address) -> Self::SourceRange;

    /// A value of `REPLIES`, nobody's yet.
    fn reply(address: Self::Address, port: u16) -> Self::Reply;

    /// The same value with one answer more, and how many there are then.
    fn answered(reply: Self::Reply) -> (Self::Reply, u16);

    /// Largest MSS that a SYN-ACK may announce, in bytes; 0: leave it alone.
    fn largest_mss(config: &Config) -> u16;

    /// Address and port of a value of `REPLIES`.
    fn reply_parts(reply: &Self::Reply) -> (Self::Address, u16);
}

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub struct V4;

/// IPv6.
#[derive(Clone, Copy, Debug)]
pub struct V6;

impl Family for V4 {
    type Address = Address4;
    type FrontendKey = FrontendKey4;
    type FlowKey = FlowKey4;
    type AffinityKey = AffinityKey4;
    type SourceRange = SourceRange4;
    type Reply = Reply4;
    type NextHop = NextHop4;
    type TunnelOption = TunnelOption4;

    const ETHER_TYPE: EtherType = EtherType::IPV4;
    const IP_HEADER: usize = size_of::<Ipv4>();
    const TUNNEL_OVERHEAD: usize = Self::IP_HEADER + crate::wire::UDP_HEADER + size_of::<TunnelOption4>();
    const SOURCE_OFFSET: usize = 12;
    const DESTINATION_OFFSET: usize = 16;
    const CHECKSUM_OFFSET: Option<usize> = Some(10);

    #[inline(always)]
    fn read_ip<P: Packet>(packet: &P, l3: usize) -> Result<Ip<Address4>, Reason> {
        packet.read::<Ipv4>(l3).ok_or(Reason::Truncated)?.parse()
    }

    #[inline(always)]
    fn write_outer_ip<P: Packet>(
        packet: &mut P,
        l3: usize,
        hop: &NextHop4,
        payload_length: u16,
        traffic_class: u8,
    ) -> Option<()> {
        packet.write(l3, &Ipv4::udp(hop.source, hop.destination, payload_length, traffic_class))
    }

    #[inline(always)]
    fn write_port_unreachable<P: Packet>(
        packet: &mut P,
        l3: usize,
        (source, destination): (Address4, Address4),
        quoted: u64,
        quoted_length: u16,
    ) -> Option<()> {
        let length = quoted_length.wrapping_add(ICMP_HEADER as u16);
        packet.write(l3, &Ipv4::new(source, destination, Icmp::PROTOCOL_V4, length, 0))?;
        packet.write(l3 + Self::IP_HEADER, &Icmp::port_unreachable_v4(quoted))
    }

    #[inline(always)]
    fn tunnel_option(address: Address4, port: u16) -> TunnelOption4 {
        TunnelOption4::new(address, port)
    }

    #[inline(always)]
    fn parse_tunnel_option(option: &TunnelOption4) -> Option<(Address4, u16)> {
        option.parse()
    }

    #[inline(always)]
    fn frontend_key(address: Address4, port: u16, protocol: Protocol) -> FrontendKey4 {
        FrontendKey4 { address, port, protocol: protocol.0 as u8, pad: 0 }
    }

    #[inline(always)]
    fn flow_key(
        source: Address4,
        destination: Address4,
        source_port: u16,
        destination_port: u16,
        protocol: Protocol,
    ) -> FlowKey4 {
        FlowKey4 { source, destination, source_port, destination_port, protocol: protocol.0 }
    }

    #[inline(always)]
    fn affinity_key(client: Address4, service: [u32; 2]) -> AffinityKey4 {
        AffinityKey4 { client, service }
    }

    #[inline(always)]
    fn source_range(service: u32, address: Address4) -> SourceRange4 {
        SourceRange4 { service: service.to_be(), address }
    }

    #[inline(always)]
    fn reply(address: Address4, port: u16) -> Reply4 {
        Reply4 { check: 0, address, port, answers: 0 }
    }

    #[inline(always)]
    fn answered(reply: Reply4) -> (Reply4, u16) {
        let answers = reply.answers.saturating_add(1);
        (Reply4 { answers, ..reply }, answers)
    }

    #[inline(always)]
    fn largest_mss(config: &Config) -> u16 {
        config.mss4
    }

    #[inline(always)]
    fn reply_parts(reply: &Reply4) -> (Address4, u16) {
        (reply.address, reply.port)
    }
}

impl Family for V6 {
    type Address = Address6;
    type FrontendKey = FrontendKey6;
    type FlowKey = FlowKey6;
    type AffinityKey = AffinityKey6;
    type SourceRange = SourceRange6;
    type Reply = Reply6;
    type NextHop = NextHop6;
    type TunnelOption = TunnelOption6;

    const ETHER_TYPE: EtherType = EtherType::IPV6;
    const IP_HEADER: usize = size_of::<Ipv6>();
    const TUNNEL_OVERHEAD: usize = Self::IP_HEADER + crate::wire::UDP_HEADER + size_of::<TunnelOption6>();
    const SOURCE_OFFSET: usize = 8;
    const DESTINATION_OFFSET: usize = 24;
    const CHECKSUM_OFFSET: Option<usize> = None;

    #[inline(always)]
    fn read_ip<P: Packet>(packet: &P, l3: usize) -> Result<Ip<Address6>, Reason> {
        packet.read::<Ipv6>(l3).ok_or(Reason::Truncated)?.parse()
    }

    #[inline(always)]
    fn write_outer_ip<P: Packet>(
        packet: &mut P,
        l3: usize,
        hop: &NextHop6,
        payload_length: u16,
        traffic_class: u8,
    ) -> Option<()> {
        packet.write(l3, &Ipv6::udp(hop.source, hop.destination, payload_length, traffic_class))
    }

    #[inline(always)]
    fn write_port_unreachable<P: Packet>(
        packet: &mut P,
        l3: usize,
        (source, destination): (Address6, Address6),
        quoted: u64,
        quoted_length: u16,
    ) -> Option<()> {
        let length = quoted_length.wrapping_add(ICMP_HEADER as u16);
        packet.write(l3, &Ipv6::new(source, destination, Icmp::PROTOCOL_V6, length, 0))?;
        packet.write(l3 + Self::IP_HEADER, &Icmp::port_unreachable_v6(source, destination, quoted, quoted_length))
    }

    #[inline(always)]
    fn tunnel_option(address: Address6, port: u16) -> TunnelOption6 {
        TunnelOption6::new(address, port)
    }

    #[inline(always)]
    fn parse_tunnel_option(option: &TunnelOption6) -> Option<(Address6, u16)> {
        option.parse()
    }

    #[inline(always)]
    fn frontend_key(address: Address6, port: u16, protocol: Protocol) -> FrontendKey6 {
        FrontendKey6 { address, port, protocol: protocol.0 as u8, pad: 0 }
    }

    #[inline(always)]
    fn flow_key(
        source: Address6,
        destination: Address6,
        source_port: u16,
        destination_port: u16,
        protocol: Protocol,
    ) -> FlowKey6 {
        FlowKey6 { source, destination, source_port, destination_port, protocol: protocol.0 }
    }

    #[inline(always)]
    fn affinity_key(client: Address6, service: [u32; 2]) -> AffinityKey6 {
        AffinityKey6 { client, service }
    }

    #[inline(always)]
    fn source_range(service: u32, address: Address6) -> SourceRange6 {
        SourceRange6 { service: service.to_be(), address }
    }

    #[inline(always)]
    fn reply(address: Address6, port: u16) -> Reply6 {
        Reply6 { check: 0, address, port, answers: 0, pad: 0 }
    }

    #[inline(always)]
    fn answered(reply: Reply6) -> (Reply6, u16) {
        let answers = reply.answers.saturating_add(1);
        (Reply6 { answers, ..reply }, answers)
    }

    #[inline(always)]
    fn largest_mss(config: &Config) -> u16 {
        config.mss6
    }

    #[inline(always)]
    fn reply_parts(reply: &Reply6) -> (Address6, u16) {
        (reply.address, reply.port)
    }
}
