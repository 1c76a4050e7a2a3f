//! Geneve (RFC 8926) with the one option that is ours: what stands between the tunnel's UDP header and the packet.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    family::{Address4, Address6},
    wire::{Be16, Be32, EtherType},
};

/// Class of our Geneve option: of the range for experiments (RFC 8926, section 7, 0xFF00 to 0xFFFF).
pub const OPTION_CLASS: u16 = 0xff4c;
/// Type of our Geneve option; the high bit marks it critical: who does not know it must drop the packet.
pub const OPTION_TYPE: u8 = 0x81;
/// Geneve's C bit: critical options present.
const GENEVE_CRITICAL: u8 = 0x40;

/// Geneve's O bit: a message about the tunnel, whose payload is nobody's packet.
const GENEVE_CONTROL: u8 = 0x80;

/// The fixed Geneve header, followed by the option's header.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct GeneveStart {
    /// Version (2 bits) and length of all options in 32-bit words (6 bits).
    version_length: u8,
    /// O, C and reserved bits.
    flags: u8,
    protocol: Be16,
    /// Virtual network identifier (24 bits), reserved.
    vni_reserved: Be32,
    option_class: Be16,
    option_type: u8,
    /// Reserved (3 bits), length of the option's data in 32-bit words (5 bits).
    option_length: u8,
}

impl GeneveStart {
    #[inline(always)]
    const fn new(protocol: EtherType, data_words: u8) -> Self {
        Self {
            version_length: data_words + 1,
            flags: GENEVE_CRITICAL,
            protocol: Be16::new(protocol.0),
            vni_reserved: Be32::new(0),
            option_class: Be16::new(OPTION_CLASS),
            option_type: OPTION_TYPE,
            option_length: data_words,
        }
    }

    /// Whether this is, in all bits that mean something, what [`GeneveStart::new`] makes.
    #[inline(always)]
    fn is_ours(&self, protocol: EtherType, data_words: u8) -> bool {
        self.version_length == data_words + 1
            && self.flags & GENEVE_CONTROL == 0
            && self.protocol.get() == protocol.0
            && self.option_class.get() == OPTION_CLASS
            && self.option_type == OPTION_TYPE
            && self.option_length == data_words
    }
}

/// Geneve with our option for an IPv4 backend.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TunnelOption4 {
    start: GeneveStart,
    address: Address4,
    port: Be16,
    reserved: Be16,
}

/// Geneve with our option for an IPv6 backend.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TunnelOption6 {
    start: GeneveStart,
    address: Address6,
    port: Be16,
    reserved: Be16,
}

const _: () = assert!(size_of::<TunnelOption4>() == 20);
const _: () = assert!(size_of::<TunnelOption6>() == 32);

impl TunnelOption4 {
    const WORDS: u8 = 2;

    /// The option that names a backend.
    #[inline(always)]
    pub fn new(address: Address4, port: u16) -> Self {
        Self {
            start: GeneveStart::new(EtherType::IPV4, Self::WORDS),
            address,
            port: Be16::new(port),
            reserved: Be16::ZERO,
        }
    }

    /// The backend that it names; `None` where it is not exactly ours.
    #[inline(always)]
    pub fn parse(&self) -> Option<(Address4, u16)> {
        let ours = self.start.is_ours(EtherType::IPV4, Self::WORDS);
        ours.then(|| (self.address, self.port.get()))
    }
}

impl TunnelOption6 {
    const WORDS: u8 = 5;

    /// The option that names a backend.
    #[inline(always)]
    pub fn new(address: Address6, port: u16) -> Self {
        Self {
            start: GeneveStart::new(EtherType::IPV6, Self::WORDS),
            address,
            port: Be16::new(port),
            reserved: Be16::ZERO,
        }
    }

    /// The backend that it names; `None` where it is not exactly ours.
    #[inline(always)]
    pub fn parse(&self) -> Option<(Address6, u16)> {
        let ours = self.start.is_ours(EtherType::IPV6, Self::WORDS);
        ours.then(|| (self.address, self.port.get()))
    }
}
