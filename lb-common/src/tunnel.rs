//! The way between nodes: Geneve (RFC 8926) with one option that names the backend.
//!
//! The packet inside is left as it is, so that the backend's node sees both the client and the frontend, and can
//! answer the client itself. The inner packet starts at its IP header.

use crate::{
    family::{Address, Family},
    layer2::Layer2,
    layout::{Backend, NextHop, Way},
    packet::{FamilyTables, Packet},
    parse::{self, Headers},
    reason::{Action, Reason, Verdict},
    reply, rewrite,
    wire::{Be16, ETHER_TYPE_OFFSET, ETHERNET_HEADER, MAX_VLAN_TAGS, UDP_HEADER, Udp, VLAN_TAG},
};

/// Lowest source port of the tunnel: the dynamic range (RFC 6335), as RFC 8926 section 3.3 asks.
const FIRST_SOURCE_PORT: u16 = 0xc000;
/// Length of an Ethernet header with all tags that there may be, in bytes.
const MAX_LAYER_2: usize = ETHERNET_HEADER + MAX_VLAN_TAGS * VLAN_TAG;
/// ECN is left out of the outer header: what happened on the way would be lost at the other end (RFC 6040, 4.3).
const DSCP_MASK: u8 = 0xfc;

/// Sends a packet to the node that its backend is on; `how` is counted when it leaves.
#[inline(always)]
pub fn send<F: Family, P: Packet, T: FamilyTables<F>>(
    packet: &mut P,
    tables: &T,
    headers: &Headers<F::Address>,
    backend: &Backend,
    how: Reason,
) -> Verdict {
    let Some(hop) = tables.next_hop(backend.node).filter(|hop| hop.way().is_known()) else {
        return Verdict::drop(Reason::NoNextHop);
    };
    let way = *hop.way();
    if headers.ip.total_length + F::TUNNEL_OVERHEAD > way.mtu.into() {
        return Verdict::drop(Reason::TooBig);
    }
    // The frame gets the way's own Ethernet header and tags, whatever it came with.
    let l3 = ETHERNET_HEADER + VLAN_TAG * way.tag_count as usize;
    if l3 > MAX_LAYER_2 {
        return Verdict::drop(Reason::NoNextHop);
    }
    if packet.grow(F::TUNNEL_OVERHEAD + l3 - headers.l3).is_none() {
        return Verdict::drop(Reason::NoHeadroom);
    }
    if wrap::<F, P>(packet, headers, &hop, l3, backend).is_none() {
        return Verdict::drop(Reason::WriteFailed);
    }
    let action = if way.device == packet.device() { Action::Transmit } else { Action::Redirect(way.device) };
    Verdict { action, reason: how }
}

/// Writes everything in front of the packet; its outer IP header shall be at `l3`.
#[inline(always)]
fn wrap<F: Family, P: Packet>(
    packet: &mut P,
    headers: &Headers<F::Address>,
    hop: &F::NextHop,
    l3: usize,
    backend: &Backend,
) -> Option<()> {
    let way = hop.way();
    write_layer_2::<F, P>(packet, way, l3)?;
    let udp_length = (headers.ip.total_length + F::TUNNEL_OVERHEAD - F::IP_HEADER) as u16;
    F::write_outer_ip(packet, l3, hop, udp_length, headers.ip.traffic_class & DSCP_MASK)?;
    let l4 = l3 + F::IP_HEADER;
    let udp = Udp {
        source: Be16::new(FIRST_SOURCE_PORT | headers.flow_hash() as u16),
        destination: Be16::new(way.tunnel_port),
        length: Be16::new(udp_length),
        checksum: Be16::ZERO,
    };
    packet.write(l4, &udp)?;
    let option = F::tunnel_option(F::Address::from_words(backend.address), backend.port);
    packet.write(l4 + UDP_HEADER, &option)
}

/// Word by word: the compiler copies larger values byte by byte, or to places on the stack that the verifier refuses.
#[inline(always)]
fn write_layer_2<F: Family, P: Packet>(packet: &mut P, way: &Way, l3: usize) -> Option<()> {
    packet.write(0, &way.ethernet[0])?;
    packet.write(4, &way.ethernet[1])?;
    packet.write(8, &way.ethernet[2])?;
    if way.tag_count > 0 {
        packet.write(ETHER_TYPE_OFFSET, &way.tags[0])?;
    }
    if way.tag_count > 1 {
        packet.write(ETHER_TYPE_OFFSET + VLAN_TAG, &way.tags[1])?;
    }
    packet.write(l3 - size_of::<Be16>(), &Be16::new(F::ETHER_TYPE.0))
}

/// Takes a packet out of the tunnel and hands it to the Pod that it names; `outer` are the tunnel's headers.
#[inline(always)]
pub fn receive<F: Family, P: Packet, T: FamilyTables<F>>(
    packet: &mut P,
    tables: &T,
    outer: &Headers<F::Address>,
) -> Verdict {
    if !tables.is_peer(&outer.ip.source) {
        return Verdict::drop(Reason::TunnelStranger);
    }
    let option = packet.read::<F::TunnelOption>(outer.l4 + UDP_HEADER);
    let Some((address, port)) = option.and_then(|option| F::parse_tunnel_option(&option)) else {
        return Verdict::drop(Reason::TunnelMalformed);
    };
    let inner = match parse::headers::<F, P>(packet, outer.l3 + F::TUNNEL_OVERHEAD) {
        Ok(inner) if inner.fit(packet) && !is_nested(outer, &inner) => Headers { l3: outer.l3, l4: outer.l4, ..inner },
        Ok(_) | Err(_) => return Verdict::drop(Reason::TunnelInner),
    };
    if !tables.is_local_backend(&F::frontend_key(address, port, inner.ip.protocol)) {
        return Verdict::drop(Reason::TunnelNotLocal);
    }
    if unwrap::<F, P>(packet, &inner, address, port).is_none() {
        return Verdict::drop(Reason::WriteFailed);
    }
    reply::note::<F, T>(tables, &inner, address, port);
    Verdict::pass(Reason::Decapsulated)
}

/// Whether what is inside is for the tunnel itself: no node sends that.
#[inline(always)]
fn is_nested<A: Address>(outer: &Headers<A>, inner: &Headers<A>) -> bool {
    inner.destination_port == outer.destination_port && inner.ip.destination == outer.ip.destination
}

/// Takes off what [`wrap`] put in front, and addresses the packet to the Pod; `inner` are the packet's headers as they
/// lie afterwards.
#[inline(always)]
fn unwrap<F: Family, P: Packet>(
    packet: &mut P,
    inner: &Headers<F::Address>,
    address: F::Address,
    port: u16,
) -> Option<()> {
    let layer2 = Layer2::read(packet, inner.l3)?;
    packet.shrink(F::TUNNEL_OVERHEAD)?;
    layer2.write(packet)?;
    rewrite::destination::<F, P>(packet, inner, address, port)
}
