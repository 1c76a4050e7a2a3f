//! The faults that there are now.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::fault::{Times, Which, Wrong};
use super::kind::Kind;
use super::target::Verb;

/// Most faults of answers at a time; further ones are refused.
const MAX_ANSWERS: usize = 64;

/// Faults of answers and watches, shared by all connections.
#[derive(Debug)]
pub(super) struct Faults {
    answers: Mutex<Vec<(Wrong, Which, Times)>>,
    cuts: watch::Sender<Cuts>,
    heals: watch::Sender<u64>,
}

/// How often watches were cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cuts {
    now: u64,
    mid_line: u64,
    /// Which watches the last cut within a line was for.
    which: Which,
}

/// What a watch must do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cutting {
    No,
    Now,
    MidLine,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self { answers: Mutex::default(), cuts: watch::Sender::new(Cuts::default()), heals: watch::Sender::new(0) }
    }

    /// Answers these requests so; false when there are too many faults already.
    pub(super) fn add(&self, wrong: Wrong, which: Which, times: Times) -> bool {
        let mut answers = self.lock();
        let has_room = answers.len() < MAX_ANSWERS;
        if has_room {
            answers.push((wrong, which, times));
        }
        has_room
    }

    /// What to answer a request instead of the right answer; the oldest fault first.
    pub(super) fn take(&self, request: Option<(Verb, Kind)>) -> Option<Wrong> {
        let mut answers = self.lock();
        answers.retain(|(_, _, times)| *times != Times::Next(0));
        let (wrong, _, times) = answers.iter_mut().find(|(_, which, _)| which.is(request))?;
        if let Times::Next(left) = times {
            *left -= 1;
        }
        Some(wrong.clone())
    }

    /// Whether some answers are still to be wrong.
    pub(super) fn has_answers_left(&self) -> bool {
        self.lock().iter().any(|(_, _, times)| *times != Times::Next(0))
    }

    pub(super) fn cut_now(&self) {
        self.cuts.send_modify(|cuts| cuts.now += 1);
    }

    pub(super) fn cut_mid_line(&self, which: Which) {
        self.cuts.send_modify(|cuts| {
            cuts.mid_line += 1;
            cuts.which = which;
        });
    }

    /// For a watch that begins.
    pub(super) fn cuts(&self) -> watch::Receiver<Cuts> {
        self.cuts.subscribe()
    }

    /// Ends all faults of answers, and lets those go on who wait for that.
    pub(super) fn heal(&self) {
        self.lock().clear();
        self.heals.send_modify(|heals| *heals += 1);
    }

    /// For a request that waits until all is healed.
    pub(super) fn heals(&self) -> watch::Receiver<u64> {
        self.heals.subscribe()
    }

    /// A panic elsewhere leaves nothing half-written in here.
    fn lock(&self) -> MutexGuard<'_, Vec<(Wrong, Which, Times)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cuts {
    /// What a watch of this kind must do that began at `self`, when it is like `now`.
    pub(super) fn until(self, now: Self, kind: Option<Kind>) -> Cutting {
        if now.now != self.now {
            Cutting::Now
        } else if now.mid_line != self.mid_line && now.which.is(kind.map(|kind| (Verb::Watch, kind))) {
            Cutting::MidLine
        } else {
            Cutting::No
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_requests_fail_and_those_after_them_do_not() {
        let faults = Faults::new();
        let lists = Which::both(Verb::List, Kind::Node);
        assert!(faults.add(Wrong::Gone, lists, Times::Next(2)));
        assert!(faults.add(Wrong::Hang, Which::verb(Verb::Watch), Times::UntilHealed));
        assert_eq!(faults.take(Some((Verb::List, Kind::Service))), None);
        assert_eq!(faults.take(None), None);
        for expected in [Some(Wrong::Gone), Some(Wrong::Gone), None] {
            assert_eq!(faults.take(Some((Verb::List, Kind::Node))), expected);
        }
        assert_eq!(faults.take(Some((Verb::Watch, Kind::Node))), Some(Wrong::Hang));
        assert!(faults.has_answers_left());
        faults.heal();
        assert_eq!(faults.take(Some((Verb::Watch, Kind::Node))), None);
        assert!(!faults.has_answers_left());
    }

    #[test]
    fn a_cut_is_for_watches_that_were_there() {
        let faults = Faults::new();
        let before = *faults.cuts().borrow();
        faults.cut_mid_line(Which::kind(Kind::Node));
        let between = *faults.cuts().borrow();
        assert_eq!(before.until(between, Some(Kind::Node)), Cutting::MidLine);
        assert_eq!(before.until(between, Some(Kind::Service)), Cutting::No);
        assert_eq!(between.until(between, Some(Kind::Node)), Cutting::No);
        faults.cut_now();
        let after = *faults.cuts().borrow();
        assert_eq!(between.until(after, Some(Kind::Node)), Cutting::Now);
    }
}
