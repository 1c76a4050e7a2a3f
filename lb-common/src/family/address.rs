//! Addresses as the datapath keeps them: octets in wire order, in words.

use core::hash::Hash;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Layout;

/// An IPv4 address: its four octets in wire order, as one word.
#[derive(
    Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Address4(pub u32);

/// An IPv6 address: its sixteen octets in wire order, as four words.
#[derive(
    Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Address6(pub [u32; 4]);

/// What an address of either family can do.
pub trait Address: Layout + Eq + Hash {
    /// How many 32-bit words it has.
    const WORDS: usize;

    /// Word `index`, octets in wire order; 0 past the end.
    fn word(&self, index: usize) -> u32;

    /// The address from the form that has room for either family: IPv6, with addresses of IPv4 mapped
    /// (RFC 4291, section 2.5.5.2).
    fn from_words(words: [u32; 4]) -> Self;

    /// The inverse of [`Address::from_words`].
    fn to_words(self) -> [u32; 4];

    /// The address with all but its first `prefix` bits 0.
    fn masked(self, prefix: u32) -> Self;

    /// Whether it can be that of one host on the network: neither unspecified nor loopback, multicast or broadcast, nor
    /// reserved (RFC 1122, section 3.2.2; RFC 4443, section 2.4).
    fn is_host(self) -> bool;
}

/// The bits of word `index` of an address that belong to its first `prefix` bits; octets in wire order.
#[inline(always)]
fn mask(prefix: u32, index: u32) -> u32 {
    let bits = prefix.saturating_sub(32 * index);
    match bits {
        0 => 0,
        1..=31 => (u32::MAX << (32 - bits)).to_be(),
        _ => u32::MAX,
    }
}

/// The third word of an IPv6 address that stands for one of IPv4 (RFC 4291, section 2.5.5.2).
const MAPPED: u32 = 0xffff_u32.to_be();

impl Address for Address4 {
    const WORDS: usize = 1;

    #[inline(always)]
    fn word(&self, index: usize) -> u32 {
        if index == 0 { self.0 } else { 0 }
    }

    #[inline(always)]
    fn from_words(words: [u32; 4]) -> Self {
        Self(words[3])
    }

    #[inline(always)]
    fn to_words(self) -> [u32; 4] {
        [0, 0, MAPPED, self.0]
    }

    #[inline(always)]
    fn masked(self, prefix: u32) -> Self {
        Self(self.0 & mask(prefix, 0))
    }

    #[inline(always)]
    fn is_host(self) -> bool {
        let first = u32::from_be(self.0) >> 24;
        first != 0 && first != 127 && first < 224
    }
}

impl Address for Address6 {
    const WORDS: usize = 4;

    #[inline(always)]
    fn word(&self, index: usize) -> u32 {
        match index {
            0 => self.0[0],
            1 => self.0[1],
            2 => self.0[2],
            3 => self.0[3],
            _ => 0,
        }
    }

    #[inline(always)]
    fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    #[inline(always)]
    fn to_words(self) -> [u32; 4] {
        self.0
    }

    #[inline(always)]
    fn masked(self, prefix: u32) -> Self {
        let [a, b, c, d] = self.0;
        Self([a & mask(prefix, 0), b & mask(prefix, 1), c & mask(prefix, 2), d & mask(prefix, 3)])
    }

    #[inline(always)]
    fn is_host(self) -> bool {
        let [a, b, c, d] = self.0;
        let is_multicast = u32::from_be(a) >> 24 == 0xff;
        let is_unspecified_or_loopback = a | b | c == 0 && u32::from_be(d) <= 1;
        !is_multicast && !is_unspecified_or_loopback
    }
}

#[cfg(not(target_arch = "bpf"))]
mod std_addresses {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::{Address4, Address6};

    impl From<Ipv4Addr> for Address4 {
        fn from(address: Ipv4Addr) -> Self {
            Self(u32::from_ne_bytes(address.octets()))
        }
    }

    impl From<Address4> for Ipv4Addr {
        fn from(address: Address4) -> Self {
            address.0.to_ne_bytes().into()
        }
    }

    impl From<Ipv6Addr> for Address6 {
        fn from(address: Ipv6Addr) -> Self {
            zerocopy::transmute!(address.octets())
        }
    }

    impl From<Address6> for Ipv6Addr {
        fn from(address: Address6) -> Self {
            let octets: [u8; 16] = zerocopy::transmute!(address);
            octets.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn hosts_are_neither_everybody_nor_nobody() {
        let v4 = [
            ("192.0.2.1", true),
            ("10.0.0.255", true),
            ("223.255.255.255", true),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("127.0.0.1", false),
            ("224.0.0.1", false),
            ("239.1.2.3", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
        ];
        for (address, expected) in v4 {
            assert_eq!(Address4::from(address.parse::<Ipv4Addr>().unwrap()).is_host(), expected, "{address}");
        }
        let v6 = [
            ("2001:db8::1", true),
            ("fe80::1", true),
            ("::2", true),
            ("1::", true),
            ("::", false),
            ("::1", false),
            ("ff02::1", false),
        ];
        for (address, expected) in v6 {
            assert_eq!(Address6::from(address.parse::<Ipv6Addr>().unwrap()).is_host(), expected, "{address}");
        }
    }
}
