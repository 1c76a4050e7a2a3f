//! Pods that go, finish or come: who still gets connections, and who keeps them.

use std::time::Duration;

use anyhow::{Result, ensure};
use limpet_lab::address::Family;
use limpet_lab::world::{PodState, Protocol, ServiceSpec};
use limpet_lab::{Lab, wait};

use crate::support::{CHANGE_LIMIT, Held, Test, ask_all, frontend, hold, serve, who_answers};

/// How long a Pod that went may still get new connections.
const REMOVAL_LIMIT: Duration = Duration::from_secs(2);
/// So many connections miss one Pod of four by chance once in 30 million tries.
const ENOUGH: usize = 60;
const HELD: u8 = 40;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_removed_pod_gets_no_new_connections_and_its_neighbours_keep_theirs", removed),
        Test::new("a_terminating_pod_keeps_its_connections_and_gets_no_new_ones", terminating),
        Test::new("a_pod_that_is_not_ready_gets_no_connections", not_ready),
        Test::new("new_pods_get_connections_and_old_ones_stay", new_pods),
    ]
}

fn removed(lab: &mut Lab) -> Result<()> {
    let pods = lab.add_pods(&[1, 2, 3, 2])?;
    serve(lab, ServiceSpec::new("removal", &pods))?;
    for (family, victim) in Family::BOTH.into_iter().zip(&pods[1..]) {
        let to = frontend(lab, "removal", family, Protocol::Tcp)?;
        let (of_victim, mut of_others) = divided(hold(lab, to, HELD)?, victim)?;
        lab.withdraw_pod(victim)?;
        wait_until_avoided(lab, "removal", victim, REMOVAL_LIMIT)?;
        drop(of_victim);
        lab.remove_pod(victim)?;
        let reached = who_answers(lab, Protocol::Tcp, to, ENOUGH)?;
        ensure!(!reached.contains(victim));
        ask_all(&mut of_others, &format!("after Pod {victim} was removed"))?;
    }
    Ok(())
}

fn terminating(lab: &mut Lab) -> Result<()> {
    let pods = lab.add_pods(&[1, 2, 3, 1])?;
    serve(lab, ServiceSpec::new("draining", &pods))?;
    // One on the ingress node, one behind the tunnel.
    for victim in &pods[..2] {
        let to = frontend(lab, "draining", Family::V4, Protocol::Tcp)?;
        let (mut of_victim, mut of_others) = divided(hold(lab, to, HELD)?, victim)?;
        lab.set_pod_state(victim, PodState::Terminating)?;
        wait_until_avoided(lab, "draining", victim, REMOVAL_LIMIT)?;
        let when = format!("while Pod {victim} terminates");
        ask_all(&mut of_victim, &when)?;
        ask_all(&mut of_others, &when)?;
    }
    Ok(())
}

fn not_ready(lab: &mut Lab) -> Result<()> {
    let pods = lab.add_pods(&[1, 2, 3, 3])?;
    serve(lab, ServiceSpec::new("readiness", &pods))?;
    let victim = &pods[2];
    lab.set_pod_state(victim, PodState::NotReady)?;
    wait_until_avoided(lab, "readiness", victim, REMOVAL_LIMIT)?;
    lab.set_pod_state(victim, PodState::Ready)?;
    wait_until_reached(lab, "readiness", victim)
}

fn new_pods(lab: &mut Lab) -> Result<()> {
    let pods = lab.add_pods(&[1, 2])?;
    serve(lab, ServiceSpec::new("growth", &pods))?;
    let to = frontend(lab, "growth", Family::V6, Protocol::Tcp)?;
    let mut held = hold(lab, to, HELD)?;
    lab.scale("growth", 5)?;
    let grown = lab.world().service("growth")?.spec().pods.clone();
    for pod in &grown {
        wait_until_reached(lab, "growth", pod)?;
    }
    ask_all(&mut held, "after three Pods came")
}

/// No new connection of either protocol and family reaches the Pod any more.
fn wait_until_avoided(lab: &Lab, service: &str, pod: &str, limit: Duration) -> Result<()> {
    for family in Family::BOTH {
        for protocol in Protocol::BOTH {
            let to = frontend(lab, service, family, protocol)?;
            let what = format!("{to} to avoid Pod {pod} over {}", protocol.name());
            wait::until_true(&what, limit, || Ok(!who_answers(lab, protocol, to, ENOUGH)?.contains(pod)))?;
        }
    }
    Ok(())
}

fn wait_until_reached(lab: &Lab, service: &str, pod: &str) -> Result<()> {
    let to = frontend(lab, service, Family::V6, Protocol::Tcp)?;
    wait::until_true(&format!("{to} to reach Pod {pod}"), CHANGE_LIMIT, || {
        Ok(who_answers(lab, Protocol::Tcp, to, ENOUGH)?.contains(pod))
    })
}

/// The connections of one Pod and those of the others; there must be some of both.
fn divided(held: Vec<Held>, pod: &str) -> Result<(Vec<Held>, Vec<Held>)> {
    let (own, others): (Vec<_>, Vec<_>) = held.into_iter().partition(|held| held.pod == pod);
    ensure!(
        !own.is_empty() && !others.is_empty(),
        "Pod {pod} has {} of the held connections, the others {}",
        own.len(),
        others.len()
    );
    Ok((own, others))
}
