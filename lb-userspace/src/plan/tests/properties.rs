//! Random worlds, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use proptest::prelude::*;

use super::names::{
    by_names, live_backends, ranges, siblings, wanted_backends, wanted_by_names, wanted_ranges, wanted_siblings,
};
use super::sound::{Memory, follow};
use super::world::{ROOMY, World, consistent, desired, worlds};
use crate::plan::{Applied, Limits, RecordState, Write, plan};

/// Whether a backend that is not Gone has this address, on such a node.
fn is_live(applied: &Applied, address: SocketAddr, on: impl Fn(u32) -> bool) -> bool {
    let mut records = applied.backends.values().map(|backend| backend.record);
    records.any(|record| record.state != RecordState::Gone && record.address == address && on(record.node))
}

/// A backend on this node of which nothing is found by its address, though it is not Gone.
fn unknown_local(applied: &Applied) -> Option<SocketAddr> {
    let live =
        applied.backends.values().map(|backend| backend.record).filter(|record| record.state != RecordState::Gone);
    let mut own = live.filter(|record| record.node == 0);
    let unknown = own.find(|record| !applied.local_backends.contains_key(&(record.address, record.protocol)));
    unknown.map(|record| record.address)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// After every prefix of every plan all is sound; afterwards what is applied is what is
    /// desired; planning again gives nothing; no id comes back within its grace time.
    #[test]
    fn plans_are_sound_complete_and_idempotent(
        steps in proptest::collection::vec((worlds(), 0..40_u64), 1..6),
    ) {
        let (mut applied, mut memory, mut now) = (Applied::default(), Memory::default(), 1_000);
        let mut slots = BTreeMap::new();
        for (world, pause) in steps {
            now += pause;
            let desired = desired(&consistent(world));
            let before = applied.clone();
            let planned = plan(&applied, &desired, now, &ROOMY);
            prop_assert_eq!(&planned.problems, &vec![]);
            follow(&mut applied, &mut memory, &planned.writes, now, &ROOMY);
            prop_assert_eq!(plan(&applied, &desired, now, &ROOMY).writes, vec![]);

            prop_assert_eq!(unknown_local(&applied), None);
            for ((address, protocol), id) in &before.local_backends {
                let was_alive = before.backends[id].record.state != RecordState::Gone;
                let is_elsewhere = is_live(&applied, *address, |node| node != 0);
                let is_found = applied.local_backends.contains_key(&(*address, *protocol));
                prop_assert!(is_found || !was_alive || is_elsewhere, "{} went at once", address);
            }
            for ((address, _), id) in &applied.local_backends {
                let is_alive = applied.backends[id].record.state != RecordState::Gone;
                prop_assert!(is_alive || !is_live(&applied, *address, |node| node == 0), "{} not repointed", address);
            }

            let (found, wanted) = (by_names(&applied), wanted_by_names(&desired));
            if desired.complete {
                prop_assert_eq!(found, wanted);
                prop_assert_eq!(live_backends(&applied), wanted_backends(&desired));
                prop_assert_eq!(siblings(&applied), wanted_siblings(&desired));
                prop_assert_eq!(ranges(&applied), wanted_ranges(&desired));
                let names: BTreeSet<&str> = applied.nodes.values().map(|n| n.name.as_str()).collect();
                prop_assert_eq!(names, desired.nodes.keys().map(String::as_str).collect());
                prop_assert_eq!(
                    applied.services.values().collect::<BTreeSet<_>>(),
                    desired.services.keys().collect::<BTreeSet<_>>()
                );
            } else {
                let gone: Vec<_> = before.frontends.keys().filter(|k| !applied.frontends.contains_key(k)).collect();
                prop_assert!(gone.is_empty(), "{gone:?}");
                for (id, backend) in &before.backends {
                    let state = applied.backends[id].record.state;
                    prop_assert!(state != RecordState::Gone || backend.record.state == RecordState::Gone);
                }
                for (key, expected) in wanted {
                    // A pool of which nothing is listed keeps what it was.
                    prop_assert!(found[&key] == expected || expected.ends_with("[]"), "{key}");
                }
            }
            for table in applied.tables.values() {
                prop_assert!(table.intact);
            }
            for write in &planned.writes {
                if let Write::Table { extent, pool, .. } = write {
                    slots.insert(*extent, pool.slots());
                }
            }
            let mut checked = applied.clone();
            checked.check_tables(|extent| slots.get(&extent).cloned());
            prop_assert_eq!(&checked.tables, &applied.tables);
        }
    }

    /// A plan that was cut off anywhere is finished by the next one.
    #[test]
    fn a_plan_cut_off_is_finished_by_the_next(
        first in worlds(), second in worlds(), third in worlds(), cut in any::<prop::sample::Index>(),
    ) {
        let (mut applied, mut memory) = (Applied::default(), Memory::default());
        let third = World { complete: true, ..third };
        for (world, now) in [(first, 0), (second, 10)] {
            let writes = plan(&applied, &desired(&consistent(world)), now, &ROOMY).writes;
            let end = if now == 0 { writes.len() } else { cut.index(writes.len() + 1) };
            follow(&mut applied, &mut memory, &writes[..end], now, &ROOMY);
        }
        let desired = desired(&consistent(third));
        let writes = plan(&applied, &desired, 20, &ROOMY).writes;
        follow(&mut applied, &mut memory, &writes, 20, &ROOMY);
        prop_assert_eq!(by_names(&applied), wanted_by_names(&desired));
        prop_assert_eq!(live_backends(&applied), wanted_backends(&desired));
        prop_assert_eq!(siblings(&applied), wanted_siblings(&desired));
        prop_assert_eq!(ranges(&applied), wanted_ranges(&desired));
        prop_assert_eq!(plan(&applied, &desired, 20, &ROOMY).writes, vec![]);
    }

    /// Where something is full, all stays sound and every problem names what to raise.
    #[test]
    fn full_maps_leave_a_sound_state(
        steps in proptest::collection::vec((worlds(), 0..90_u64), 1..6),
        (slots, backends, services) in (0..60_000_u32, 0..14_u32, 0..6_u32),
        (frontends, source_ranges, siblings, nodes) in (0..9_u32, 0..9_u32, 0..9_u32, 1..4_u32),
    ) {
        let limits = Limits { slots, backends, services, frontends, source_ranges, siblings, nodes };
        let (mut applied, mut memory, mut now) = (Applied::default(), Memory::default(), 1_000);
        for (world, pause) in steps {
            now += pause;
            let desired = desired(&consistent(world));
            let planned = plan(&applied, &desired, now, &limits);
            follow(&mut applied, &mut memory, &planned.writes, now, &limits);
            prop_assert_eq!(unknown_local(&applied), None);
            for problem in &planned.problems {
                prop_assert!(problem.message.contains("raise --max-"), "{}", problem);
            }
            if planned.problems.is_empty() && desired.complete {
                prop_assert_eq!(by_names(&applied), wanted_by_names(&desired));
                prop_assert_eq!(ranges(&applied), wanted_ranges(&desired));
            }
        }
    }
}
