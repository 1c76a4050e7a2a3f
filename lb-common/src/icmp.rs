//! The message that a port is not reachable: ICMP (RFC 792) and ICMPv6 (RFC 4443).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    checksum,
    family::{Address, Address6},
};

/// Length of the header in front of what is quoted, in bytes.
pub const ICMP_HEADER: usize = size_of::<Icmp>();

/// The header of a message about a packet that could not be delivered.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Icmp {
    /// What it is about.
    pub kind: u8,
    /// What of that.
    pub code: u8,
    /// Checksum (RFC 1071) over this header and what is quoted, for IPv6 with a pseudo-header; as the machine reads it.
    pub checksum: u16,
    /// Always 0.
    pub unused: u32,
}

const _: () = assert!(size_of::<Icmp>() == 8);

impl Icmp {
    /// The protocol number of ICMP.
    pub const PROTOCOL_V4: u8 = 1;
    /// The protocol number of ICMPv6.
    pub const PROTOCOL_V6: u8 = 58;

    /// ICMP's "port unreachable"; `quoted` is the sum of the words that are quoted.
    #[inline(always)]
    pub fn port_unreachable_v4(quoted: u64) -> Self {
        Self { kind: 3, code: 3, checksum: 0, unused: 0 }.summed(quoted)
    }

    /// ICMPv6's "port unreachable" between these addresses; `quoted` is the sum of the words that are quoted, which are
    /// so many bytes.
    #[inline(always)]
    pub fn port_unreachable_v6(source: Address6, destination: Address6, quoted: u64, quoted_length: u16) -> Self {
        let length = u32::from(quoted_length).wrapping_add(ICMP_HEADER as u32);
        let mut sum =
            quoted.wrapping_add(length.to_be().into()).wrapping_add(u32::from(Self::PROTOCOL_V6).to_be().into());
        for index in 0..Address6::WORDS {
            sum = sum.wrapping_add(source.word(index).into()).wrapping_add(destination.word(index).into());
        }
        Self { kind: 1, code: 4, checksum: 0, unused: 0 }.summed(sum)
    }

    #[inline(always)]
    fn summed(mut self, rest: u64) -> Self {
        let first = u32::from_ne_bytes([self.kind, self.code, 0, 0]);
        self.checksum = !checksum::fold(rest.wrapping_add(first.into()));
        self
    }
}
