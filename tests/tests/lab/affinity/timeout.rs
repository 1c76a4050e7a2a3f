//! `timeoutSeconds`: what prolongs it, what comes after it, and changing it.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use limpet_lab::Lab;
use limpet_lab::world::ServiceSpec;
use serde_json::Value;

use super::service::{join, put};
use super::time::{each_second, let_time_out_pass, while_time_out_passes};
use super::visitors::{Door, Visitor, arrive, ask_again, hold_all, stay};
use crate::support::{INGRESS, Test, all_first_pods, ask_all};

/// Kubernetes' limits.
const SHORTEST_SECONDS: u32 = 1;
const LONGEST_SECONDS: u32 = 86_400;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("new_connections_prolong_affinity", new_connections_prolong),
        Test::new("after_the_timeout_another_pod_is_possible_unless_expiry_is_stable", another_pod_is_possible),
        Test::new("a_long_connection_does_not_prolong_affinity_and_outlives_it", long_connections),
        Test::new("a_changed_timeout_counts_at_once", changed_timeout),
    ]
}

fn new_connections_prolong(lab: &mut Lab) -> Result<()> {
    const SECONDS: u32 = 2;
    let service = "timeout-prolonged";
    put(lab, ServiceSpec::new(service, &all_first_pods()).with_affinity(SECONDS))?;
    let door = Door::of(lab, service)?;
    let visitors = arrive(lab, 2..=11, door)?;
    each_second(4 * SECONDS, || stay(&visitors, door, "with a connection each second"))?;
    Ok(())
}

/// Everybody's time passes together. After ten pauses whoever chooses freely has had another of six Pods.
fn another_pod_is_possible(lab: &mut Lab) -> Result<()> {
    const TRIES: usize = 10;
    let (real, stable) = ("timeout-real", "timeout-stable");
    let spec = |name| ServiceSpec::new(name, &all_first_pods()).with_affinity(SHORTEST_SECONDS);
    put(lab, spec(real))?;
    put(lab, spec(stable).with_annotation("limpet.dev/affinity-expiry", "stable"))?;
    let (real_door, stable_door) = (Door::of(lab, real)?, Door::of(lab, stable)?);
    let mut visitors = arrive(lab, 2..=11, real_door)?;
    let faithful = arrive(lab, 2..=11, stable_door)?;
    let begun: Vec<Visitor> = visitors.clone();
    let mut unmoved: BTreeSet<usize> = (0..visitors.len()).collect();
    for _ in 0..TRIES {
        if unmoved.is_empty() {
            break;
        }
        let_time_out_pass(SHORTEST_SECONDS);
        ask_again(&mut visitors, real_door)?;
        unmoved.retain(|at| visitors[*at].pod == begun[*at].pod);
        // What was chosen now holds again.
        stay(&visitors, real_door, "just after its time was over")?;
        stay(&faithful, stable_door, "after the time-out with stable expiry")?;
    }
    ensure!(unmoved.is_empty(), "{} of {} clients got one Pod {TRIES} times", unmoved.len(), visitors.len());
    Ok(())
}

fn long_connections(lab: &mut Lab) -> Result<()> {
    let service = "timeout-long";
    put(lab, ServiceSpec::new(service, &all_first_pods()).with_affinity(SHORTEST_SECONDS))?;
    let door = Door::of(lab, service)?;
    let mut visitors = arrive(lab, 2..=11, door)?;
    let mut held = hold_all(&visitors, door)?;
    while_time_out_passes(SHORTEST_SECONDS, || ask_all(&mut held, "while the time-out passes"))?;
    let moved = ask_again(&mut visitors, door)?;
    ensure!(moved > 0, "none of {} new connections reached another Pod", visitors.len());
    ask_all(&mut held, "after its client got another Pod")?;
    Ok(())
}

/// One Service's time-out becomes as short as can be, the other's as long. Pods join meanwhile, so that who chooses
/// again is noticed.
fn changed_timeout(lab: &mut Lab) -> Result<()> {
    let (shortened, lengthened) = ("timeout-shortened", "timeout-lengthened");
    let pods = all_first_pods();
    let (first, others) = pods.split_at(2);
    let spec = |name, seconds| ServiceSpec::new(name, first).with_affinity(seconds);
    put(lab, spec(shortened, LONGEST_SECONDS))?;
    put(lab, spec(lengthened, SHORTEST_SECONDS))?;
    let (shortened_door, lengthened_door) = (Door::of(lab, shortened)?, Door::of(lab, lengthened)?);
    let mut to_expire = arrive(lab, 2..=11, shortened_door)?;
    let to_stay = arrive(lab, 2..=11, lengthened_door)?;
    put(lab, spec(lengthened, LONGEST_SECONDS))?;
    put(lab, spec(shortened, SHORTEST_SECONDS))?;
    for service in [shortened, lengthened] {
        join(lab, service, others)?;
    }
    let is_ours = |problem: &Value| [shortened, lengthened].iter().any(|name| problem.to_string().contains(name));
    let problem = lab.status(INGRESS)?.problems.into_iter().find(is_ours);
    ensure!(problem.is_none(), "the agent complains of {problem:?}");
    let_time_out_pass(SHORTEST_SECONDS);
    stay(&to_stay, lengthened_door, "after its time-out was lengthened")?;
    let moved = ask_again(&mut to_expire, shortened_door)?;
    ensure!(moved > 0, "all {} clients are still held by the old, longer time-out", to_expire.len());
    Ok(())
}
