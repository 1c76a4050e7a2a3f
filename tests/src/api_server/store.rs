//! The objects, and what became of them: one counter of versions, and a history of bounded length.

mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::kind::Kind;

pub(super) use view::Page;

/// What names an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    /// Empty where the kind has none.
    pub(super) namespace: String,
    pub(super) name: String,
}

/// An object was made, changed or removed.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: Key,
    pub(super) old: Option<Arc<Value>>,
    pub(super) new: Option<Arc<Value>>,
}

/// A version is asked for of which nothing is known any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forgotten {
    /// The oldest version that is known.
    pub(super) oldest: u64,
}

/// All objects of all kinds.
#[derive(Debug)]
pub(super) struct Store {
    /// That of the last change.
    version: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    /// The last changes, each one version after the one before it.
    history: VecDeque<Arc<Change>>,
    history_limit: usize,
    /// What came after this is not shown.
    shown: Option<u64>,
}

impl Store {
    /// An empty one.
    pub(super) fn new(version: u64, history_limit: usize) -> Self {
        Self { version, objects: BTreeMap::new(), history: VecDeque::new(), history_limit, shown: None }
    }

    /// The newest version that is shown.
    pub(super) fn version(&self) -> u64 {
        self.shown.map_or(self.version, |shown| shown.min(self.version))
    }

    /// The version that the next change will have.
    pub(super) fn next_version(&self) -> u64 {
        self.version + 1
    }

    /// The oldest version whose objects can be told.
    fn oldest(&self) -> u64 {
        self.history.front().map_or(self.version, |change| change.version - 1)
    }

    /// An object as it is now, shown or not.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.objects.get(key).cloned()
    }

    /// The keys of all objects of a namespace.
    pub(super) fn keys_in(&self, namespace: &str) -> Vec<Key> {
        self.objects.keys().filter(|key| key.namespace == namespace).cloned().collect()
    }

    /// All objects of a kind as they are now, in the order of namespaces and names.
    pub(super) fn objects(&self, kind: Kind) -> impl Iterator<Item = &Arc<Value>> {
        self.objects.range(first_of(kind)..).take_while(move |(key, _)| key.kind == kind).map(|(_, object)| object)
    }

    /// Stores an object with the next version, if it is another than the one there; returns it as it is stored.
    pub(super) fn put(&mut self, key: Key, object: Value) -> Arc<Value> {
        if let Some(old) = self.objects.get(&key)
            && without_version(old.as_ref().clone()) == without_version(object.clone())
        {
            return Arc::clone(old);
        }
        let new = Arc::new(stamped(object, self.next_version()));
        let old = self.objects.insert(key.clone(), Arc::clone(&new));
        self.note(key, old, Some(Arc::clone(&new)));
        new
    }

    /// Removes an object; returns it with the version of its removal.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let old = self.objects.remove(key)?;
        let last = Arc::new(stamped(old.as_ref().clone(), self.next_version()));
        self.note(key.clone(), Some(old), None);
        Some(last)
    }

    fn note(&mut self, key: Key, old: Option<Arc<Value>>, new: Option<Arc<Value>>) {
        self.version += 1;
        self.history.push_back(Arc::new(Change { version: self.version, key, old, new }));
        while self.history.len() > self.history_limit {
            self.history.pop_front();
        }
    }

    /// The changes after a version, in order, as far as they are shown. None after a version that is still to come.
    pub(super) fn changes(&self, after: u64) -> Result<impl Iterator<Item = &Arc<Change>>, Forgotten> {
        let oldest = self.oldest();
        if after < oldest {
            return Err(Forgotten { oldest });
        }
        let skipped = usize::try_from(after - oldest).unwrap_or(usize::MAX);
        let shown = self.version();
        Ok(self.history.iter().skip(skipped).take_while(move |change| change.version <= shown))
    }

    /// Shows nothing that is newer than a version, as a server does that lags behind; or everything again.
    pub(super) fn show_up_to(&mut self, version: Option<u64>) -> Result<(), Forgotten> {
        let oldest = self.oldest();
        if version.is_some_and(|version| version < oldest) {
            return Err(Forgotten { oldest });
        }
        self.shown = version;
        Ok(())
    }

    /// Forgets the history, as compaction does.
    pub(super) fn forget(&mut self) {
        self.history.clear();
    }

    /// Goes on with the same objects, but with other versions, from this one on, and no memory of those before.
    pub(super) fn begin_anew(&mut self, version: u64) {
        self.history.clear();
        self.shown = None;
        self.version = version;
        for object in self.objects.values_mut() {
            self.version += 1;
            *object = Arc::new(stamped(object.as_ref().clone(), self.version));
        }
    }
}

/// The first key that an object of a kind could have.
fn first_of(kind: Kind) -> Key {
    Key { kind, namespace: String::new(), name: String::new() }
}

/// The object with this version. One that has no metadata stays as it is.
pub(super) fn stamped(mut object: Value, version: u64) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), json!(version.to_string()));
    }
    object
}

fn without_version(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    object
}

#[cfg(test)]
mod tests;
