//! Who may come in: the ranges of `loadBalancerSourceRanges`, and the cluster's own networks.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::family::{Address4, Address6};

/// Bits of a key of `SOURCE_RANGES4` and `SOURCE_RANGES6` before the address: those of the Service port's id. A prefix has
/// at least these, so that ranges are one Service port's.
pub const SOURCE_RANGE_SERVICE_BITS: u32 = 32;

/// Key of `SOURCE_RANGES4`, behind the length of the prefix in bits, which counts from the id on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SourceRange4 {
    /// Id of the Service port, octets in wire order: a prefix is one of octets.
    pub service: u32,
    /// The source address, or the range's first.
    pub address: Address4,
}

/// Key of `SOURCE_RANGES6`, as [`SourceRange4`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SourceRange6 {
    /// Id of the Service port, octets in wire order.
    pub service: u32,
    /// The source address, or the range's first.
    pub address: Address6,
}

const _: () = assert!(size_of::<SourceRange4>() == 8);
const _: () = assert!(size_of::<SourceRange6>() == 20);
