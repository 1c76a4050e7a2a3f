//! One Service port's table: is the one that is there the right one, and what would be in it.

use super::applied::{Applied, AppliedTable};
use super::extents::FreeList;
use super::types::{Extent, TablePool, Write};
use crate::model::{Family, ServicePort, maglev};

/// What becomes of the table of a Service port and family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// No backend is usable: no table.
    Empty,
    /// The one that is there.
    Keep(Extent),
    /// A new one.
    New(Extent),
}

impl Choice {
    pub(super) fn extent(self) -> Option<Extent> {
        match self {
            Self::Empty => None,
            Self::Keep(extent) | Self::New(extent) => Some(extent),
        }
    }
}

/// Chooses for one family; none if there is no room for a new table. The ids are those of the
/// port's backends, as far as they have one.
pub(super) fn choose(
    port: &ServicePort,
    ids: &[Option<u32>],
    family: Family,
    existing: &[&AppliedTable],
    complete: bool,
    free: &mut FreeList,
) -> Option<Choice> {
    let pool = port.pools.of(family);
    if pool.is_empty() {
        // Nothing listed at all may mean that the slice could not be read: the old table stays.
        let listed = port.backends.iter().any(|b| Family::of(b.address.ip()) == family);
        let kept = existing.first().filter(|_| !complete && !listed);
        return Some(kept.map_or(Choice::Empty, |table| Choice::Keep(table.extent)));
    }
    let length = maglev::size(pool.len());
    let mut members: Vec<u32> = pool.iter().filter_map(|index| ids.get(*index).copied().flatten()).collect();
    if members.len() == pool.len() {
        members.sort_unstable();
        let same =
            existing.iter().find(|table| table.intact && table.extent.length == length && table.members == members);
        if let Some(table) = same {
            return Some(Choice::Keep(table.extent));
        }
    }
    free.allocate(length).map(Choice::New)
}

/// The write of a new table. The ids are those of the port's backends.
pub(super) fn table(service: u32, port: &ServicePort, ids: &[u32], family: Family, extent: Extent) -> Write {
    // The pool is in the order of identities and has each once, as the table's owners are.
    let pool = port.pools.of(family).iter();
    let backends = pool.filter_map(|index| Some((port.backends.get(*index)?.identity.clone(), *ids.get(*index)?)));
    Write::Table { service, family, extent, pool: TablePool::new(backends.collect()) }
}

/// The tables of one Service port and family; one that frontends point at comes first.
pub(super) fn existing<'a>(
    applied: &'a Applied,
    offsets: &[u32],
    pointed_at: impl Fn(u32) -> bool,
) -> Vec<&'a AppliedTable> {
    let mut tables: Vec<_> = offsets.iter().filter_map(|offset| applied.tables.get(offset)).collect();
    tables.sort_by_key(|table| !pointed_at(table.extent.offset));
    tables
}
