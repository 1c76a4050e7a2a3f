//! What the bench's programs and the bench agree on. Nothing else uses it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// 64-bit words of a frame that are put back before every repeat.
pub const HEADER_WORDS: usize = 16;
/// Bytes of a frame that are put back before every repeat; no test frame is shorter.
pub const HEADER_BYTES: usize = HEADER_WORDS * size_of::<u64>();

/// The one element of the `BENCH` map.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Bench {
    /// The frame's first bytes.
    pub header: [u64; HEADER_WORDS],
    /// The frame's length, in bytes.
    pub length: u32,
    /// Offset in the frame of the word of the client's address that is varied, in bytes; at most 127.
    pub client_offset: u32,
    /// That word, octets in wire order.
    pub client: u32,
    /// Which of its bits are varied; 0: one flow.
    pub flow_mask: u32,
    /// How many repeats have been.
    pub turn: u32,
    /// How many repeats in a row one flow gets, as a power of two.
    pub turns_per_flow_log2: u32,
    /// By how much consecutive flows differ; odd, and large so that neighbours do not share cache lines.
    pub stride: u32,
    /// Always 0.
    pub pad: u32,
}

const _: () = assert!(size_of::<Bench>() == HEADER_BYTES + 32);
