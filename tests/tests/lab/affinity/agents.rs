//! Agents that die or are upgraded: nobody moves, nothing is cut, nobody is refused meanwhile.

use anyhow::Result;
use limpet_lab::Lab;
use limpet_lab::world::ServiceSpec;

use super::LONG_SECONDS;
use super::service::{join, put};
use super::time::meanwhile;
use super::visitors::{Door, arrive, hold_all, stay};
use crate::support::{INGRESS, Test, all_first_pods, ask_all};

/// How many of the clients hold a connection.
const HELD: usize = 50;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("two_hundred_clients_stay_while_the_agent_is_killed_and_started", |lab| {
            all_stay(lab, "agents-killed", |lab| {
                lab.kill_agent(INGRESS)?;
                lab.start_agent(INGRESS)
            })
        }),
        Test::new("two_hundred_clients_stay_while_the_agent_is_upgraded", |lab| {
            all_stay(lab, "agents-upgraded", |lab| lab.upgrade_agent(INGRESS))
        }),
    ]
}

fn all_stay(lab: &mut Lab, service: &str, happens: fn(&mut Lab) -> Result<()>) -> Result<()> {
    let pods = all_first_pods();
    let (first, others) = pods.split_at(3);
    put(lab, ServiceSpec::new(service, first).with_affinity(LONG_SECONDS))?;
    let door = Door::of(lab, service)?;
    let visitors = arrive(lab, 2..=51, door)?;
    join(lab, service, others)?;
    let mut held = hold_all(&visitors[..HELD], door)?;
    let ask = || {
        stay(&visitors, door, "while there is no agent")?;
        ask_all(&mut held, "while there is no agent")
    };
    meanwhile(ask, || happens(lab))?;
    Ok(())
}
