//! Affinity that is switched on and off while clients are there.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use limpet_lab::world::ServiceSpec;
use limpet_lab::{Lab, wait};

use super::LONG_SECONDS;
use super::service::{join, put};
use super::visitors::{Door, Visitor, all, arrive, ask_again, stay};
use crate::support::{Test, all_first_pods};

/// How long clients may stay where they were after affinity was switched off.
const LIMIT: Duration = Duration::from_secs(2);
/// Connections of a client: three Pods are missed by chance once in some 10^9 tries.
const CONNECTIONS: usize = 20;

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("affinity_is_switched_on_and_off_while_clients_are_there", on_and_off)]
}

fn on_and_off(lab: &mut Lab) -> Result<()> {
    let service = "switched";
    let pods = all_first_pods();
    let (first, others) = pods.split_at(3);
    let without = ServiceSpec::new(service, first);
    put(lab, without.clone())?;
    let door = Door::of(lab, service)?;
    let mut visitors = arrive(lab, 2..=6, door)?;
    ensure!(spread(&visitors, door)?, "without affinity a client has one Pod");

    put(lab, without.with_affinity(LONG_SECONDS))?;
    ask_again(&mut visitors, door)?;
    for time in 2..=5 {
        stay(&visitors, door, &format!("at connection {time} with affinity"))?;
    }
    join(lab, service, others)?;
    stay(&visitors, door, "after Pods joined")?;

    lab.put_service(ServiceSpec::new(service, &pods))?;
    wait::until_true("clients to be spread again", LIMIT, || spread(&visitors, door))?;
    Ok(())
}

/// Whether each of the clients reaches more than one Pod.
fn spread(visitors: &[Visitor], door: Door) -> Result<bool> {
    let reached = all(visitors, |visitor| {
        let pods = (0..CONNECTIONS).map(|_| visitor.ask(door)).collect::<Result<BTreeSet<_>>>()?;
        Ok(pods.len())
    })?;
    Ok(reached.iter().all(|pods| *pods > 1))
}
