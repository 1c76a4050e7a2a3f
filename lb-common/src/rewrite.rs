//! Changing one end of a connection in place: address, port, and the checksums over them.

use crate::{
    checksum::Delta,
    family::{Address, Family},
    packet::Packet,
    parse::Headers,
};

/// Offset of the source port in a TCP or UDP header, in bytes.
const SOURCE_PORT_OFFSET: usize = 0;
/// Offset of the destination port in a TCP or UDP header, in bytes.
const DESTINATION_PORT_OFFSET: usize = 2;

/// Makes `address` and `port` the packet's destination. `None` when a write fails.
#[inline(always)]
pub fn destination<F: Family, P: Packet>(
    packet: &mut P,
    headers: &Headers<F::Address>,
    address: F::Address,
    port: u16,
) -> Option<()> {
    let old = (headers.ip.destination, headers.destination_port);
    let at = (headers.l3 + F::DESTINATION_OFFSET, headers.l4 + DESTINATION_PORT_OFFSET);
    replace::<F, P>(packet, headers, at, old, (address, port), Delta::NONE)
}

/// Makes `address` and `port` the packet's source. `None` when a write fails.
///
/// `also` is what else changed in the TCP header, for its checksum.
#[inline(always)]
pub fn source<F: Family, P: Packet>(
    packet: &mut P,
    headers: &Headers<F::Address>,
    address: F::Address,
    port: u16,
    also: Delta,
) -> Option<()> {
    let old = (headers.ip.source, headers.source_port);
    let at = (headers.l3 + F::SOURCE_OFFSET, headers.l4 + SOURCE_PORT_OFFSET);
    replace::<F, P>(packet, headers, at, old, (address, port), also)
}

#[inline(always)]
fn replace<F: Family, P: Packet>(
    packet: &mut P,
    headers: &Headers<F::Address>,
    (address_offset, port_offset): (usize, usize),
    (old_address, old_port): (F::Address, u16),
    (address, port): (F::Address, u16),
    also: Delta,
) -> Option<()> {
    let mut pseudo_header = Delta::NONE;
    for index in 0..F::Address::WORDS {
        let word = address.word(index);
        pseudo_header = pseudo_header.replace(old_address.word(index), word);
        packet.write(address_offset + 4 * index, &word)?;
    }
    if let Some(offset) = F::CHECKSUM_OFFSET {
        let before = packet.read::<u16>(headers.l3 + offset)?;
        packet.write(headers.l3 + offset, &pseudo_header.apply(before))?;
    }
    packet.write(port_offset, &port.to_be())?;
    let header = if old_port == port { also } else { also.replace(old_port.to_be().into(), port.to_be().into()) };
    packet.update_checksum(headers.checksum_offset(), pseudo_header, header, headers.is_udp())
}
