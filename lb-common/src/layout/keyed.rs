//! Values that say whose they are.
//!
//! The kernel hands an element of a preallocated hash map on to another key as soon as its own was removed, replaced or pushed
//! out, without waiting for programs that have just looked it up (kernel/bpf/hashtab.c, kernel/bpf/bpf_lru_list.c). A
//! program that was kept from going on between look-up and copy then has somebody else's value in its hands: another
//! Service port's frontend, another connection's Pod. So these values carry a check of their key, and what does not fit
//! was not found ([`fitting`]).

use core::hash::Hash;

use zerocopy::transmute;

use super::{
    Affinity, AffinityKey4, AffinityKey6, Flow, FlowKey4, FlowKey6, Frontend, FrontendKey4, FrontendKey6, Reply4,
    Reply6, Sibling, SiblingKey,
};
use crate::family::Layout;

/// How often a value is looked up whose element is another key's by then. Twice in a row would be one in millions of
/// millions.
const LOOK_UPS: usize = 2;
/// Odd, and so that sums of them by small numbers are not the same: words of a key that are exchanged make another check.
const MULTIPLIERS: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0xd6e8_feb8_6659_fd93];

/// A key of a map whose elements are handed on.
pub trait Key: Layout + Eq + Hash {
    /// What tells it from other keys. All words go in with multipliers of their own, in one sum: the products do not wait for
    /// each other, and keys that differ in one word never have one check.
    fn check(&self) -> u64;
}

/// A value of such a map. Its check is its first field: the kernel writes a value from its beginning on, so what is read
/// before the check was not written after it.
pub trait Keyed: Layout {
    /// The check that it carries.
    fn check(&self) -> u64;

    /// The same value with another check.
    #[must_use]
    fn with_check(self, check: u64) -> Self;

    /// What of the value goes into its check beside the key: nothing where programs write single fields.
    #[inline(always)]
    fn digest(&self) -> u64 {
        0
    }

    /// The same value as that of this key.
    #[inline(always)]
    #[must_use]
    fn of(self, key: &impl Key) -> Self {
        let check = key.check().wrapping_add(self.digest());
        self.with_check(check)
    }

    /// Whether it is that of this key.
    #[inline(always)]
    fn fits(&self, key: &impl Key) -> bool {
        self.check() == key.check().wrapping_add(self.digest())
    }
}

/// What `find` finds for a key, if it is the key's.
#[inline(always)]
pub fn fitting<V: Keyed>(key: &impl Key, find: impl Fn() -> Option<V>) -> Option<V> {
    for _ in 0..LOOK_UPS {
        let found = find()?;
        if found.fits(key) {
            return Some(found);
        }
    }
    None
}

/// Two words as one.
#[inline(always)]
fn pair(first: u32, second: u32) -> u64 {
    u64::from(second) << 32 | u64::from(first)
}

/// Words, each by a multiplier of its own, in one sum.
#[inline(always)]
fn sum<const N: usize>(words: [u64; N]) -> u64 {
    let mut sum = 0_u64;
    for (word, multiplier) in words.into_iter().zip(MULTIPLIERS) {
        sum = sum.wrapping_add(word.wrapping_mul(multiplier));
    }
    sum
}

impl Key for FrontendKey4 {
    #[inline(always)]
    fn check(&self) -> u64 {
        let [a, b]: [u32; 2] = transmute!(*self);
        sum([pair(a, b)])
    }
}

impl Key for FrontendKey6 {
    #[inline(always)]
    fn check(&self) -> u64 {
        let [a, b, c, d, e]: [u32; 5] = transmute!(*self);
        sum([pair(a, b), pair(c, d), e.into()])
    }
}

impl Key for FlowKey4 {
    #[inline(always)]
    fn check(&self) -> u64 {
        let [a, b, c, d]: [u32; 4] = transmute!(*self);
        sum([pair(a, b), pair(c, d)])
    }
}

impl Key for FlowKey6 {
    #[inline(always)]
    fn check(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, i, j]: [u32; 10] = transmute!(*self);
        sum([pair(a, b), pair(c, d), pair(e, f), pair(g, h)]).wrapping_add(pair(i, j))
    }
}

impl Key for AffinityKey4 {
    #[inline(always)]
    fn check(&self) -> u64 {
        let [a, b, c]: [u32; 3] = transmute!(*self);
        sum([a.into(), pair(b, c)])
    }
}

impl Key for AffinityKey6 {
    #[inline(always)]
    fn check(&self) -> u64 {
        let [a, b, c, d, e, f]: [u32; 6] = transmute!(*self);
        sum([pair(a, b), pair(c, d), pair(e, f)])
    }
}

impl Key for SiblingKey {
    #[inline(always)]
    fn check(&self) -> u64 {
        sum([pair(self.service, self.backend)])
    }
}

/// Only user space writes it, whole: so the check says as well that no two versions are mixed up in it.
impl Keyed for Frontend {
    #[inline(always)]
    fn check(&self) -> u64 {
        self.check
    }

    #[inline(always)]
    fn with_check(self, check: u64) -> Self {
        Self { check, ..self }
    }

    #[inline(always)]
    fn digest(&self) -> u64 {
        let Self { kind, flags, client_prefix, pad, service, service_hash, table_offset, .. } = *self;
        let small = u32::from(kind) | u32::from(flags) << 8 | u32::from(client_prefix) << 16 | u32::from(pad) << 24;
        sum([
            pair(small, service),
            pair(service_hash, table_offset),
            pair(self.table_length, self.affinity_timeout_seconds),
            pair(self.affinity[0], self.affinity[1]),
        ])
    }
}

impl Keyed for Flow {
    #[inline(always)]
    fn check(&self) -> u64 {
        self.check
    }

    #[inline(always)]
    fn with_check(self, check: u64) -> Self {
        Self { check, ..self }
    }
}

impl Keyed for Affinity {
    #[inline(always)]
    fn check(&self) -> u64 {
        self.check
    }

    #[inline(always)]
    fn with_check(self, check: u64) -> Self {
        Self { check, ..self }
    }
}

impl Keyed for Reply4 {
    #[inline(always)]
    fn check(&self) -> u64 {
        self.check
    }

    #[inline(always)]
    fn with_check(self, check: u64) -> Self {
        Self { check, ..self }
    }
}

impl Keyed for Reply6 {
    #[inline(always)]
    fn check(&self) -> u64 {
        self.check
    }

    #[inline(always)]
    fn with_check(self, check: u64) -> Self {
        Self { check, ..self }
    }
}

impl Keyed for Sibling {
    #[inline(always)]
    fn check(&self) -> u64 {
        self.check
    }

    #[inline(always)]
    fn with_check(self, check: u64) -> Self {
        Self { check, ..self }
    }
}
