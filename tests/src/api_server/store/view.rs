//! The objects as they were at an earlier version, page by page.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

use super::{Forgotten, Key, Store, first_of};
use crate::api_server::kind::Kind;

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::api_server) struct Page {
    pub(in crate::api_server) objects: Vec<Arc<Value>>,
    /// The last object's key, where there are more after it.
    pub(in crate::api_server) last: Option<Key>,
    /// How many there are after it.
    pub(in crate::api_server) remaining: usize,
}

impl Store {
    /// An object as it was at a version.
    pub(in crate::api_server) fn get_at(&self, key: &Key, version: u64) -> Result<Option<Arc<Value>>, Forgotten> {
        Ok(self.earlier(key.kind, version)?.remove(key).unwrap_or_else(|| self.get(key)))
    }

    /// Up to `limit` of the objects of a kind at a version that match, those after a key.
    pub(in crate::api_server) fn page(
        &self,
        kind: Kind,
        version: u64,
        after: Option<&Key>,
        limit: usize,
        matches: impl Fn(&Key, &Value) -> bool,
    ) -> Result<Page, Forgotten> {
        let earlier = self.earlier(kind, version)?;
        let start = after.map_or(Bound::Included(first_of(kind)), |key| Bound::Excluded(key.clone()));
        let now = self.objects.range((start.clone(), Bound::Unbounded)).take_while(|(key, _)| key.kind == kind);
        let page = |found: &mut dyn Iterator<Item = (&Key, &Arc<Value>)>| {
            let mut found = found.filter(|(key, object)| matches(key, object));
            let (mut objects, mut last) = (Vec::new(), None);
            for (key, object) in found.by_ref().take(limit) {
                objects.push(Arc::clone(object));
                last = Some(key.clone());
            }
            let remaining = found.count();
            Page { objects, last: last.filter(|_| remaining > 0), remaining }
        };
        if earlier.is_empty() {
            return Ok(page(&mut now.into_iter()));
        }
        let mut then: BTreeMap<Key, Arc<Value>> = now.map(|(key, object)| (key.clone(), Arc::clone(object))).collect();
        for (key, object) in earlier.range((start, Bound::Unbounded)) {
            match object {
                Some(object) => then.insert(key.clone(), Arc::clone(object)),
                None => then.remove(key),
            };
        }
        Ok(page(&mut then.iter()))
    }

    /// The objects of a kind that were others at a version, as they were; none for one that was not there.
    fn earlier(&self, kind: Kind, version: u64) -> Result<BTreeMap<Key, Option<Arc<Value>>>, Forgotten> {
        let oldest = self.oldest();
        if version < oldest {
            return Err(Forgotten { oldest });
        }
        let since = self.history.iter().rev().take_while(|change| change.version > version);
        let ours = since.filter(|change| change.key.kind == kind);
        // From the newest to the oldest, so that what was before the oldest change remains.
        Ok(ours.map(|change| (change.key.clone(), change.old.clone())).collect())
    }
}
