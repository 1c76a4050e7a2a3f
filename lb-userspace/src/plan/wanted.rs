//! The backends that somebody wants, and their ids.
//!
//! A backend is one identity at one address, port and protocol, for one Service port: its state is what it is for that
//! one, so that a client can be moved exactly when its own Service may not use the Pod any more.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::net::SocketAddr;

use super::GRACE_SECONDS;
use super::applied::Applied;
use super::by_id::ById;
use super::ids::Ids;
use super::settled::Scope;
use super::types::{BackendRecord, RecordState, Write};
use crate::model::{Backend, Protocol};

/// What a backend is found by: its Service port's id, and what it is.
type Key<'a> = (u32, SocketAddr, Protocol, &'a str);

fn key(service: u32, backend: &Backend) -> Key<'_> {
    (service, backend.address, backend.protocol, &backend.identity)
}

/// What is wanted of a backend.
#[derive(Clone, Copy)]
pub(super) struct Want<'a> {
    pub(super) service: u32,
    pub(super) backend: &'a Backend,
    pub(super) node: u32,
    pub(super) state: RecordState,
}

/// What is programmed under an id: its record, and its name if it is alive.
type Known<'a> = (BackendRecord, Option<&'a str>);

pub(super) struct Wanted<'a> {
    /// Those of Service ports that are looked at, and those that are Gone.
    known: ById<Known<'a>>,
    /// Those of `known` that are alive. Made when it is first needed: most often it is not.
    index: OnceCell<HashMap<Key<'a>, u32>>,
    /// The id after the last one that was found: backends that came together lie together.
    hint: Cell<u32>,
    ids: Ids,
    wants: ById<Want<'a>>,
    /// Kept as they are, for a Service port that keeps what it had.
    kept: ById<()>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(applied: &'a Applied, scope: &Scope<'_>, limit: u32, now_seconds: u64) -> Self {
        let dense = scope.is_all();
        let mut known = ById::new(dense);
        let mut busy = Vec::with_capacity(applied.backends.len());
        let mut names = applied.backend_names.iter().peekable();
        for (id, backend) in &applied.backends {
            let is_alive = backend.record.state != RecordState::Gone;
            if is_alive || backend.retired_at.is_some_and(|at| at.saturating_add(GRACE_SECONDS) > now_seconds) {
                busy.push(*id);
            }
            if is_alive && !scope.has(backend.record.service) {
                continue;
            }
            let name = if dense {
                // Both maps are in the order of ids: walking along is faster than 200,000 look-ups.
                while names.next_if(|(named, _)| *named < id).is_some() {}
                names.next_if(|(named, _)| *named == id).map(|(_, name)| name.as_str())
            } else {
                applied.backend_names.get(id).map(String::as_str)
            };
            known.insert(*id, (backend.record, name.filter(|_| is_alive)));
        }
        let ids = Ids::new(1, limit, busy.into_iter());
        Self { known, index: OnceCell::new(), hint: Cell::new(1), ids, wants: ById::new(dense), kept: ById::new(dense) }
    }

    /// The records that are not Gone, of Service ports that are looked at, in the order of ids.
    pub(super) fn alive(&self) -> impl Iterator<Item = (u32, &BackendRecord)> {
        let records = self.known.iter().map(|(id, (record, _))| (id, record));
        records.filter(|(_, record)| record.state != RecordState::Gone)
    }

    /// The id of a backend that is programmed for this Service port.
    pub(super) fn id(&self, service: u32, backend: &Backend) -> Option<u32> {
        let hint = self.hint.get();
        let id = if self.is_known_as(hint, service, backend) {
            hint
        } else {
            *self.index.get_or_init(|| index(&self.known)).get(&key(service, backend))?
        };
        self.hint.set(id.saturating_add(1));
        Some(id)
    }

    fn is_known_as(&self, id: u32, service: u32, backend: &Backend) -> bool {
        let known = self.known.get(id).copied();
        known.is_some_and(|(record, name)| {
            record.service == service
                && record.address == backend.address
                && record.protocol == backend.protocol
                && name == Some(backend.identity.as_str())
        })
    }

    /// Whether there are ids for so many new backends.
    pub(super) fn fit(&self, new: usize) -> bool {
        new <= self.ids.left() as usize
    }

    /// Wants this backend, of which the id is given if it has one; else it gets one, and there is
    /// none only where [`Self::fit`] was not asked before.
    pub(super) fn want(&mut self, service: u32, backend: &'a Backend, id: Option<u32>, node: u32) -> Option<u32> {
        let id = match id {
            Some(id) => id,
            None => self.ids.take()?,
        };
        self.wants.insert(id, Want { service, backend, node, state: RecordState::from(backend.state) });
        Some(id)
    }

    /// Keeps this backend as it is.
    pub(super) fn keep(&mut self, id: u32) {
        self.kept.insert(id, ());
    }

    /// Whether anybody still needs this id.
    pub(super) fn is_needed(&self, id: u32) -> bool {
        self.is_wanted(id) || self.kept.get(id).is_some()
    }

    pub(super) fn is_wanted(&self, id: u32) -> bool {
        self.wants.get(id).is_some()
    }

    /// The wanted backends by id.
    pub(super) fn wants(&self) -> impl Iterator<Item = (u32, &Want<'a>)> {
        self.wants.iter()
    }

    /// What must be written: names in one list, records in the other.
    pub(super) fn writes(&self, own_node_renamed: bool) -> (Vec<Write>, Vec<Write>) {
        let (mut names, mut records) = (Vec::new(), Vec::new());
        for (id, want) in self.wants() {
            let found = self.known.get(id).copied();
            let old = found.map(|(record, _)| record);
            let known = old.filter(|_| found.and_then(|(_, name)| name) == Some(want.backend.identity.as_str()));
            let record = BackendRecord {
                service: want.service,
                address: want.backend.address,
                protocol: want.backend.protocol,
                node: want.node,
                state: want.state,
                generation: match (known, old) {
                    (Some(known), _) => known.generation,
                    (None, Some(old)) => old.generation.wrapping_add(1),
                    (None, None) => 1,
                },
            };
            let same_node = known.is_some_and(|known| known.node == want.node);
            if !same_node || (own_node_renamed && want.node == 0) {
                names.push(Write::NameBackend {
                    id,
                    identity: want.backend.identity.clone(),
                    node_name: want.backend.node.clone().unwrap_or_default(),
                });
            }
            if known != Some(record) {
                records.push(Write::Backend { id, backend: record });
            }
        }
        (names, records)
    }
}

fn index<'a>(known: &ById<Known<'a>>) -> HashMap<Key<'a>, u32> {
    let alive = known
        .iter()
        .filter_map(|(id, (record, name))| Some(((record.service, record.address, record.protocol, (*name)?), id)));
    alive.collect()
}
