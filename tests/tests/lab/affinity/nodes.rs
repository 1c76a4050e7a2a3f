//! Clients that come in at another node than before.

use anyhow::Result;
use limpet_lab::Lab;
use limpet_lab::world::ServiceSpec;

use super::LONG_SECONDS;
use super::service::put;
use super::visitors::{Door, arrive, hold_all, stay};
use crate::support::{INGRESS, Test, all_first_pods, ask_all};

/// Where clients come in after the first node: at each of the others, then at the first again.
const WAY: [u8; 4] = [2, 3, 2, INGRESS];

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_client_has_the_same_pod_at_every_node", same_pod),
        Test::new("connections_live_on_when_they_come_in_at_another_node", connections_live),
    ]
}

fn same_pod(lab: &mut Lab) -> Result<()> {
    let service = "nodes-clients";
    put(lab, ServiceSpec::new(service, &all_first_pods()).with_affinity(LONG_SECONDS))?;
    let door = Door::of(lab, service)?;
    let visitors = arrive(lab, 2..=21, door)?;
    along_the_way(lab, |lab, node| {
        stay(&visitors, door, &format!("at node n{node}"))?;
        // One of the client machines has a way of its own for a while, as with ECMP.
        lab.route_client_via(1, Some(3))?;
        let outcome = stay(&visitors, door, "with one machine at n3");
        lab.route_client_via(1, None)?;
        outcome
    })?;
    Ok(())
}

fn connections_live(lab: &mut Lab) -> Result<()> {
    let service = "nodes-connections";
    put(lab, ServiceSpec::new(service, &all_first_pods()).with_affinity(LONG_SECONDS))?;
    let door = Door::of(lab, service)?;
    let visitors = arrive(lab, 2..=21, door)?;
    let mut held = hold_all(&visitors, door)?;
    along_the_way(lab, |_, node| {
        for time in 1..=2 {
            ask_all(&mut held, &format!("at node n{node}, time {time}"))?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Does something at each node of the way. However it ends, the way leads over the ingress node again.
fn along_the_way(lab: &Lab, mut act: impl FnMut(&Lab, u8) -> Result<()>) -> Result<()> {
    let outcome = WAY.into_iter().try_for_each(|node| {
        lab.route_frontends_via(node)?;
        act(lab, node)
    });
    lab.route_frontends_via(INGRESS)?;
    outcome
}
