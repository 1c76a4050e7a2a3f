//! Breaks: a client was given another backend than the one that it had. Why, and how many are told one by one.

use crate::layout::BreakRate;

/// Most events that a CPU sends in a second; more are counted alone.
pub const MAX_EVENTS_PER_SECOND: u32 = 1000;

/// Why a client was given another backend. The number is the index in an element of `BREAKS`; numbers are never reused.
///
/// A word wide, as [`Reason`](crate::Reason) is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, Ord, PartialOrd)]
#[repr(u32)]
pub enum BreakReason {
    /// The Pod is gone, or its address or port is another one now.
    BackendGone = 0,
    /// The Pod is not ready.
    NotReady = 1,
    /// The Pod is terminating, and others are ready.
    Draining = 2,
    /// The client began no connection for longer than the Service's timeout.
    Expired = 3,
    /// The map of clients was full and forgot it.
    Evicted = 4,
    /// The Pod is ready, but the Service's rules keep it out now.
    ConfigChanged = 5,
    /// Somebody asked for it (`limpet forget`).
    Forgotten = 6,
}

impl BreakReason {
    /// Room for reasons, in words of an element of `BREAKS`.
    pub const COUNT: usize = 8;

    /// All of them, each at the index that is its number.
    pub const ALL: [Self; 7] = [
        Self::BackendGone,
        Self::NotReady,
        Self::Draining,
        Self::Expired,
        Self::Evicted,
        Self::ConfigChanged,
        Self::Forgotten,
    ];

    /// Index in an element of `BREAKS`.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// The reason with this number.
    pub fn from_index(index: u32) -> Option<Self> {
        Self::ALL.get(index as usize).copied()
    }

    /// The name in output and metrics.
    pub const fn name(self) -> &'static str {
        self.about().0
    }

    /// What it means, for people.
    pub const fn description(self) -> &'static str {
        self.about().1
    }

    const fn about(self) -> (&'static str, &'static str) {
        match self {
            Self::BackendGone => ("backend-gone", "the Pod is gone, or has another address or port now"),
            Self::NotReady => ("not-ready", "the Pod is not ready"),
            Self::Draining => ("draining", "the Pod is terminating, and others are ready"),
            Self::Expired => ("expired", "no new connection for longer than the Service's timeout"),
            Self::Evicted => ("evicted", "the map of clients was full; raise --max-clients"),
            Self::ConfigChanged => ("config-changed", "the Service's rules keep the Pod out now"),
            Self::Forgotten => ("forgotten", "somebody asked for it with `limpet forget`"),
        }
    }
}

impl BreakRate {
    /// Counts an event at this second; whether it may be sent. One that may not is counted as lost.
    #[inline(always)]
    pub fn admit(&mut self, second: u32) -> bool {
        let is_sent = self.rate.admit(second, MAX_EVENTS_PER_SECOND);
        if !is_sent {
            self.lost += 1;
        }
        is_sent
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_are_indexes_and_names_are_unique() {
        for (index, reason) in BreakReason::ALL.iter().enumerate() {
            assert_eq!(reason.index() as usize, index, "{}", reason.name());
            assert_eq!(BreakReason::from_index(index as u32), Some(*reason));
        }
        assert!(BreakReason::ALL.len() <= BreakReason::COUNT);
        assert_eq!(BreakReason::from_index(BreakReason::ALL.len() as u32), None);
        let names: BTreeSet<_> = BreakReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), BreakReason::ALL.len());
    }

    #[test]
    fn so_many_events_a_second_and_the_rest_is_counted() {
        let mut rate = BreakRate::default();
        let sent = (0..MAX_EVENTS_PER_SECOND + 5).filter(|_| rate.admit(7)).count();
        assert_eq!((sent as u32, rate.lost), (MAX_EVENTS_PER_SECOND, 5));
        assert!(rate.admit(8), "the next second begins anew");
        assert_eq!(rate.lost, 5);
    }

    /// A client that is recognised by its second packet is dated by its first: each such event once began the second anew.
    #[test]
    fn events_that_are_dated_back_are_events_of_now() {
        let mut rate = BreakRate::default();
        let sent = (0..2 * MAX_EVENTS_PER_SECOND).filter(|turn| rate.admit(7 - turn % 2)).count();
        assert_eq!((sent as u32, rate.lost), (MAX_EVENTS_PER_SECOND, MAX_EVENTS_PER_SECOND.into()));
    }
}
