//! How long to wait before the API server is asked again.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// Longest pause after the first failure.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause.
pub(super) const LONGEST: Duration = Duration::from_secs(30);
/// After so many doublings the pause is the longest, whatever the first was.
const MAX_DOUBLINGS: u32 = 16;

/// The pause after so many failures in a row: it doubles, up to 30 s, and lies anywhere in the upper half of that, so
/// that the agents of a large cluster do not come back all at once.
pub(super) fn pause(failures: u32, random: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else {
        return Duration::ZERO;
    };
    let longest = FIRST.saturating_mul(1 << doublings.min(MAX_DOUBLINGS)).min(LONGEST);
    longest / 2 + (longest / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// A number that nobody can foretell: the standard library seeds its hashers so.
pub(super) fn random() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_bounded() {
        let millis = |failures, random| pause(failures, random).as_millis();
        for (failures, shortest, longest) in [
            (0, 0, 0),
            (1, 250, 500),
            (2, 500, 1000),
            (5, 4000, 8000),
            (7, 15_000, 30_000),
            (8, 15_000, 30_000),
            (u32::MAX, 15_000, 30_000),
        ] {
            assert_eq!((millis(failures, 0), millis(failures, u32::MAX)), (shortest, longest), "{failures}");
        }
    }
}
