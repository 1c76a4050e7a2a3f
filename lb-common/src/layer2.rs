//! A frame's Ethernet header with its VLAN tags, as it is moved when the frame's head moves.

use crate::{
    packet::Packet,
    wire::{Be16, ETHER_TYPE_OFFSET, ETHERNET_HEADER, MAX_VLAN_TAGS, VLAN_TAG},
};

/// Offsets of the first octets of both addresses.
const DESTINATION: usize = 0;
const SOURCE: usize = 6;
/// The bit of an address's first two octets that makes it one of several stations (IEEE 802).
const GROUP: u16 = 0x0100;

/// The Ethernet header with its tags. The EtherType behind them stays, because outer headers are of the inner ones'
/// family.
///
/// In words, as in [`tunnel`](crate::tunnel).
#[derive(Clone, Copy)]
pub(crate) struct Layer2 {
    addresses: [u32; 3],
    /// The EtherType, or the first tag's.
    ether_type: u16,
    /// A tag's id and the EtherType behind it.
    tags: [Option<u32>; MAX_VLAN_TAGS],
}

impl Layer2 {
    /// That of a frame whose IP header is at `l3`.
    #[inline(always)]
    pub(crate) fn read<P: Packet>(packet: &P, l3: usize) -> Option<Self> {
        Some(Self {
            addresses: [packet.read(0)?, packet.read(4)?, packet.read(8)?],
            ether_type: packet.read(ETHER_TYPE_OFFSET)?,
            tags: [Self::tag(packet, l3, 0)?, Self::tag(packet, l3, 1)?],
        })
    }

    /// Tag `index`, if there is one before `l3`.
    #[inline(always)]
    fn tag<P: Packet>(packet: &P, l3: usize, index: usize) -> Option<Option<u32>> {
        let offset = ETHERNET_HEADER + index * VLAN_TAG;
        if offset < l3 { packet.read(offset).map(Some) } else { Some(None) }
    }

    /// Puts it at the head of a frame.
    #[inline(always)]
    pub(crate) fn write<P: Packet>(&self, packet: &mut P) -> Option<()> {
        packet.write(0, &self.addresses[0])?;
        packet.write(4, &self.addresses[1])?;
        packet.write(8, &self.addresses[2])?;
        packet.write(ETHER_TYPE_OFFSET, &self.ether_type)?;
        if let Some(tag) = self.tags[0] {
            packet.write(ETHERNET_HEADER, &tag)?;
        }
        if let Some(tag) = self.tags[1] {
            packet.write(ETHERNET_HEADER + VLAN_TAG, &tag)?;
        }
        Some(())
    }

    /// The way back: source and destination changed over.
    #[inline(always)]
    pub(crate) fn back(mut self) -> Self {
        // Six octets each, in three words: halves of words change places.
        let [a, b, c] = self.addresses.map(u32::from_le);
        self.addresses = [b >> 16 | c << 16, c >> 16 | a << 16, a >> 16 | b << 16].map(u32::to_le);
        self
    }
}

/// Whether a frame is from one station to one: no broadcast, no multicast.
#[inline(always)]
pub(crate) fn is_from_one_to_one<P: Packet>(packet: &P) -> bool {
    // Two octets: a comparison for a single one at offset 0 is compiled to what tells the verifier nothing.
    let is_one = |offset| packet.read::<Be16>(offset).is_some_and(|octets| octets.get() & GROUP == 0);
    is_one(DESTINATION) && is_one(SOURCE)
}

#[cfg(test)]
mod tests {
    use crate::host::Frame;

    use super::*;

    #[test]
    fn the_way_back_has_the_addresses_changed_over_and_the_rest_as_it_was() {
        let cases: [(&[u8], usize); 3] = [
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x08, 0x00], 14),
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x81, 0x00, 0, 5, 0x86, 0xdd], 18),
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x88, 0xa8, 0, 5, 0x81, 0x00, 0, 6, 0x86, 0xdd], 22),
        ];
        for (bytes, l3) in cases {
            let mut frame = Frame::new(bytes, 1);
            Layer2::read(&frame, l3).unwrap().back().write(&mut frame).unwrap();
            assert_eq!(frame.bytes()[..12], [7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6]);
            assert_eq!(frame.bytes()[12..], bytes[12..]);
        }
    }

    #[test]
    fn broadcast_and_multicast_are_not_from_one_to_one() {
        for (destination, source, expected) in [(0x02, 0x00, true), (0xff, 0x00, false), (0x02, 0x01, false)] {
            let mut bytes = [0; 14];
            (bytes[0], bytes[6]) = (destination, source);
            assert_eq!(is_from_one_to_one(&Frame::new(&bytes, 1)), expected, "{destination} {source}");
        }
    }
}
