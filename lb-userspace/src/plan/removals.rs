//! What is taken away, last and in an order in which nothing is left pointing at it.

use std::collections::BTreeSet;

use super::full::Full;
use super::planner::Planner;
use super::types::{FrontendKey, Write};
use super::{GRACE_SECONDS, TABLE_GRACE_SECONDS};

/// All removals, in their order.
pub(super) fn all(
    planner: &Planner<'_>,
    ranges: Vec<Write>,
    moved_locals: Vec<Write>,
    siblings: Vec<Write>,
) -> Vec<Write> {
    let applied = planner.applied;
    let complete = planner.desired.complete;
    let mut removals = Vec::new();
    if complete {
        let gone = applied
            .frontends
            .iter()
            .filter(|(key, value)| planner.scope.has(value.service) && !planner.kept_frontends.contains(*key));
        removals.extend(gone.map(|(key, _)| {
            let FrontendKey { address, port, protocol } = *key;
            Write::RemoveFrontend { address, port, protocol }
        }));
    }
    // Also while the source is incomplete: those that go are of Service ports that it knows.
    removals.extend(ranges);
    removals.extend(moved_locals);
    removals.extend(siblings);
    // A table that was replaced goes in any case: what it said is in the new one.
    removals.extend(
        applied
            .tables
            .values()
            .filter(|table| planner.scope.has(table.service) && !planner.kept_tables.contains(&table.extent.offset))
            .map(|table| Write::ForgetTable { service: table.service, family: table.family, extent: table.extent }),
    );
    if complete {
        removals.extend(retired(planner).map(|id| Write::RetireBackend { id }));
        removals.extend(removed_nodes(planner).map(|id| Write::RemoveNode { id }));
        let gone = applied.services.keys().filter(|id| planner.scope.has(**id) && !planner.kept_services.contains(*id));
        removals.extend(gone.map(|id| Write::ForgetService { id: *id }));
    }
    removals
}

fn retired(planner: &Planner<'_>) -> impl Iterator<Item = u32> {
    planner.wanted.alive().map(|(id, _)| id).filter(|id| !planner.wanted.is_needed(*id))
}

fn removed_nodes(planner: &Planner<'_>) -> impl Iterator<Item = u32> {
    // Backends that are kept as they are keep their nodes.
    let kept = planner.wanted.alive().filter(|(id, _)| planner.wanted.is_needed(*id) && !planner.wanted.is_wanted(*id));
    let used: BTreeSet<u32> = kept.map(|(_, record)| record.node).collect();
    let desired = planner.desired;
    planner
        .applied
        .nodes
        .iter()
        .filter(move |(id, node)| {
            let is_wanted = node.name != desired.node && desired.nodes.contains_key(&node.name);
            **id != 0 && !is_wanted && !used.contains(id)
        })
        .map(|(id, _)| *id)
}

/// When planning again may give more: an entry of a local backend can go, or what is full has room again.
pub(super) fn again_at(planner: &Planner<'_>, removals: &[Write]) -> Option<u64> {
    let applied = planner.applied;
    let now = planner.now_seconds;
    let found = applied.local_backends.values().filter_map(|id| applied.backends.get(id)?.retired_at);
    let mut times: Vec<u64> = found.map(|at| at + GRACE_SECONDS).collect();
    if removals.iter().any(|write| matches!(write, Write::RetireBackend { .. })) {
        times.push(now + GRACE_SECONDS);
    }
    for full in &planner.full {
        match full {
            Full::Slots => {
                let goes = |write: &Write| matches!(write, Write::ForgetTable { .. });
                times.extend(removals.iter().any(goes).then_some(now + TABLE_GRACE_SECONDS));
                times.extend(applied.cooling_extents.values().map(|at| at + TABLE_GRACE_SECONDS));
            }
            Full::Backends => {
                let gone = applied.backends.values().filter_map(|backend| backend.retired_at);
                times.extend(gone.map(|at| at + GRACE_SECONDS));
            }
            Full::Services => {
                let goes = |write: &Write| matches!(write, Write::ForgetService { .. });
                times.extend(removals.iter().any(goes).then_some(now + GRACE_SECONDS));
                times.extend(applied.cooling_services.values().map(|at| at + GRACE_SECONDS));
            }
            Full::Nodes => {
                let goes = |write: &Write| matches!(write, Write::RemoveNode { .. });
                times.extend(removals.iter().any(goes).then_some(now + GRACE_SECONDS));
                times.extend(applied.cooling_nodes.values().map(|at| at + GRACE_SECONDS));
            }
            Full::SourceRanges => {
                let goes = |write: &Write| matches!(write, Write::RemoveSourceRange { .. });
                times.extend(removals.iter().any(goes).then_some(now + 1));
            }
            Full::Frontends => {
                let goes = |write: &Write| matches!(write, Write::RemoveFrontend { .. });
                times.extend(removals.iter().any(goes).then_some(now + 1));
            }
        }
    }
    times.into_iter().filter(|at| *at > now).min()
}
