//! Turns of events with the writes that they must lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::names::{siblings, wanted_siblings};
use super::sound::{Memory, follow};
use super::world::{ROOMY, Spec, World, desired};
use crate::model::Desired;
use crate::plan::{Applied, Limits, Write, plan};

/// A Service with one IPv4 frontend and backends: Pod, address, node, whether it takes new flows.
pub(super) fn spec(name: u8, backends: &[(u8, u8, u8, bool)]) -> Spec {
    Spec {
        name,
        frontends: BTreeSet::from([(name + 1, false)]),
        affinity: false,
        ranges: None,
        backends: backends.iter().map(|(pod, last, node, active)| (*pod, (*last, *node, *active))).collect(),
    }
}

pub(super) fn world(specs: &[Spec]) -> World {
    World {
        services: specs.iter().map(|spec| (spec.name, spec.clone())).collect(),
        nodes: BTreeMap::from([(1, 2)]),
        complete: true,
    }
}

/// IPv4 only: the IPv6 twins would double every line.
pub(super) fn v4_only(world: &World) -> Desired {
    let mut desired = desired(world);
    for port in desired.services.values_mut().map(Arc::make_mut) {
        port.backends.retain(|backend| backend.address.is_ipv4());
        port.pools.v6 = Vec::new();
    }
    desired
}

pub(super) fn show(write: &Write) -> String {
    match write {
        Write::NameService { id, name } => format!("name service {id} {name}"),
        Write::NameBackend { id, identity, node_name } => {
            format!("name backend {id} {identity} on {node_name}")
        }
        Write::Node { id, name, .. } => format!("node {id} {name}"),
        Write::Backend { id, backend } => {
            format!("backend {id} {:?} on {} generation {}", backend.state, backend.node, backend.generation)
        }
        Write::LocalBackend { address, id, .. } => format!("local {address} {id}"),
        Write::Sibling { service, backend, id } => format!("sibling of {backend} for {service} is {id}"),
        Write::RemoveSibling { service, backend } => format!("remove sibling of {backend} for {service}"),
        Write::SourceRange { service, range } => format!("range of {service} {range}"),
        Write::RemoveSourceRange { service, range } => format!("remove range of {service} {range}"),
        Write::Table { service, extent, .. } => {
            format!("table of {service} at {}+{}", extent.offset, extent.length)
        }
        Write::Frontend { address, value, .. } => {
            format!("frontend {address} at {:?}", value.extent.map(|extent| extent.offset))
        }
        Write::RemoveFrontend { address, .. } => format!("remove frontend {address}"),
        Write::RemoveLocalBackend { address, .. } => format!("remove local {address}"),
        Write::ForgetTable { extent, .. } => format!("forget table at {}", extent.offset),
        Write::RetireBackend { id } => format!("retire backend {id}"),
        Write::RemoveNode { id } => format!("remove node {id}"),
        Write::ForgetService { id } => format!("forget service {id}"),
    }
}

/// One turn: when, the world, the writes, the problems.
type Turn<'a> = (u64, World, &'a [&'a str], &'a [&'a str]);

/// Plans and applies each world in turn and compares the writes and the problems.
fn check(limits: &Limits, turns: &[Turn<'_>]) -> Applied {
    let mut applied = Applied::default();
    for (now, world, expected, problems) in turns {
        let planned = plan(&applied, &v4_only(world), *now, limits);
        for write in &planned.writes {
            applied.apply(write, *now);
        }
        assert_eq!(planned.writes.iter().map(show).collect::<Vec<_>>(), *expected, "at {now}");
        let found: Vec<String> = planned.problems.iter().map(ToString::to_string).collect();
        assert_eq!(found, *problems, "at {now}");
    }
    applied
}

#[test]
fn a_pod_is_replaced_at_its_address_and_comes_back() {
    let first = world(&[spec(0, &[(1, 1, 0, true)])]);
    let second = world(&[spec(0, &[(2, 1, 0, true)])]);
    check(
        &ROOMY,
        &[
            (
                0,
                first.clone(),
                &[
                    "node 0 n0",
                    "node 1 n1",
                    "name service 1 default/s0:p0/TCP",
                    "name backend 1 default/p001 on n0",
                    "backend 1 Active on 0 generation 1",
                    "local 10.3.0.1:8080 1",
                    "table of 1 at 0+251",
                    "frontend 10.2.0.1 at Some(0)",
                ],
                &[],
            ),
            (1, first.clone(), &[], &[]),
            (
                2,
                second.clone(),
                &[
                    "name backend 2 default/p002 on n0",
                    "backend 2 Active on 0 generation 1",
                    "local 10.3.0.1:8080 2",
                    "table of 1 at 251+251",
                    "frontend 10.2.0.1 at Some(251)",
                    "forget table at 0",
                    "retire backend 1",
                ],
                &[],
            ),
            (61, second.clone(), &[], &[]),
            (62, second, &[], &[]),
            (
                63,
                first,
                &[
                    "name backend 1 default/p001 on n0",
                    "backend 1 Active on 0 generation 2",
                    "local 10.3.0.1:8080 1",
                    "table of 1 at 0+251",
                    "frontend 10.2.0.1 at Some(0)",
                    "forget table at 251",
                    "retire backend 2",
                ],
                &[],
            ),
        ],
    );
}

/// The last packets of its connections leave with the frontend's address.
#[test]
fn a_backend_of_this_node_that_went_is_found_for_its_grace() {
    let there = world(&[spec(0, &[(1, 1, 0, true)])]);
    let gone = world(&[spec(0, &[])]);
    // The first takes the id that is free again, the second the address.
    let others = world(&[spec(0, &[(2, 2, 0, true), (3, 1, 0, true)])]);
    let elsewhere = world(&[spec(0, &[(3, 2, 1, true)])]);
    let applied = check(
        &ROOMY,
        &[
            (
                0,
                there,
                &[
                    "node 0 n0",
                    "node 1 n1",
                    "name service 1 default/s0:p0/TCP",
                    "name backend 1 default/p001 on n0",
                    "backend 1 Active on 0 generation 1",
                    "local 10.3.0.1:8080 1",
                    "table of 1 at 0+251",
                    "frontend 10.2.0.1 at Some(0)",
                ],
                &[],
            ),
            (1, gone.clone(), &["frontend 10.2.0.1 at None", "forget table at 0", "retire backend 1"], &[]),
            (60, gone.clone(), &[], &[]),
            (
                61,
                others,
                &[
                    "remove local 10.3.0.1:8080",
                    "name backend 1 default/p002 on n0",
                    "name backend 2 default/p003 on n0",
                    "backend 1 Active on 0 generation 2",
                    "backend 2 Active on 0 generation 1",
                    "local 10.3.0.1:8080 2",
                    "local 10.3.0.2:8080 1",
                    "table of 1 at 0+8191",
                    "frontend 10.2.0.1 at Some(0)",
                ],
                &[],
            ),
            (
                62,
                gone.clone(),
                &["frontend 10.2.0.1 at None", "forget table at 0", "retire backend 1", "retire backend 2"],
                &[],
            ),
            (122, gone, &["remove local 10.3.0.1:8080", "remove local 10.3.0.2:8080"], &[]),
        ],
    );
    assert_eq!(applied.local_backends.len(), 0);
    let mut applied = applied;
    for (now, world, expected) in
        [(200, world(&[spec(0, &[(2, 2, 0, true)])]), 1), (201, world(&[spec(0, &[])]), 1), (202, elsewhere, 0)]
    {
        for write in plan(&applied, &v4_only(&world), now, &ROOMY).writes {
            applied.apply(&write, now);
        }
        assert_eq!(applied.local_backends.len(), expected, "at {now}");
    }
}

#[test]
fn draining_empties_the_pool_and_keeps_the_backend() {
    let active = world(&[spec(0, &[(1, 1, 1, true)])]);
    let draining = world(&[spec(0, &[(1, 1, 1, false)])]);
    let applied = check(
        &ROOMY,
        &[
            (
                0,
                active,
                &[
                    "node 0 n0",
                    "node 1 n1",
                    "name service 1 default/s0:p0/TCP",
                    "name backend 1 default/p001 on n1",
                    "backend 1 Active on 1 generation 1",
                    "table of 1 at 0+251",
                    "frontend 10.2.0.1 at Some(0)",
                ],
                &[],
            ),
            (
                1,
                draining,
                &["backend 1 Draining on 1 generation 1", "frontend 10.2.0.1 at None", "forget table at 0"],
                &[],
            ),
        ],
    );
    assert_eq!(applied.tables.len(), 0);
}

#[test]
fn a_backend_that_moves_to_this_node_keeps_its_id() {
    check(
        &ROOMY,
        &[
            (
                0,
                world(&[spec(0, &[(1, 1, 1, true)])]),
                &[
                    "node 0 n0",
                    "node 1 n1",
                    "name service 1 default/s0:p0/TCP",
                    "name backend 1 default/p001 on n1",
                    "backend 1 Active on 1 generation 1",
                    "table of 1 at 0+251",
                    "frontend 10.2.0.1 at Some(0)",
                ],
                &[],
            ),
            (
                1,
                World { nodes: BTreeMap::new(), ..world(&[spec(0, &[(1, 1, 0, true)])]) },
                &[
                    "name backend 1 default/p001 on n0",
                    "backend 1 Active on 0 generation 1",
                    "local 10.3.0.1:8080 1",
                    "remove node 1",
                ],
                &[],
            ),
        ],
    );
}

#[test]
fn nothing_is_taken_away_while_the_source_is_incomplete() {
    let one = world(&[spec(0, &[(1, 1, 0, true)]), spec(1, &[(1, 1, 0, true)])]);
    let none = World { complete: false, nodes: BTreeMap::new(), ..world(&[spec(0, &[])]) };
    let mut applied = Applied::default();
    for write in plan(&applied, &v4_only(&one), 0, &ROOMY).writes {
        applied.apply(&write, 0);
    }
    assert_eq!(plan(&applied, &v4_only(&none), 1, &ROOMY).writes, []);
}

#[test]
fn an_incomplete_source_that_moves_a_frontend_makes_no_table_for_the_old_owner() {
    let mut before = spec(3, &[]);
    before.frontends = BTreeSet::from([(5, false)]);
    let mut after = spec(0, &[]);
    after.frontends = BTreeSet::from([(5, false)]);
    let mut without = spec(3, &[(1, 1, 0, true)]);
    without.frontends = BTreeSet::new();
    let incomplete = |specs: &[Spec]| World { complete: false, ..world(specs) };
    let mut applied = Applied::default();
    for (now, world) in [(0, incomplete(&[before])), (1, incomplete(&[after, without]))] {
        let desired = v4_only(&world);
        for write in plan(&applied, &desired, now, &ROOMY).writes {
            applied.apply(&write, now);
        }
        assert_eq!(plan(&applied, &desired, now, &ROOMY).writes, []);
    }
    assert_eq!(applied.tables.len(), 0);
}

#[test]
fn what_is_full_is_named_and_the_others_go_on() {
    let small = spec(0, &[(1, 1, 0, true)]);
    let large = spec(1, &[(2, 2, 0, true), (3, 3, 0, true)]);
    let both = world(&[large, small]);
    let base = ["node 0 n0", "node 1 n1"];
    let small_alone = [
        "name service 1 default/s0:p0/TCP",
        "name backend 1 default/p001 on n0",
        "backend 1 Active on 0 generation 1",
        "local 10.3.0.1:8080 1",
        "table of 1 at 0+251",
        "frontend 10.2.0.1 at Some(0)",
    ];
    let expected: Vec<&str> = base.into_iter().chain(small_alone).collect();
    for (limits, message) in [
        (
            Limits { slots: 8_000, ..ROOMY },
            "no room for its lookup table among the slots (8000); it keeps what it had; raise --max-slots",
        ),
        (
            Limits { backends: 3, ..ROOMY },
            "no ids left for its backends (3); it keeps what it had; raise --max-backends",
        ),
        (Limits { services: 2, ..ROOMY }, "no id left for it (2); it keeps what it had; raise --max-services"),
        (
            Limits { frontends: 1, ..ROOMY },
            "no room for its frontends (1); it keeps what it had; raise --max-frontends",
        ),
    ] {
        let problem = format!("error: Service default/s0: default/s0:p1/TCP: {message}");
        check(&limits, &[(0, both.clone(), &expected, &[&problem])]);
    }
    let remote = world(&[spec(0, &[(1, 1, 1, true)])]);
    check(
        &Limits { nodes: 1, ..ROOMY },
        &[(
            0,
            remote,
            &["node 0 n0"],
            &[
                "error: Node n1: node table full (1); raise --max-nodes",
                "error: Service default/s0: default/s0:p0/TCP: no id left for the nodes of its backends (1); it keeps what it had; raise --max-nodes",
            ],
        )],
    );
}

#[test]
fn a_full_array_of_slots_is_planned_again_when_slots_are_free() {
    let limits = Limits { slots: 400, ..ROOMY };
    let mut applied = Applied::default();
    let first = v4_only(&world(&[spec(0, &[(1, 1, 0, true)])]));
    let second = v4_only(&world(&[spec(1, &[(2, 2, 0, true)])]));
    for write in plan(&applied, &first, 0, &limits).writes {
        applied.apply(&write, 0);
    }
    let planned = plan(&applied, &second, 10, &limits);
    assert_eq!((planned.problems.len(), planned.again_at), (1, Some(15)));
    for write in planned.writes {
        applied.apply(&write, 10);
    }
    assert_eq!(plan(&applied, &second, 14, &limits).problems.len(), 1);
    let planned = plan(&applied, &second, 15, &limits);
    assert_eq!(planned.problems, []);
    assert!(planned.writes.iter().any(|write| matches!(write, Write::Table { .. })));
}

/// All new pairs were once written before the old ones went: a map that was more than half full refused them, and held up
/// everything behind them, in each round anew.
#[test]
fn pairs_that_have_no_room_beside_the_old_ones_wait_for_these_to_go() {
    let limits = Limits { siblings: 4, ..ROOMY };
    let shared = |pods: &[u8]| {
        let backends: Vec<_> = pods.iter().map(|pod| (*pod, *pod, 0, true)).collect();
        v4_only(&world(&[0, 1].map(|name| Spec { affinity: true, ..spec(name, &backends) })))
    };
    let (mut applied, mut memory) = (Applied::default(), Memory::default());
    for (now, pods, again_at) in [(0, [1, 2], None), (10, [2, 3], Some(11)), (11, [2, 3], Some(70))] {
        let planned = plan(&applied, &shared(&pods), now, &limits);
        assert_eq!((planned.problems, planned.again_at), (Vec::new(), again_at), "at {now}");
        follow(&mut applied, &mut memory, &planned.writes, now, &limits);
    }
    assert_eq!(siblings(&applied), wanted_siblings(&shared(&[2, 3])));
}

/// Two Services have one Pod; one finds no room for more backends and keeps what it had, the other one goes. The entry was
/// the other one's, and once went with it: replies of the first left with the Pod's address.
#[test]
fn a_backend_that_is_kept_as_it_is_stays_known_on_this_node() {
    let limits = Limits { backends: 4, ..ROOMY };
    let pod = [(1, 1, 0, true)];
    let more = [(1, 1, 0, true), (2, 2, 0, true), (3, 3, 0, true), (4, 4, 0, true)];
    let both = world(&[spec(0, &pod), spec(1, &pod)]);
    let one_full = world(&[spec(1, &more)]);
    let (mut applied, mut memory) = (Applied::default(), Memory::default());
    for (now, world) in [(0, both), (1, one_full.clone()), (61, one_full.clone()), (200, one_full)] {
        let planned = plan(&applied, &v4_only(&world), now, &limits);
        assert_eq!(planned.problems.len(), usize::from(now > 0), "at {now}");
        follow(&mut applied, &mut memory, &planned.writes, now, &limits);
        let entries: Vec<String> = applied.local_backends.keys().map(|(address, _)| address.to_string()).collect();
        assert_eq!(entries, ["10.3.0.1:8080"], "at {now}");
    }
}

#[test]
fn a_table_that_is_not_what_it_should_be_is_written_anew() {
    let desired = v4_only(&world(&[spec(0, &[(1, 1, 0, true), (2, 2, 0, true)])]));
    let mut applied = Applied::default();
    let mut slots = Vec::new();
    for write in plan(&applied, &desired, 0, &ROOMY).writes {
        applied.apply(&write, 0);
        if let Write::Table { pool, .. } = write {
            slots = pool.slots();
        }
    }
    applied.check_tables(|_| Some(slots.clone()));
    assert_eq!(plan(&applied, &desired, 9, &ROOMY).writes, []);
    slots.reverse();
    applied.check_tables(|_| Some(slots.clone()));
    let writes: Vec<String> = plan(&applied, &desired, 9, &ROOMY).writes.iter().map(show).collect();
    assert_eq!(writes, ["table of 1 at 8191+8191", "frontend 10.2.0.1 at Some(8191)", "forget table at 0"]);
}
