//! How new an answer is, compared with what was seen before: the agent does not go back in time unawares.
//!
//! Versions of one kind are numbers that grow (KEP-5504, since Kubernetes 1.35 for all clients; they always were). A list
//! that is asked for without a version is the newest there is. An older one all the same comes from a server that lags or
//! caches where it must not, for which others make up soon, or from a cluster that was put back from a backup, which
//! stays as it is. So it is believed when it stays.

use std::time::Duration;

use tokio::time::Instant;

/// How long an older state than the one that was seen must be told until it is believed.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The newest version of a kind that was seen.
#[derive(Debug, Default)]
pub(super) struct Newest {
    version: Option<u128>,
    /// Since when only older states are told.
    older_since: Option<Instant>,
}

/// What is to be made of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Judgement {
    /// It is not older than what was seen, or nobody can tell.
    Current,
    /// It is older, and may be mended soon: what was known stays.
    Older {
        /// The newest version that was seen.
        seen: u128,
    },
    /// It is older, and has been for so long that this is how it is.
    Believed {
        /// The newest version that was seen before.
        seen: u128,
    },
}

impl Newest {
    /// Judges a list by its version; an older one is believed after `patience`, and is what others are compared with from
    /// then on.
    pub(super) fn judge(&mut self, version: &str, now: Instant, patience: Duration) -> Judgement {
        let number = parse(version);
        let (Some(seen), Some(number)) = (self.version, number) else {
            self.take(number);
            return Judgement::Current;
        };
        if number >= seen {
            self.take(Some(number));
            return Judgement::Current;
        }
        let since = *self.older_since.get_or_insert(now);
        if now.saturating_duration_since(since) < patience {
            return Judgement::Older { seen };
        }
        self.take(Some(number));
        Judgement::Believed { seen }
    }

    /// Whether a watch tells of something older than what it was asked to begin after. Otherwise it counts as seen.
    pub(super) fn is_older(&mut self, version: &str) -> bool {
        let number = parse(version);
        let is_older = number.zip(self.version).is_some_and(|(number, seen)| number < seen);
        if !is_older && number.is_some() {
            self.take(number);
        }
        is_older
    }

    /// The newest version, for people.
    pub(super) fn seen(&self) -> u128 {
        self.version.unwrap_or_default()
    }

    fn take(&mut self, version: Option<u128>) {
        *self = Self { version, older_since: None };
    }
}

/// A version as a number; none where it is not written as one, so that nothing can be compared.
fn parse(version: &str) -> Option<u128> {
    let is_number = version.bytes().all(|byte| byte.is_ascii_digit()) && !version.starts_with('0');
    version.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_list_is_believed_when_it_stays() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let older = Judgement::Older { seen: 20 };
        let mut newest = Newest::default();
        for (description, version, seconds, expected) in [
            ("the first", "10", 0, Judgement::Current),
            ("a newer one", "20", 1, Judgement::Current),
            ("the same", "20", 2, Judgement::Current),
            ("an older one", "15", 10, older),
            ("another, older still", "14", 40, older),
            ("as new as before: it was a server that lagged", "20", 41, Judgement::Current),
            ("older again: it is doubted from now on", "9", 100, older),
            ("with fewer digits, and a moment too early", "9", 159, older),
            ("for a minute", "9", 160, Judgement::Believed { seen: 20 }),
            ("from there it goes on", "11", 161, Judgement::Current),
            ("not a number, which nobody can compare", "v7", 162, Judgement::Current),
            ("the first number after it", "3", 163, Judgement::Current),
        ] {
            assert_eq!(newest.judge(version, at(seconds), PATIENCE), expected, "{description}");
        }
    }

    #[test]
    fn events_must_not_be_older() {
        let mut newest = Newest::default();
        assert!(!newest.is_older("7"), "nothing was seen");
        for (version, expected) in [("7", false), ("9", false), ("8", true), ("9", false), ("", false), ("10", false)] {
            assert_eq!(newest.is_older(version), expected, "{version}");
        }
        assert_eq!(newest.seen(), 10);
    }

    #[test]
    fn only_numbers_are_compared() {
        for (version, expected) in [
            ("1", Some(1)),
            ("340282366920938463463374607431768211455", Some(u128::MAX)),
            ("", None),
            ("0", None),
            ("007", None),
            ("+7", None),
            ("7a", None),
        ] {
            assert_eq!(parse(version), expected, "{version:?}");
        }
    }
}
