//! At most so many of a thing in a second.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How many there were in this second: one CPU's element of `REJECT_RATE`, and part of `BREAK_RATE`'s.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rate {
    /// The second that is counted, of the monotonic clock.
    pub second: u32,
    /// How many there were in it.
    pub sent: u32,
}

const _: () = assert!(size_of::<Rate>() == 8);

impl Rate {
    /// Counts one at this second; false, and not counted, where there were `most` of them. One of an earlier second, by a
    /// clock that is a little behind, counts as one of now.
    #[inline(always)]
    pub fn admit(&mut self, second: u32, most: u32) -> bool {
        if second > self.second {
            self.second = second;
            self.sent = 0;
        }
        if self.sent >= most {
            return false;
        }
        self.sent += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second() {
        let mut rate = Rate::default();
        assert_eq!((0..15).filter(|_| rate.admit(7, 10)).count(), 10);
        assert!(!rate.admit(6, 10), "another CPU's clock is a little behind");
        assert!(rate.admit(8, 10), "the next second begins anew");
    }
}
