//! What is known of the objects of one kind: every object's version that counts, and what is wrong with it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::incoming::{Incoming, is_same};
use crate::source::{
    MAX_OBJECTS, Problem,
    document::{Key, Object},
};

/// The objects of one kind.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// Whether all of them are known: false until the first list is complete.
    is_complete: bool,
    entries: BTreeMap<Key, Entry>,
    /// How many there were beyond what is taken.
    beyond_limit: usize,
}

/// What is known of one object.
#[derive(Clone, Debug)]
struct Entry {
    /// The version that counts; none where nothing of it can be used.
    object: Option<Object>,
    /// Whether that is one which should have passed the API server.
    is_good: bool,
    problems: Vec<Problem>,
}

/// What taking something in has changed.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Changed {
    /// Objects that count in another version than before, or no longer.
    pub(super) objects: u64,
    /// Whether there is anything new, also what is wrong with an object.
    pub(super) any: bool,
    /// When what they report happened.
    pub(super) triggers: Vec<Timestamp>,
}

impl Changed {
    fn add(&mut self, other: Self) {
        self.objects += other.objects;
        self.any |= other.any;
        self.triggers.extend(other.triggers);
    }
}

impl Store {
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    pub(super) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.entries.values().filter_map(|entry| entry.object.as_ref())
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let too_many = (self.beyond_limit > 0).then(|| {
            Problem::error(format!("more than {MAX_OBJECTS} objects of a kind; {} are left out", self.beyond_limit))
        });
        too_many.into_iter().chain(self.entries.values().flat_map(|entry| entry.problems.iter().cloned()))
    }

    /// One object came, new or changed.
    pub(super) fn apply(&mut self, incoming: Incoming) -> Changed {
        let before = self.entries.remove(&incoming.key);
        if before.is_none() && self.entries.len() >= MAX_OBJECTS {
            self.beyond_limit += 1;
            return Changed { any: true, ..Changed::default() };
        }
        let key = incoming.key.clone();
        let (entry, changed) = Entry::next(before, incoming);
        self.entries.insert(key, entry);
        changed
    }

    /// One object is gone.
    pub(super) fn remove(&mut self, key: &Key) -> Changed {
        let gone = self.entries.remove(key);
        let objects = u64::from(gone.as_ref().is_some_and(|entry| entry.object.is_some()));
        Changed { objects, any: gone.is_some(), triggers: Vec::new() }
    }

    /// All objects came: those that are not among them are gone.
    pub(super) fn replace(&mut self, all: Vec<Incoming>) -> Changed {
        let mut before = std::mem::take(&mut self.entries);
        let mut changed = Changed { any: !self.is_complete, ..Changed::default() };
        self.beyond_limit = 0;
        for incoming in all {
            // The same object twice: the later one is the newer one, as pages are not read at one moment.
            let last = self.entries.remove(&incoming.key).or_else(|| before.remove(&incoming.key));
            if self.entries.len() >= MAX_OBJECTS {
                self.beyond_limit += 1;
                continue;
            }
            let key = incoming.key.clone();
            let (entry, difference) = Entry::next(last, incoming);
            self.entries.insert(key, entry);
            changed.add(difference);
        }
        let gone = before.values().filter(|entry| entry.object.is_some()).count();
        changed.add(Changed { objects: gone as u64, any: !before.is_empty(), triggers: Vec::new() });
        self.is_complete = true;
        changed
    }
}

impl Entry {
    /// What is known after another version came, and what that changes. What is equal stays the very same object.
    fn next(before: Option<Self>, incoming: Incoming) -> (Self, Changed) {
        let Incoming { mut checked, trigger, .. } = incoming;
        let problems = std::mem::take(&mut checked.problems);
        let last_good = before.as_ref().filter(|entry| entry.is_good).and_then(|entry| entry.object.as_ref());
        let settled = checked.settle(last_good);
        let was_known = before.is_some();
        let (old, old_problems) = before.map_or((None, Vec::new()), |entry| (entry.object, entry.problems));
        let is_same = was_known && is_same(old.as_ref(), settled.object.as_ref());
        let any = !is_same || old_problems != problems;
        let object = if is_same { old } else { settled.object };
        let changed =
            Changed { objects: u64::from(!is_same), any, triggers: trigger.filter(|_| !is_same).into_iter().collect() };
        (Self { object, is_good: settled.is_good, problems }, changed)
    }
}
