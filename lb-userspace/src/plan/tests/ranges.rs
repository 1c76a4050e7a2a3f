//! Turns of source ranges, and what becomes of packets without a backend.

use std::collections::BTreeSet;

use ipnet::IpNet;
use lb_common::layout::INSIDE;

use super::names::{ranges, wanted_ranges};
use super::sound::{Memory, follow};
use super::turns::{show, spec, v4_only, world};
use super::world::{ROOMY, Spec, World};
use crate::model::Desired;
use crate::plan::{Applied, Limits, Plan, Write, plan};

/// A Service port with a load-balancer IP and these ranges.
fn ranged(ranges: Option<&[u8]>) -> Spec {
    let ranges = ranges.map(|ranges| ranges.iter().map(|number| (*number, false)).collect());
    Spec { frontends: BTreeSet::from([(2, false), (3, false)]), ranges, ..spec(0, &[(1, 1, 0, true)]) }
}

/// Plans, applies and gives the plan.
fn turn(applied: &mut Applied, memory: &mut Memory, world: &World, now: u64, limits: &Limits) -> Plan {
    let planned = plan(applied, &v4_only(world), now, limits);
    follow(applied, memory, &planned.writes, now, limits);
    planned
}

/// The frontends and ranges of a plan, in its order.
fn shown(plan: &Plan) -> Vec<String> {
    let of_interest = |write: &&Write| {
        matches!(
            write,
            Write::Frontend { .. }
                | Write::RemoveFrontend { .. }
                | Write::SourceRange { .. }
                | Write::RemoveSourceRange { .. }
                | Write::ForgetService { .. }
        )
    };
    plan.writes.iter().filter(of_interest).map(show).collect()
}

#[test]
fn ranges_come_before_the_frontends_that_ask_and_go_after() {
    let (mut applied, mut memory) = (Applied::default(), Memory::default());
    // 10.2.0.2 is a load-balancer IP, 10.2.0.3 an external one, which never asks.
    let frontends = ["frontend 10.2.0.2 at Some(0)", "frontend 10.2.0.3 at Some(0)"];
    let turns: [(Option<&[u8]>, &[&str]); 6] = [
        (Some(&[1, 0]), &["range of 1 0.0.0.0/0", "range of 1 10.4.0.128/25", frontends[0], frontends[1]]),
        (Some(&[1, 2]), &["range of 1 10.4.0.192/26", "remove range of 1 0.0.0.0/0"]),
        (None, &[frontends[0], "remove range of 1 10.4.0.128/25", "remove range of 1 10.4.0.192/26"]),
        (Some(&[]), &[frontends[0]]),
        (Some(&[3]), &["range of 1 10.4.0.224/27"]),
        (Some(&[3]), &[]),
    ];
    for (now, (ranges, expected)) in (0..).zip(turns) {
        let planned = turn(&mut applied, &mut memory, &world(&[ranged(ranges)]), now, &ROOMY);
        assert_eq!((shown(&planned), planned.problems), (expected.iter().map(ToString::to_string).collect(), vec![]));
        let asks: Vec<bool> = applied.frontends.values().map(|value| value.asks_source).collect();
        assert_eq!(asks, [ranges.is_some(), false], "turn {now}");
    }
    let planned = turn(&mut applied, &mut memory, &world(&[]), 10, &ROOMY);
    let expected =
        ["remove frontend 10.2.0.2", "remove frontend 10.2.0.3", "remove range of 1 10.4.0.224/27", "forget service 1"];
    assert_eq!(shown(&planned), expected);
}

#[test]
fn a_service_port_whose_ranges_find_no_room_keeps_what_it_had_and_the_flag_is_named() {
    let limits = Limits { source_ranges: 2, ..ROOMY };
    let (mut applied, mut memory) = (Applied::default(), Memory::default());
    let first = world(&[ranged(Some(&[1, 2]))]);
    assert_eq!(turn(&mut applied, &mut memory, &first, 0, &limits).problems, []);
    let before = applied.clone();

    let planned = turn(&mut applied, &mut memory, &world(&[ranged(Some(&[1, 3]))]), 1, &limits);
    assert!(shown(&planned).is_empty());
    assert_eq!(applied, before);
    let problems: Vec<String> = planned.problems.iter().map(ToString::to_string).collect();
    let message = "no room for its loadBalancerSourceRanges (2); it keeps what it had; raise --max-source-ranges";
    assert_eq!(problems, [format!("error: Service default/s0: default/s0:p0/TCP: {message}")]);

    let fewer = world(&[ranged(Some(&[1]))]);
    assert_eq!(turn(&mut applied, &mut memory, &fewer, 2, &limits).problems, []);
    assert_eq!(ranges(&applied), wanted_ranges(&v4_only(&fewer)));
}

/// What happens; the networks; whether all of them are known; room; the networks afterwards.
type Step<'a> = (&'a str, &'a [&'a str], bool, u32, &'a [&'a str]);

#[test]
fn the_clusters_own_networks_come_and_go_with_its_nodes() {
    let inside = |networks: &[&str]| networks.iter().map(|text| text.parse().expect("a network")).collect();
    let desired = |networks: &[&str], complete| Desired { inside: inside(networks), complete, ..v4_only(&world(&[])) };
    let (mut applied, mut memory) = (Applied::default(), Memory::default());
    let steps: [Step<'_>; 5] = [
        ("two", &["10.9.0.0/24", "fd00:9::/64"], true, 10, &["10.9.0.0/24", "fd00:9::/64"]),
        ("another", &["10.9.0.0/24", "10.9.1.0/24"], true, 10, &["10.9.0.0/24", "10.9.1.0/24"]),
        ("not all nodes are known", &["10.9.0.0/24"], false, 10, &["10.9.0.0/24", "10.9.1.0/24"]),
        ("no room", &["10.9.2.0/24"], true, 2, &["10.9.0.0/24", "10.9.1.0/24"]),
        ("all gone", &[], true, 2, &[]),
    ];
    for (now, (what, networks, complete, source_ranges, expected)) in (0..).zip(steps) {
        let limits = Limits { source_ranges, ..ROOMY };
        let planned = plan(&applied, &desired(networks, complete), now, &limits);
        follow(&mut applied, &mut memory, &planned.writes, now, &limits);
        let found: BTreeSet<IpNet> = applied
            .source_ranges
            .iter()
            .map(|(service, range)| {
                assert_eq!(*service, INSIDE, "{what}");
                *range
            })
            .collect();
        assert_eq!(found, inside(expected), "{what}");
        assert_eq!(planned.problems.len(), usize::from(what == "no room"), "{what}: {:?}", planned.problems);
    }
}

/// A new Service port for which there is no room while another one's ranges are on their way out.
#[test]
fn what_had_no_room_is_planned_again_when_ranges_have_gone() {
    let limits = Limits { source_ranges: 2, ..ROOMY };
    let (mut applied, mut memory) = (Applied::default(), Memory::default());
    let other = Spec { name: 2, frontends: BTreeSet::from([(4, false)]), ..ranged(Some(&[4, 5])) };
    turn(&mut applied, &mut memory, &world(&[ranged(Some(&[1, 2]))]), 0, &limits);
    let planned = turn(&mut applied, &mut memory, &world(std::slice::from_ref(&other)), 10, &limits);
    assert_eq!((planned.problems.len(), planned.again_at), (1, Some(11)));
    assert_eq!(turn(&mut applied, &mut memory, &world(&[other]), 11, &limits).problems, []);
}

/// A file that cannot be read takes nothing away from Service ports that it may have in it. Of those that are known, the
/// ranges that went are not let in any longer.
#[test]
fn an_incomplete_source_keeps_the_ranges_of_what_it_does_not_know() {
    let (mut applied, mut memory) = (Applied::default(), Memory::default());
    let other = Spec { name: 2, frontends: BTreeSet::from([(4, false)]), ..ranged(Some(&[4])) };
    turn(&mut applied, &mut memory, &world(&[ranged(Some(&[1, 2])), other]), 0, &ROOMY);
    let incomplete = World { complete: false, ..world(&[ranged(Some(&[2]))]) };
    let planned = turn(&mut applied, &mut memory, &incomplete, 1, &ROOMY);
    assert_eq!(shown(&planned), ["remove range of 1 10.4.0.128/25"]);
}

#[test]
fn silence_is_for_frontends_without_a_table_alone() {
    let (mut applied, mut memory) = (Applied::default(), Memory::default());
    let silent = |backends: &[(u8, u8, u8, bool)]| world(&[spec(1, backends)]);
    for (now, backends, expected) in
        [(0, &[(1, 1, 0, true)][..], false), (1, &[(1, 1, 0, false)][..], true), (2, &[][..], true)]
    {
        turn(&mut applied, &mut memory, &silent(backends), now, &ROOMY);
        assert_eq!(applied.frontends.values().map(|value| value.drops_if_empty).collect::<Vec<_>>(), [expected]);
    }
    let rejecting = world(&[spec(0, &[])]);
    turn(&mut applied, &mut memory, &rejecting, 3, &ROOMY);
    assert!(applied.frontends.values().all(|value| !value.drops_if_empty && value.extent.is_none()));
}
