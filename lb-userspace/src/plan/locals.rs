//! The entries of this node's own backends: what replies and packets out of the tunnel are known by.
//!
//! The entry of a backend that is gone stays for its grace time: the last packets of its connections, a FIN or a RST,
//! must still leave with the frontend's address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::GRACE_SECONDS;
use super::planner::Planner;
use super::types::{RecordState, Write};
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

/// Looks at all of them.
pub(super) fn plan(planner: &Planner<'_>) -> Locals {
    let target = target(planner);
    let applied = &planner.applied.local_backends;
    let writes = target.iter().filter(|(key, id)| applied.get(key) != Some(id));
    let writes =
        writes.map(|((address, protocol), id)| Write::LocalBackend { address: *address, protocol: *protocol, id: *id });
    let mut locals = Locals { expired: Vec::new(), writes: writes.collect(), moved: Vec::new() };

    let others: Vec<(&Key, u32)> =
        applied.iter().filter(|(key, id)| target.get(key) != Some(id)).map(|(key, id)| (key, *id)).collect();
    let elsewhere = if others.is_empty() { BTreeSet::new() } else { elsewhere(planner) };
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
fn target(planner: &Planner<'_>) -> BTreeMap<Key, u32> {
    let wanted = planner.wanted.wants().filter(|(_, want)| want.node == 0);
    // Two Pods at one address are the old one and the new one: the one that takes flows.
    let wanted = wanted.map(|(id, want)| {
        ((want.backend.address, want.backend.protocol), (false, want.state != RecordState::Active, id))
    });
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
    let backends = planner.applied.backends.iter().map(|(id, backend)| (*id, backend.record));
    let kept = backends.filter(|(id, record)| {
        let stays = planner.wanted.is_needed(*id) || !planner.desired.complete;
        record.node == 0 && record.state != RecordState::Gone && stays && !planner.wanted.is_wanted(*id)
    });
    kept.map(|(id, record)| ((record.address, record.protocol), (true, record.state != RecordState::Active, id)))
}

/// Those that have an entry although their address is wanted on another node.
fn elsewhere(planner: &Planner<'_>) -> BTreeSet<Key> {
    let wants = planner.wanted.wants().filter(|(_, want)| want.node != 0);
    let keys = wants.map(|(_, want)| (want.backend.address, want.backend.protocol));
    keys.filter(|key| planner.applied.local_backends.contains_key(key)).collect()
}

/// Whether nobody can miss an entry: its backend has been gone for long enough, or was never there.
fn is_expired(planner: &Planner<'_>, (address, protocol): Key, id: u32) -> bool {
    planner.applied.backends.get(&id).is_none_or(|backend| {
        (backend.record.address, backend.record.protocol) != (address, protocol)
            || backend.retired_at.is_some_and(|at| at.saturating_add(GRACE_SECONDS) <= planner.now_seconds)
    })
}
