//! Planning for what has changed is planning for everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;

use super::world::{ROOMY, Spec, World, consistent, desired, specs, worlds};
use crate::model::Desired;
use crate::plan::{Applied, Limits, Plan, Settled, Write, plan, plan_after};

/// What happens to a world.
#[derive(Clone, Debug)]
enum Change {
    Nothing,
    /// A Service port comes, or is another one.
    Port(Spec),
    Gone(u8),
    /// A node has another address, or is gone.
    Node(u8, Option<u8>),
    /// The source knows everything, or not.
    Complete(bool),
    /// Everything is told anew, as after a new list.
    Relist,
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => Just(Change::Nothing),
        8 => specs().prop_map(Change::Port),
        2 => (0..6_u8).prop_map(Change::Gone),
        1 => (1..4_u8, proptest::option::of(2..6_u8)).prop_map(|(node, last)| Change::Node(node, last)),
        1 => prop::bool::weighted(0.8).prop_map(Change::Complete),
        1 => Just(Change::Relist),
    ]
}

fn tight() -> impl Strategy<Value = Limits> {
    let (slots, backends, services) = (9_000..60_000_u32, 4..30_u32, 2..8_u32);
    let (frontends, source_ranges, siblings, nodes) = (2..16_u32, 2..16_u32, 0..12_u32, 2..6_u32);
    (slots, backends, services, frontends, source_ranges, siblings, nodes).prop_map(
        |(slots, backends, services, frontends, source_ranges, siblings, nodes)| Limits {
            slots,
            backends,
            services,
            frontends,
            source_ranges,
            siblings,
            nodes,
        },
    )
}

fn change(world: &mut World, change: &Change) {
    match change {
        Change::Nothing | Change::Relist => {}
        Change::Port(spec) => drop(world.services.insert(spec.name, spec.clone())),
        Change::Gone(name) => drop(world.services.remove(name)),
        Change::Node(node, Some(last)) => drop(world.nodes.insert(*node, *last)),
        Change::Node(node, None) => drop(world.nodes.remove(node)),
        Change::Complete(complete) => world.complete = *complete,
    }
}

/// What is as before is the very same.
fn share(before: &Desired, now: &mut Desired) {
    for (name, port) in &mut now.services {
        if let Some(known) = before.services.get(name).filter(|known| *known == port) {
            *port = Arc::clone(known);
        }
    }
}

/// Plans both ways, which must come to the same.
fn both(settled: Option<&Settled>, applied: &Applied, desired: &Desired, now: u64, limits: &Limits) -> Plan {
    let planned = plan_after(settled, applied, desired, now, limits);
    assert_eq!(planned, plan(applied, desired, now, limits));
    planned
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Over any history, with limits and without, also where writing stops in the middle.
    #[test]
    fn planning_what_changed_is_planning_everything(
        first in worlds(),
        steps in proptest::collection::vec(
            (changes(), 0..70_u64, proptest::option::weighted(0.1, any::<Index>())), 1..14),
        limits in prop_oneof![2 => Just(ROOMY), 1 => tight()],
    ) {
        let (mut world, mut now) = (World { complete: true, ..first }, 1_000);
        let mut before = desired(&consistent(world.clone()));
        let mut applied = Applied::default();
        let mut settled = None;
        for (step, pause, cut) in [(Change::Nothing, 0, None)].into_iter().chain(steps) {
            now += pause;
            change(&mut world, &step);
            let mut desired = desired(&consistent(world.clone()));
            if !matches!(step, Change::Relist) {
                share(&before, &mut desired);
            }
            before = desired.clone();
            let planned = both(settled.as_ref(), &applied, &desired, now, &limits);
            let end = cut.map_or(planned.writes.len(), |cut| cut.index(planned.writes.len() + 1));
            planned.writes[..end].iter().for_each(|write| applied.apply(write, now));
            settled = if cut.is_none() { Settled::after(&planned, desired) } else { None };
        }
        // Once everything has its grace behind it, too.
        let planned = both(settled.as_ref(), &applied, &before, now + 100, &limits);
        planned.writes.iter().for_each(|write| applied.apply(write, now + 100));
    }
}

/// Two worlds of many Services that differ in one; what the second plan may look at is little.
#[test]
fn what_is_as_it_was_is_not_looked_at() {
    let spec = |name: u8| Spec {
        name,
        frontends: [(name + 1, false)].into(),
        affinity: true,
        ranges: None,
        backends: BTreeMap::from([(0, (name + 1, 1, true))]),
    };
    let world = World {
        services: (0..100).map(|name| (name, spec(name))).collect(),
        nodes: BTreeMap::from([(1, 2)]),
        complete: true,
    };
    let before = desired(&world);
    let mut applied = Applied::default();
    let first = plan(&applied, &before, 0, &ROOMY);
    first.writes.iter().for_each(|write| applied.apply(write, 0));
    let settled = Settled::after(&first, before.clone()).expect("nothing is full");

    // What should not be looked at is damaged, so that looking at it would show.
    let damaged = applied.services.iter().find(|(_, name)| name.name == "s3" && name.port == "p1");
    let damaged = damaged.map(|(id, _)| *id).expect("the Service port");
    for table in applied.tables.values_mut().filter(|table| table.service == damaged) {
        table.intact = false;
    }
    let mut changed = world.clone();
    changed.services.insert(50, Spec { backends: BTreeMap::from([(0, (200, 1, true))]), ..spec(50) });
    let mut now = desired(&changed);
    share(&before, &mut now);
    let planned = plan_after(Some(&settled), &applied, &now, 1, &ROOMY);
    let tables = |plan: &Plan| -> Vec<String> {
        let service = |write: &Write| match write {
            Write::Table { service, .. } => {
                applied.services.get(service).map(|name| format!("{}/{}", name.name, name.port))
            }
            _ => None,
        };
        plan.writes.iter().filter_map(service).collect()
    };
    assert_eq!(tables(&planned), ["s25/p0"]);
    assert_eq!(tables(&plan(&applied, &now, 1, &ROOMY)), ["s25/p0", "s3/p1"]);
    let mut elsewhere = now.clone();
    elsewhere.nodes.remove("n1");
    let planned = plan_after(Some(&settled), &applied, &elsewhere, 1, &ROOMY);
    assert_eq!(tables(&planned), ["s25/p0", "s3/p1"], "where nodes are others everything is looked at");
}
