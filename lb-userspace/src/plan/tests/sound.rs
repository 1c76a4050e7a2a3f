//! What must hold after every single write.

use std::collections::BTreeMap;

use lb_common::layout::INSIDE;

use crate::model::Family;
use crate::plan::{Applied, Extent, GRACE_SECONDS, Limits, RecordState, TABLE_GRACE_SECONDS, Write};

/// What a test remembers beside what is applied, to see ids being used again.
#[derive(Default)]
pub(super) struct Memory {
    /// When an id was last taken away: backends, Services, nodes.
    away: BTreeMap<(&'static str, u32), u64>,
    /// Slots that were forgotten.
    forgotten: Vec<(Extent, u64)>,
    /// Generations of a table's members when it was written, by its first slot.
    generations: BTreeMap<u32, BTreeMap<u32, u32>>,
}

impl Memory {
    pub(super) fn note(&mut self, write: &Write, applied: &Applied, now: u64) {
        match write {
            Write::RetireBackend { id } => drop(self.away.insert(("backend", *id), now)),
            Write::ForgetService { id } => drop(self.away.insert(("service", *id), now)),
            Write::RemoveNode { id } => drop(self.away.insert(("node", *id), now)),
            Write::ForgetTable { extent, .. } => {
                self.forgotten.push((*extent, now));
                self.generations.remove(&extent.offset);
            }
            Write::NameService { id, .. } => self.check_grace("service", *id, now),
            Write::Node { id, .. } if !applied.nodes.contains_key(id) => self.check_grace("node", *id, now),
            Write::Backend { id, backend } => {
                if let Some(old) = applied.backends.get(id) {
                    if old.record.state == RecordState::Gone {
                        self.check_grace("backend", *id, now);
                        assert_eq!(backend.generation, old.record.generation + 1);
                    } else {
                        assert_eq!(backend.generation, old.record.generation);
                        assert_eq!(backend.address, old.record.address);
                    }
                }
            }
            Write::Table { extent, pool, .. } => {
                let mut members = pool.slots();
                assert_eq!(members.len(), extent.length as usize);
                members.sort_unstable();
                members.dedup();
                for (old, since) in &self.forgotten {
                    let apart = old.offset + old.length <= extent.offset || extent.offset + extent.length <= old.offset;
                    assert!(apart || since + TABLE_GRACE_SECONDS <= now, "{extent:?} too early");
                }
                let generation = |id: &u32| (*id, applied.backends[id].record.generation);
                self.generations.insert(extent.offset, members.iter().map(generation).collect());
            }
            Write::NameBackend { .. }
            | Write::Node { .. }
            | Write::LocalBackend { .. }
            | Write::Sibling { .. }
            | Write::RemoveSibling { .. }
            | Write::SourceRange { .. }
            | Write::RemoveSourceRange { .. }
            | Write::Frontend { .. }
            | Write::RemoveFrontend { .. }
            | Write::RemoveLocalBackend { .. } => {}
        }
    }

    fn check_grace(&self, what: &'static str, id: u32, now: u64) {
        if let Some(since) = self.away.get(&(what, id)) {
            assert!(since + GRACE_SECONDS <= now, "{what} {id} used again after {} s", now - since);
        }
    }
}

/// Nothing points at something that is missing.
pub(super) fn check_sound(applied: &Applied, memory: &Memory, limits: &Limits) {
    for (key, value) in &applied.frontends {
        assert!(applied.services.contains_key(&value.service), "{key:?}");
        if let Some(extent) = value.extent {
            let table = &applied.tables[&extent.offset];
            assert_eq!(table.extent, extent, "{key:?}");
            assert_eq!(table.family, Family::of(key.address), "{key:?}");
        }
    }
    let mut end = 0;
    for (offset, table) in &applied.tables {
        assert!(*offset >= end, "tables overlap at {offset}");
        end = offset + table.extent.length;
        assert!(end <= limits.slots);
        assert!(applied.services.contains_key(&table.service));
        for id in &table.members {
            let record = applied.backends[id].record;
            assert_ne!(record.state, RecordState::Gone, "slot of {offset} at {id}");
            assert_eq!(record.generation, memory.generations[offset][id]);
            assert_eq!(Family::of(record.address.ip()), table.family);
            assert_eq!(record.service, table.service);
        }
    }
    for (id, backend) in &applied.backends {
        assert!(*id > 0 && *id < limits.backends);
        if backend.record.state != RecordState::Gone {
            assert!(applied.nodes.contains_key(&backend.record.node), "backend {id}");
            assert!(applied.backend_names.contains_key(id), "backend {id}");
        }
    }
    for ((service, backend), id) in &applied.siblings {
        let (other, own) = (applied.backends[backend].record, applied.backends[id].record);
        assert_eq!(own.service, *service, "sibling of {backend}");
        assert_ne!(own.state, RecordState::Gone, "sibling of {backend}");
        assert_ne!(other.state, RecordState::Gone, "sibling {id}");
        assert_ne!(other.service, *service, "sibling {id}");
        assert_eq!(applied.backend_names[backend], applied.backend_names[id]);
    }
    for ((address, protocol), id) in &applied.local_backends {
        // It may be Gone, but not another's.
        let record = applied.backends[id].record;
        assert!(applied.backend_names.contains_key(id), "local backend {id}");
        assert_eq!((record.address, record.protocol), (*address, *protocol));
    }
    for (service, range) in &applied.source_ranges {
        assert!(*service == INSIDE || applied.services.contains_key(service), "{range} is nobody's");
    }
    assert!(applied.frontends.len() <= limits.frontends as usize);
    assert!(applied.source_ranges.len() <= limits.source_ranges as usize);
    assert!(applied.siblings.len() <= limits.siblings as usize);
    assert!(applied.services.keys().all(|id| *id > 0 && *id < limits.services));
    assert!(applied.nodes.keys().all(|id| *id < limits.nodes));
}

/// Every frontend that asks for its Service port's ranges finds those that it had before the plan, or those that it has after
/// it: at no moment is somebody kept out who is let in before and after.
fn check_ranges(now: &Applied, before: &Applied, after: &Applied) {
    for (key, value) in now.frontends.iter().filter(|(_, value)| value.asks_source) {
        let has_those_of = |other: &Applied| {
            let asks = other.frontends.get(key).is_some_and(|it| it.asks_source && it.service == value.service);
            let mut ranges = other.source_ranges.iter().filter(|(service, _)| *service == value.service);
            asks && ranges.all(|range| now.source_ranges.contains(range))
        };
        assert!(has_those_of(before) || has_those_of(after), "{key:?} without its ranges");
    }
}

/// Applies a plan write by write, and looks after each and at the end.
pub(super) fn follow(applied: &mut Applied, memory: &mut Memory, writes: &[Write], now: u64, limits: &Limits) {
    begin(applied, memory, writes, now, limits);
    for ((address, _), id) in &applied.local_backends {
        let in_grace = |at| at + GRACE_SECONDS > now;
        assert!(applied.backends[id].retired_at.is_none_or(in_grace), "{address} found for too long");
    }
}

/// Applies a plan, or its first writes, and looks after each.
pub(super) fn begin(applied: &mut Applied, memory: &mut Memory, writes: &[Write], now: u64, limits: &Limits) {
    let (before, mut after) = (applied.clone(), applied.clone());
    writes.iter().for_each(|write| after.apply(write, now));
    for write in writes {
        memory.note(write, applied, now);
        applied.apply(write, now);
        check_sound(applied, memory, limits);
        check_ranges(applied, &before, &after);
    }
}
