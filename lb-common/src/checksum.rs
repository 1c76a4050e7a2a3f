//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624, equation 3).
//!
//! A sum of 16-bit words does not mind the byte order as long as all of them are read in the same one, so everything
//! here works on words in the machine's own order and swaps nothing.

/// Folds a sum of words to 16 bits, carries added back in.
#[inline(always)]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

/// What replacing some words does to a checksum over them: the sum of the new words and the complements of the old.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Delta(u64);

impl Delta {
    /// Nothing replaced.
    pub const NONE: Self = Self(0);

    /// A 32-bit word replaced, or a 16-bit one at an even offset in the low half of each argument.
    #[inline(always)]
    pub fn replace(self, old: u32, new: u32) -> Self {
        Self(self.0.wrapping_add(u64::from(!old)).wrapping_add(u64::from(new)))
    }

    /// Both changes.
    #[inline(always)]
    pub fn and(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// The checksum after the change, from the one before it.
    #[inline(always)]
    pub fn apply(self, checksum: u16) -> u16 {
        !fold(self.0.wrapping_add(u64::from(!checksum)))
    }

    /// The same change as 32 bits, as `bpf_l4_csum_replace` takes it with a size of 0.
    #[inline(always)]
    pub fn folded(self) -> u32 {
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        ((sum >> 32) + (sum & 0xffff_ffff)) as u32
    }

    /// Whether nothing was replaced.
    #[inline(always)]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn full(words: &[u32]) -> u16 {
        !fold(words.iter().map(|word| u64::from(*word)).sum())
    }

    proptest! {
        #[test]
        fn incremental_equals_full(
            mut words in prop::collection::vec(any::<u32>(), 1..64),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..16),
        ) {
            // An all-zero text has two valid checksums; real headers are never all zero.
            words.push(0x4500_0001);
            let before = full(&words);
            let mut delta = Delta::NONE;
            let last = words.len() - 1;
            for (index, value) in changes {
                let index = index.index(last);
                delta = delta.replace(words[index], value);
                words[index] = value;
            }
            prop_assert_eq!(delta.apply(before), full(&words));
            prop_assert_eq!(!fold(u64::from(delta.folded()) + u64::from(!before)), full(&words));
        }

        #[test]
        fn folding_never_loses_a_carry(words in prop::collection::vec(any::<u32>(), 0..2048)) {
            let halves: Vec<u64> =
                words.iter().flat_map(|word| [u64::from(word >> 16), u64::from(word & 0xffff)]).collect();
            let mut sum: u64 = halves.iter().sum();
            while sum > 0xffff {
                sum = (sum >> 16) + (sum & 0xffff);
            }
            prop_assert_eq!(u64::from(fold(words.iter().map(|word| u64::from(*word)).sum())), sum);
        }
    }

    #[test]
    fn example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        let sum = bytes.chunks(2).map(|pair| u64::from(u16::from_ne_bytes([pair[0], pair[1]]))).sum();
        assert_eq!(fold(sum).to_ne_bytes(), [0xdd, 0xf2]);
    }
}
