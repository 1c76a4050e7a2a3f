//! The newest breaks, shared with the agent's socket: at most [`LENGTH`], each with a number that is never given again.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    api::{AgentBreak, AgentBreaks, Break},
    model::ServicePortName,
};

/// Breaks that are kept, a few megabytes of them; beyond it the oldest is forgotten.
const LENGTH: usize = 10_000;

/// A break with the names that were known when it was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Told {
    pub(super) at_seconds: u32,
    pub(super) held_seconds: u32,
    pub(super) service: Option<ServicePortName>,
    pub(super) client: String,
    pub(super) reason: &'static str,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
}

/// The newest breaks.
#[derive(Clone, Debug)]
pub(crate) struct History {
    kept: Arc<Mutex<Kept>>,
    node: Arc<str>,
}

#[derive(Debug)]
struct Kept {
    first_sequence: u64,
    /// The number of the next one; the last of `breaks` has the one before it.
    next_sequence: u64,
    breaks: VecDeque<Told>,
}

impl History {
    /// Nothing yet. The numbers begin at the microseconds that the machine has run for: so they are greater than those of
    /// an agent before this one, unless there are a million breaks a second.
    pub(crate) fn starting(node: &str, now: Duration) -> Self {
        let first_sequence = u64::try_from(now.as_micros()).unwrap_or(u64::MAX / 2).max(1);
        let kept = Kept { first_sequence, next_sequence: first_sequence, breaks: VecDeque::new() };
        Self { kept: Arc::new(Mutex::new(kept)), node: node.into() }
    }

    /// These happened, in this order.
    pub(super) fn extend(&self, breaks: impl Iterator<Item = Told>) {
        let mut kept = self.kept();
        for told in breaks {
            if kept.breaks.len() == LENGTH {
                kept.breaks.pop_front();
            }
            kept.breaks.push_back(told);
            kept.next_sequence += 1;
        }
    }

    /// Those with a number greater than `after` that are no longer ago than `since_seconds`.
    pub(crate) fn answer(&self, after: u64, since_seconds: Option<u64>, now: Duration) -> AgentBreaks {
        let now_seconds = now.as_secs();
        let kept = self.kept();
        let oldest = kept.next_sequence - kept.breaks.len() as u64;
        let events = (oldest..).zip(&kept.breaks).filter(|(sequence, _)| *sequence > after);
        let events = events.map(|(sequence, told)| AgentBreak { sequence, told: told.as_told(now_seconds) });
        let events = events.filter(|it| since_seconds.is_none_or(|seconds| it.told.seconds_ago <= seconds));
        AgentBreaks {
            node: self.node.to_string(),
            first_sequence: kept.first_sequence,
            next_sequence: kept.next_sequence,
            events: events.collect(),
        }
    }

    /// A panic elsewhere leaves nothing half-written in here that matters.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn as_told(&self, now_seconds: u64) -> Break {
        Break {
            seconds_ago: now_seconds.saturating_sub(self.at_seconds.into()),
            service: self.service.clone(),
            client: self.client.clone(),
            reason: self.reason.to_owned(),
            from: self.from.clone(),
            to: self.to.clone(),
            held_seconds: self.held_seconds.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(at_seconds: u32) -> Told {
        Told {
            at_seconds,
            held_seconds: 3,
            service: None,
            client: "198.51.100.7".to_owned(),
            reason: "expired",
            from: None,
            to: Some("default/web-0".to_owned()),
        }
    }

    fn sequences(answer: &AgentBreaks) -> Vec<u64> {
        answer.events.iter().map(|event| event.sequence).collect()
    }

    const START: Duration = Duration::from_micros(70);
    const NOW: Duration = Duration::from_secs(1000);

    #[test]
    fn the_newest_are_kept_and_their_numbers_stay() {
        let history = History::starting("n1", START);
        history.extend((0..LENGTH as u32 + 5).map(told));
        let answer = history.answer(0, None, NOW);
        assert_eq!((answer.events.len(), answer.first_sequence, answer.next_sequence), (LENGTH, 70, 10_075));
        assert_eq!(sequences(&answer), (75..10_075).collect::<Vec<_>>());
        assert_eq!(answer.events[0].told.seconds_ago, 995);
        assert_eq!(answer.node, "n1");
    }

    #[test]
    fn only_what_is_asked_for() {
        let history = History::starting("n1", START);
        assert!(history.answer(0, None, NOW).events.is_empty());
        history.extend([10, 990, 999, 1001].map(told).into_iter());
        let cases: [(u64, Option<u64>, &[u64]); 7] = [
            (0, None, &[70, 71, 72, 73]),
            (71, None, &[72, 73]),
            (73, None, &[]),
            (u64::MAX, None, &[]),
            (0, Some(10), &[71, 72, 73]),
            (71, Some(9), &[72, 73]),
            // A second that the datapath's clock was ahead by.
            (0, Some(0), &[73]),
        ];
        for (after, since, expected) in cases {
            assert_eq!(sequences(&history.answer(after, since, NOW)), expected, "after {after}, since {since:?}");
        }
    }

    #[test]
    fn an_agent_goes_on_with_greater_numbers() {
        let before = History::starting("n1", START);
        before.extend((0..100).map(told));
        let last = before.answer(0, None, NOW).next_sequence;
        assert!(History::starting("n1", Duration::from_secs(1)).answer(0, None, NOW).first_sequence > last);
    }
}
