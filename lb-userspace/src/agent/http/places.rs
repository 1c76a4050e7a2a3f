//! Who is connected to a server, and who gives way when there are too many.
//!
//! The newest is always taken: a client that does what clients do is done in milliseconds, so whoever is there for longer
//! than all others is the one that nobody misses. Those that have not asked yet go first, so that connections in any number
//! that say nothing cannot keep out, or cut off, who asks and reads the answer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// The places of one server.
#[derive(Clone)]
pub(super) struct Places {
    /// Connections at most, and those of them at most that have asked.
    limits: (usize, usize),
    taken: Arc<Mutex<Taken>>,
}

/// Those that are taken, in the order in which they were.
#[derive(Default)]
struct Taken {
    next: u64,
    by_number: BTreeMap<u64, Holder>,
}

/// Who has a place.
struct Holder {
    has_asked: bool,
    /// Dropped to send it away.
    _stays: oneshot::Sender<()>,
}

/// A place, free again when both parts are dropped.
pub(super) struct Place {
    seat: Seat,
    sent_away: oneshot::Receiver<()>,
}

/// What the holder of a place tells of itself; the place is free when this is dropped.
pub(super) struct Seat {
    number: u64,
    places: Places,
}

impl Places {
    /// For so many connections, and so many of them at a time that have asked.
    pub(super) fn new(connections: usize, answers: usize) -> Self {
        Self { limits: (connections, answers), taken: Arc::default() }
    }

    /// The next place; somebody else's where all are taken.
    pub(super) fn take(&self) -> Place {
        let mut taken = self.taken();
        if taken.by_number.len() >= self.limits.0 {
            let silent = taken.oldest(|_, holder| !holder.has_asked);
            let goes = silent.or_else(|| taken.oldest(|_, _| true));
            taken.send_away(goes);
        }
        let number = taken.next;
        taken.next += 1;
        let (stays, sent_away) = oneshot::channel();
        taken.by_number.insert(number, Holder { has_asked: false, _stays: stays });
        Place { seat: Seat { number, places: self.clone() }, sent_away }
    }

    /// A panic elsewhere leaves nothing half-written in here that matters.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn oldest(&self, is_meant: impl Fn(u64, &Holder) -> bool) -> Option<u64> {
        self.by_number.iter().find(|(number, holder)| is_meant(**number, holder)).map(|(number, _)| *number)
    }

    fn send_away(&mut self, number: Option<u64>) {
        number.and_then(|number| self.by_number.remove(&number));
    }
}

impl Place {
    /// What its holder tells, and what tells the holder to go.
    pub(super) fn split(self) -> (Seat, impl Future<Output = ()>) {
        let sent_away = self.sent_away;
        // Nothing is ever sent: the other end is dropped.
        (self.seat, async move { drop(sent_away.await) })
    }
}

impl Seat {
    /// The whole head of a request is there. Where too many wait for their answer, or do not read it, the oldest
    /// of the others goes.
    pub(super) fn has_asked(&self) {
        let mut taken = self.places.taken();
        let Some(holder) = taken.by_number.get_mut(&self.number) else {
            return;
        };
        holder.has_asked = true;
        if taken.by_number.values().filter(|holder| holder.has_asked).count() > self.places.limits.1 {
            let oldest = taken.oldest(|number, holder| holder.has_asked && number != self.number);
            taken.send_away(oldest);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.places.taken().send_away(Some(self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: [usize; 0] = [];

    /// Which of these have been told to go, by their indexes; they are taken out.
    fn gone(holders: &mut BTreeMap<usize, Place>) -> Vec<usize> {
        let told = |place: &mut Place| place.sent_away.try_recv() == Err(oneshot::error::TryRecvError::Closed);
        holders.extract_if(.., |_, place| told(place)).map(|(index, _)| index).collect()
    }

    #[test]
    fn the_oldest_that_says_nothing_gives_way_first() {
        let places = Places::new(3, 2);
        let mut holders: BTreeMap<usize, Place> = (0..3).map(|index| (index, places.take())).collect();
        assert_eq!(gone(&mut holders), NOBODY);
        holders[&0].seat.has_asked();
        holders.insert(3, places.take());
        assert_eq!(gone(&mut holders), [1], "the first one has asked");
        holders[&2].seat.has_asked();
        assert_eq!(gone(&mut holders), NOBODY);
        holders[&3].seat.has_asked();
        assert_eq!(gone(&mut holders), [0], "two may wait for an answer");
        holders.insert(4, places.take());
        assert_eq!(gone(&mut holders), NOBODY, "there was a place");
    }

    #[test]
    fn who_took_long_to_ask_is_not_sent_away_for_asking() {
        let places = Places::new(3, 1);
        let mut holders: BTreeMap<usize, Place> = (0..2).map(|index| (index, places.take())).collect();
        holders[&1].seat.has_asked();
        holders[&0].seat.has_asked();
        assert_eq!(gone(&mut holders), [1]);
    }

    #[test]
    fn where_all_have_asked_the_oldest_gives_way() {
        let places = Places::new(2, 2);
        let mut holders: BTreeMap<usize, Place> = (0..2).map(|index| (index, places.take())).collect();
        holders.values().for_each(|place| place.seat.has_asked());
        holders.insert(2, places.take());
        assert_eq!(gone(&mut holders), [0]);
    }

    #[test]
    fn who_leaves_makes_room() {
        let places = Places::new(2, 1);
        let first = places.take();
        first.seat.has_asked();
        drop(first);
        let mut holders: BTreeMap<usize, Place> = (0..2).map(|index| (index, places.take())).collect();
        holders[&1].seat.has_asked();
        assert_eq!(gone(&mut holders), NOBODY);
        assert_eq!(places.taken().by_number.len(), 2);
        holders.clear();
        assert_eq!(places.taken().by_number.len(), 0);
    }
}
