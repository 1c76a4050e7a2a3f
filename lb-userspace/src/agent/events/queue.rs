//! Statements that wait for their turn, each until its time is over. Bounded and pure.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::statement::Statement;

/// Statements that wait at a time; more are not told.
const MAX_WAITING: usize = 1000;
/// Pause before one that could not be told is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// The statements that wait, by the time at which they are due.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<(Instant, u64), Waiting>,
    next: u64,
}

/// A statement and how long it is worth telling.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Waiting {
    /// What is to be told.
    pub(super) statement: Statement,
    /// Afterwards it is old news.
    pub(super) until: Instant,
}

impl Queue {
    /// Lets one wait. False where there is no room for it.
    pub(super) fn push(&mut self, due: Instant, waiting: Waiting) -> bool {
        let has_room = self.waiting.len() < MAX_WAITING;
        if has_room {
            self.waiting.insert((due, self.next), waiting);
            self.next += 1;
        }
        has_room
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// The next one that is due. Old news are forgotten.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Waiting> {
        while self.next_due().is_some_and(|due| due <= now) {
            let (_, waiting) = self.waiting.pop_first()?;
            if waiting.until >= now {
                return Some(waiting);
            }
        }
        None
    }

    /// Lets one wait that could not be told. False when it is given up.
    pub(super) fn retry(&mut self, waiting: Waiting, now: Instant) -> bool {
        let due = now + RETRY;
        due <= waiting.until && self.push(due, waiting)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap as Map;

    use jiff::Timestamp;
    use lb_common::breaks::BreakReason;

    use super::{
        super::{
            statement::{ServiceName, Subject},
            window::Window,
        },
        *,
    };

    fn waiting(name: &str, until: Instant) -> Waiting {
        let service = ServiceName { namespace: "lab".to_owned(), name: name.to_owned() };
        let window = Window::of(Timestamp::UNIX_EPOCH, Duration::from_secs(300));
        Waiting {
            statement: Statement { service, subject: Subject::Broken(BreakReason::Draining, Map::new()), window },
            until,
        }
    }

    fn names(queue: &mut Queue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(now)).map(|waiting| waiting.statement.service.name).collect()
    }

    #[test]
    fn who_is_due_first_comes_first_and_old_news_are_forgotten() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut queue = Queue::default();
        for (due, name, until) in [(4, "later", 600), (2, "second", 600), (0, "old", 1), (2, "third", 600)] {
            assert!(queue.push(after(due), waiting(name, after(until))));
        }
        assert_eq!(queue.next_due(), Some(after(0)));
        assert_eq!(names(&mut queue, after(3)), ["second", "third"]);
        assert_eq!((queue.next_due(), names(&mut queue, after(3)).len()), (Some(after(4)), 0));
    }

    #[test]
    fn what_fails_is_tried_until_its_time_is_over() {
        let start = Instant::now();
        let until = start + 3 * RETRY;
        let mut queue = Queue::default();
        queue.push(start, waiting("cart", until));
        let mut tries = 0;
        while let Some(due) = queue.next_due() {
            let one = queue.pop(due).unwrap();
            tries += 1;
            let is_kept = queue.retry(one, due);
            assert_eq!(is_kept, tries < 4, "try {tries}");
        }
        assert_eq!(tries, 4);
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let start = Instant::now();
        let mut queue = Queue::default();
        let kept = (0..MAX_WAITING + 5).filter(|_| queue.push(start, waiting("cart", start))).count();
        assert_eq!(kept, MAX_WAITING);
    }
}
