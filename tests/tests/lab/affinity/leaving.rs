//! A client's Pod that is not ready, deleted, terminating or dead.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use limpet_lab::world::{PodState, ServiceSpec};
use limpet_lab::{Lab, wait};

use super::LONG_SECONDS;
use super::service::{join, pods_of, programmed, put};
use super::visitors::{Door, Visitor, arrive, hold_all, leave, split, stay};
use crate::support::{CHANGE_LIMIT, Test, ask_all};

/// How long a client may be sent to its Pod after that went.
const LIMIT: Duration = Duration::from_secs(2);
/// How often a client tries again that reaches nobody.
const RETRY: Duration = Duration::from_millis(200);

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("clients_of_a_pod_that_is_not_ready_move_and_stay_when_it_is_again", |lab| {
            moves_and_stays(lab, &NOT_READY)
        }),
        Test::new("clients_of_a_deleted_pod_move_and_stay_when_it_is_back", |lab| moves_and_stays(lab, &DELETED)),
        Test::new("clients_of_a_terminating_pod_move_and_their_connections_stay", terminating),
        Test::new("a_client_that_keeps_trying_a_dead_pod_is_let_go", dead),
    ]
}

/// A way for a Pod to go and to come back.
struct Absence {
    service: &'static str,
    goes: fn(&mut Lab, &str) -> Result<()>,
    comes_back: fn(&mut Lab, &str) -> Result<()>,
}

const NOT_READY: Absence = Absence {
    service: "leaving-unready",
    goes: |lab, pod| lab.set_pod_state(pod, PodState::NotReady),
    comes_back: |lab, pod| lab.set_pod_state(pod, PodState::Ready),
};

/// Nobody asks while it goes: connections that are under way then are cut. Its server runs on until clients have left,
/// so that refused ones are never its own. It comes back under its name, with another address.
const DELETED: Absence = Absence {
    service: "leaving-deleted",
    goes: |lab, pod| {
        lab.withdraw_pod(pod)?;
        programmed(lab, DELETED.service)
    },
    comes_back: |lab, pod| {
        lab.remove_pod(pod)?;
        lab.add_pod_named(2, pod)?;
        join(lab, DELETED.service, &[pod.to_owned()])
    },
};

fn moves_and_stays(lab: &mut Lab, absence: &Absence) -> Result<()> {
    let service = absence.service;
    let pods = lab.add_pods(&[1, 2, 3])?;
    let victim = &pods[1];
    put(lab, ServiceSpec::new(service, &pods).with_affinity(LONG_SECONDS))?;
    let door = Door::of(lab, service)?;
    let (mut own, others) = split(arrive(lab, 2..=11, door)?, victim)?;
    let start = Instant::now();
    (absence.goes)(lab, victim)?;
    leave(&mut own, door, &[victim], LIMIT.saturating_sub(start.elapsed()))?;
    programmed(lab, service)?;
    for time in 1..=2 {
        stay(&own, door, &format!("after its Pod went, time {time}"))?;
        stay(&others, door, &format!("after a Pod of others went, time {time}"))?;
    }
    (absence.comes_back)(lab, victim)?;
    programmed(lab, service)?;
    ensure!(pods_of(&arrive(lab, 12..=21, door)?).contains(victim.as_str()), "nobody new comes to Pod {victim}");
    stay(&own, door, "after its Pod came back")?;
    stay(&others, door, "after a Pod of others came back")?;
    Ok(())
}

fn terminating(lab: &mut Lab) -> Result<()> {
    let service = "leaving-terminating";
    let pods = lab.add_pods(&[1, 2, 3])?;
    put(lab, ServiceSpec::new(service, &pods).with_affinity(LONG_SECONDS))?;
    let door = Door::of(lab, service)?;
    let mut visitors = arrive(lab, 2..=11, door)?;
    let mut held = hold_all(&visitors, door)?;

    let (first, last) = (&pods[0], &pods[1..]);
    lab.set_pod_state(first, PodState::Terminating)?;
    leave(&mut visitors, door, &[first], LIMIT)?;
    ask_all(&mut held, "while one Pod terminates")?;
    stay(&visitors, door, "while one Pod terminates")?;

    for pod in last {
        lab.set_pod_state(pod, PodState::Terminating)?;
    }
    programmed(lab, service)?;
    stay(&visitors, door, "while all Pods terminate")?;
    ask_all(&mut held, "while all Pods terminate")?;
    let newcomers = arrive(lab, 12..=21, door)?;
    ensure!(pods_of(&newcomers).iter().eq(&pods), "of those that terminate, only {:?} serve", pods_of(&newcomers));
    stay(&newcomers, door, "that came while all Pods terminate")?;
    Ok(())
}

/// The server dies, and Kubernetes says so some tries later.
fn dead(lab: &mut Lab) -> Result<()> {
    let service = "leaving-dead";
    let pods = lab.add_pods(&[1, 2, 3])?;
    let victim = &pods[2];
    put(lab, ServiceSpec::new(service, &pods).with_affinity(LONG_SECONDS))?;
    let door = Door::of(lab, service)?;
    let (own, others) = split(arrive(lab, 2..=11, door)?, victim)?;
    lab.stop_server(victim)?;
    let refused = AtomicUsize::new(0);
    let enough = 5 * own.len();
    thread::scope(|scope| {
        let threads: Vec<_> = own.iter().map(|visitor| scope.spawn(|| try_again(visitor, door, &refused))).collect();
        wait::until_true("many refused connections", CHANGE_LIMIT, || Ok(refused.load(Ordering::Relaxed) >= enough))?;
        lab.set_pod_state(victim, PodState::NotReady)?;
        let told = Instant::now();
        for thread in threads {
            let answered = thread.join().map_err(|_| anyhow!("a client panicked"))??;
            let took = answered.saturating_duration_since(told);
            ensure!(answered >= told, "a client was let go before Kubernetes said anything");
            ensure!(took <= LIMIT, "a client was let go {took:?} after Kubernetes had said that its Pod is not ready");
        }
        Ok(())
    })?;
    stay(&others, door, "after a Pod of others died")?;
    Ok(())
}

/// Connects until somebody answers, and says when that was.
fn try_again(visitor: &Visitor, door: Door, refused: &AtomicUsize) -> Result<Instant> {
    let deadline = Instant::now() + CHANGE_LIMIT;
    loop {
        let attempt = visitor.ask(door);
        match attempt {
            Ok(_) => return Ok(Instant::now()),
            Err(error) if Instant::now() > deadline => return Err(error).context("a client was never let go"),
            Err(_) => {
                refused.fetch_add(1, Ordering::Relaxed);
                wait::let_pass(RETRY);
            }
        }
    }
}
