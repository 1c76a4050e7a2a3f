//! What the judge explains, and above all what it does not.

use super::*;
use crate::world::PodState;

const NODE: u8 = 1;

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn asked(from: u64, to: u64) -> Asked {
    let window = Window { from: at(from), to: at(to) };
    Asked { service: "web".to_owned(), node: NODE, kind: FrontendKind::LoadBalancerIp, client: 2, window }
}

fn said(members: &[(&str, PodState)]) -> Said {
    let members = members.iter().map(|(pod, state)| ((*pod).to_owned(), *state)).collect();
    Said { is_there: true, affinity: Some(600), members, ..Said::default() }
}

fn both_ready() -> Said {
    said(&[("a", PodState::Ready), ("b", PodState::Ready)])
}

/// `web` has Pods a (on node 1) and b (on node 2), which all nodes know since the first second; at 10 s something is
/// said of it, which node 1 has programmed at 11 s.
fn history(then: Said) -> History {
    let mut history = History::default();
    history.place("a", 1);
    history.place("b", 2);
    let mut write = |when, version, said| {
        history.change(at(when), "web", said);
        history.written("web", version);
        (1..=3).for_each(|node| history.programmed(at(when + 100), node, version));
    };
    write(0, 1, both_ready());
    write(10_000, 2, then);
    history
}

fn undisturbed() -> History {
    history(both_ready())
}

#[test]
fn no_failure_is_explained_where_nothing_happened() {
    let history = undisturbed();
    let failures = [
        Failure::Refused,
        Failure::Unreachable,
        Failure::Reset,
        Failure::TimedOut,
        Failure::Wrong("x".to_owned()),
        Failure::WrongPod("c".to_owned()),
        Failure::Other("x".to_owned()),
    ];
    for failure in failures {
        assert_eq!(request(&history, &asked(5_000, 5_010), &failure), None, "{failure}");
        assert_eq!(held(&history, &asked(5_000, 5_010), "a", &failure), None, "{failure}");
    }
    assert!(!may_move(&history, &asked(5_000, 6_000), "a"));
    assert_eq!(answer(&history, &asked(5_000, 5_010), "a"), Ok(()));
    assert!(matches!(answer(&history, &asked(5_000, 5_010), "c"), Err(Failure::WrongPod(_))));
}

#[test]
fn each_cause_explains_its_own_failures_at_its_own_time_alone() {
    let gone = || history(Said::default());
    let empty = || history(said(&[("a", PodState::NotReady)]));
    let restricted = || history(Said { restricted: true, ..both_ready() });
    let removed = || history(said(&[("b", PodState::Ready)]));
    let dead = || {
        let mut history = undisturbed();
        history.died(at(10_000), "b");
        history.revived(at(10_500), "b");
        history
    };
    let cut = |node| {
        let mut history = undisturbed();
        history.cut_off(at(10_000), node);
        history.reconnected(at(10_500), node);
        history
    };
    let check = |what: &str, history: History, failure: Failure, expected| {
        assert_eq!(request(&history, &asked(10_050, 10_060), &failure), expected, "{what}");
        assert_eq!(request(&history, &asked(9_000, 9_900), &failure), None, "{what}, before");
    };
    check("gone", gone(), Failure::Refused, Some(Cause::ServiceGone));
    check("gone", gone(), Failure::Unreachable, Some(Cause::ServiceGone));
    check("gone", gone(), Failure::TimedOut, Some(Cause::ServiceGone));
    check("empty", empty(), Failure::Refused, Some(Cause::NobodyUsable));
    check("restricted", restricted(), Failure::TimedOut, Some(Cause::NotAllowed));
    check("restricted, but told", restricted(), Failure::Refused, None);
    check("removed", removed(), Failure::Reset, Some(Cause::PodRemoved));
    check("removed, but refused", removed(), Failure::Refused, None);
    check("removed, but silent", removed(), Failure::TimedOut, None);
    check("dead", dead(), Failure::Unreachable, Some(Cause::PodDead));
    check("the node is cut off", cut(NODE), Failure::TimedOut, Some(Cause::UplinkDown));
    check("a Pod's node is cut off", cut(2), Failure::TimedOut, Some(Cause::UplinkDown));
    check("cut off, but refused", cut(NODE), Failure::Refused, None);
    check("a node is cut off that has nothing to do with it", cut(3), Failure::TimedOut, None);
}

#[test]
fn what_happens_after_a_datagram_was_lost_does_not_explain_it() {
    let history = history(Said { restricted: true, ..both_ready() });
    let asked = asked(8_000, 11_000);
    assert_eq!(request(&history, &asked, &Failure::TimedOut), Some(Cause::NotAllowed));
    assert_eq!(request(&history, &asked.datagram(), &Failure::TimedOut), None);
}

#[test]
fn whoever_asks_a_node_port_that_is_gone_is_told() {
    let asked = Asked { kind: FrontendKind::NodePort, ..asked(10_050, 10_060) };
    assert_eq!(request(&history(Said::default()), &asked, &Failure::TimedOut), None);
    assert_eq!(request(&history(Said::default()), &asked, &Failure::Refused), Some(Cause::ServiceGone));
}

#[test]
fn causes_end() {
    let back = || {
        let mut history = history(Said { restricted: true, ..both_ready() });
        history.change(at(11_000), "web", both_ready());
        history.written("web", 3);
        history.programmed(at(11_100), NODE, 3);
        history
    };
    assert_eq!(request(&back(), &asked(11_200, 11_300), &Failure::TimedOut), Some(Cause::NotAllowed));
    assert_eq!(request(&back(), &asked(11_700, 13_700), &Failure::TimedOut), None);
}

#[test]
fn ranges_are_for_load_balancer_ips_and_other_machines_alone() {
    let history = history(Said { restricted: true, ..both_ready() });
    let asked = asked(12_000, 12_010);
    let node_port = Asked { kind: FrontendKind::NodePort, ..asked.clone() };
    let allowed = Asked { client: ALLOWED_CLIENT, ..asked.clone() };
    assert!(matches!(answer(&history, &asked, "a"), Err(Failure::Wrong(_))));
    for asked in [node_port, allowed] {
        assert_eq!(answer(&history, &asked, "a"), Ok(()));
        assert_eq!(request(&history, &asked, &Failure::TimedOut), None);
    }
}

#[test]
fn a_pod_that_its_own_node_does_not_know_yet_is_silent() {
    let mut history = history(said(&[("a", PodState::Ready)]));
    history.change(at(12_000), "web", both_ready());
    history.written("web", 3);
    history.programmed(at(12_100), NODE, 3);
    assert_eq!(request(&history, &asked(12_400, 12_500), &Failure::TimedOut), Some(Cause::PodNotYetKnown));
    history.programmed(at(12_600), 2, 3);
    assert_eq!(request(&history, &asked(13_200, 13_300), &Failure::TimedOut), None);
}

#[test]
fn held_connections_end_with_their_pod_and_for_no_other_reason() {
    let check = |what: &str, history: &History, expected| {
        assert_eq!(held(history, &asked(9_900, 10_500), "a", &Failure::Reset), expected, "{what}");
    };
    check("the Service goes", &history(Said::default()), Some(Cause::ServiceGone));
    check("its Pod goes", &history(said(&[("b", PodState::Ready)])), Some(Cause::PodRemoved));
    check("another Pod goes", &history(said(&[("a", PodState::Ready)])), None);
    check("its Pod terminates", &history(said(&[("a", PodState::Terminating), ("b", PodState::Ready)])), None);
    check("its Pod is not ready", &history(said(&[("a", PodState::NotReady), ("b", PodState::Ready)])), None);
    check("ranges", &history(Said { restricted: true, ..both_ready() }), None);
    let mut dead = undisturbed();
    dead.died(at(10_000), "a");
    check("its server ends", &dead, Some(Cause::PodDead));
    let mut cut = undisturbed();
    cut.cut_off(at(10_000), NODE);
    cut.reconnected(at(11_000), NODE);
    check("an uplink is down", &cut, None);
}

#[test]
fn held_clients_move_with_their_pod_or_when_their_time_is_over() {
    let check = |what: &str, then: Said, expected| {
        assert_eq!(may_move(&history(then), &asked(9_900, 12_000), "a"), expected, "{what}");
    };
    check("nothing happens", both_ready(), false);
    check("another Pod goes", said(&[("a", PodState::Ready)]), false);
    check("its Pod goes", said(&[("b", PodState::Ready)]), true);
    check("its Pod terminates", said(&[("a", PodState::Terminating), ("b", PodState::Ready)]), true);
    check("its Pod terminates and is the last", said(&[("a", PodState::Terminating)]), false);
    check("affinity is switched off", Said { affinity: None, ..both_ready() }, true);
    check("its time is over", Said { affinity: Some(2), ..both_ready() }, true);
    check("its time is shorter", Said { affinity: Some(5), ..both_ready() }, false);
}
