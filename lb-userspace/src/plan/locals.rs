//! The entries of this node's own backends: what replies and packets out of the tunnel are known by.
//!
//! The entry of a backend that is gone stays for its grace time: the last packets of its connections, a FIN or a RST,
//! must still leave with the frontend's address.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;

use super::GRACE_SECONDS;
use super::applied::Applied;
use super::planner::Planner;
use super::types::{BackendRecord, RecordState, Write};
use crate::model::Protocol;

/// What becomes of the entries.
pub(super) struct Locals {
    /// Those of backends whose grace is over: taken away first, as their ids may be given to others.
    pub(super) expired: Vec<Write>,
    /// Those to write.
    pub(super) writes: Vec<Write>,
    /// Those whose address is another node's now: taken away last.
    pub(super) moved: Vec<Write>,
}

type Key = (SocketAddr, Protocol);

/// The addresses of which the entries are looked at; none: all.
type Touched = Option<HashSet<Key>>;

/// A backend that somebody wants.
struct Wanted {
    key: Key,
    state: RecordState,
}

fn key(record: &BackendRecord) -> Key {
    (record.address, record.protocol)
}

fn is_alive(record: &BackendRecord) -> bool {
    record.state != RecordState::Gone
}

/// Where a Service port that is looked at has backends, or had some; and where those that are gone are still found.
fn touched(planner: &Planner<'_>) -> Touched {
    if planner.scope.is_all() {
        return None;
    }
    let Applied { backends, local_backends, .. } = planner.applied;
    let wants = planner.wanted.wants().map(|(_, want)| (want.backend.address, want.backend.protocol));
    let had = planner.wanted.alive().map(|(_, record)| key(record));
    let left = local_backends.iter().filter(|(_, id)| backends.get(id).is_none_or(|it| !is_alive(&it.record)));
    Some(wants.chain(had).chain(left.map(|(key, _)| *key)).collect())
}

/// The entries that are looked at.
fn entries<'a>(planner: &'a Planner<'_>, touched: &'a Touched) -> impl Iterator<Item = (&'a Key, u32)> {
    let all = &planner.applied.local_backends;
    let some = touched.iter().flatten().collect::<BTreeSet<_>>();
    let some = some.into_iter().filter_map(|key| Some((key, *all.get(key)?)));
    let all = touched.is_none().then(|| all.iter().map(|(key, id)| (key, *id)));
    all.into_iter().flatten().chain(some)
}

/// The backends that are wanted, here or elsewhere; those of Service ports that are not looked at are as they are.
fn wanted(planner: &Planner<'_>, touched: &Touched, here: bool) -> impl Iterator<Item = (u32, Wanted)> {
    let wants = planner.wanted.wants().filter(move |(_, want)| (want.node == 0) == here).map(|(id, want)| {
        let key = (want.backend.address, want.backend.protocol);
        (id, Wanted { key, state: want.state })
    });
    let others = touched.iter().flat_map(move |touched| {
        let records = planner.applied.backends.iter().map(|(id, backend)| (*id, &backend.record));
        records.filter(move |(_, record)| {
            (record.node == 0) == here
                && is_alive(record)
                && !planner.scope.has(record.service)
                && touched.contains(&key(record))
        })
    });
    wants.chain(others.map(|(id, record)| (id, Wanted { key: key(record), state: record.state })))
}

/// Looks at all of them.
pub(super) fn plan(planner: &Planner<'_>) -> Locals {
    let touched = touched(planner);
    let target = target(planner, &touched);
    let applied = &planner.applied.local_backends;
    let writes = target.iter().filter(|(key, id)| applied.get(key) != Some(id));
    let writes =
        writes.map(|((address, protocol), id)| Write::LocalBackend { address: *address, protocol: *protocol, id: *id });
    let mut locals = Locals { expired: Vec::new(), writes: writes.collect(), moved: Vec::new() };

    let others: Vec<(&Key, u32)> = entries(planner, &touched).filter(|(key, id)| target.get(key) != Some(id)).collect();
    let elsewhere = if others.is_empty() { BTreeSet::new() } else { elsewhere(planner, &touched) };
    for (key, id) in others {
        let (address, protocol) = *key;
        let removal = Write::RemoveLocalBackend { address, protocol };
        if is_expired(planner, *key, id) {
            // Even where it is written anew: its id may be another's before that.
            locals.expired.push(removal);
        } else if planner.desired.complete && !target.contains_key(key) && elsewhere.contains(key) {
            locals.moved.push(removal);
        }
    }
    locals
}

/// The entry that each address of a backend that stays or comes should have.
fn target(planner: &Planner<'_>, touched: &Touched) -> BTreeMap<Key, u32> {
    let wanted = wanted(planner, touched, true);
    // Two Pods at one address are the old one and the new one: the one that takes flows.
    let wanted = wanted.map(|(id, wanted)| (wanted.key, (false, wanted.state != RecordState::Active, id)));
    // The one that is there comes first: any will do, and while an element is replaced a packet may miss it.
    let applied = &planner.applied.local_backends;
    let candidates = wanted.chain(kept(planner)).map(|(key, (kept, idle, id))| {
        let is_new = applied.get(&key) != Some(&id);
        (key, (is_new, kept, idle, id))
    });
    let mut best: BTreeMap<Key, (bool, bool, bool, u32)> = BTreeMap::new();
    for (key, candidate) in candidates {
        best.entry(key).and_modify(|best| *best = candidate.min(*best)).or_insert(candidate);
    }
    best.into_iter().map(|(key, (_, _, _, id))| (key, id)).collect()
}

/// Candidates that nobody wants but that stay as they are: of Service ports that keep what they had.
fn kept(planner: &Planner<'_>) -> impl Iterator<Item = (Key, (bool, bool, u32))> {
    let kept = planner.wanted.alive().filter(|(id, record)| {
        let stays = planner.wanted.is_needed(*id) || !planner.desired.complete;
        record.node == 0 && stays && !planner.wanted.is_wanted(*id)
    });
    kept.map(|(id, record)| ((record.address, record.protocol), (true, record.state != RecordState::Active, id)))
}

/// Those that have an entry although their address is wanted on another node.
fn elsewhere(planner: &Planner<'_>, touched: &Touched) -> BTreeSet<Key> {
    let keys = wanted(planner, touched, false).map(|(_, wanted)| wanted.key);
    keys.filter(|key| planner.applied.local_backends.contains_key(key)).collect()
}

/// Whether nobody can miss an entry: its backend has been gone for long enough, or was never there.
fn is_expired(planner: &Planner<'_>, (address, protocol): Key, id: u32) -> bool {
    planner.applied.backends.get(&id).is_none_or(|backend| {
        (backend.record.address, backend.record.protocol) != (address, protocol)
            || backend.retired_at.is_some_and(|at| at.saturating_add(GRACE_SECONDS) <= planner.now_seconds)
    })
}
