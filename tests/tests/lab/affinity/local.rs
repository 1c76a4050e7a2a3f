//! Affinity with `externalTrafficPolicy: Local`: among the Pods of the node that a client comes in at.

use anyhow::{Result, ensure};
use limpet_lab::Lab;
use limpet_lab::world::ServiceSpec;

use super::LONG_SECONDS;
use super::service::{pods_of, wait_until_used_are};
use super::visitors::{Door, Visitor, arrive, stay};
use crate::support::{INGRESS, Test, all_first_pods, first_pods, serve};

/// The node that clients are sent through afterwards.
const OTHER: u8 = 2;

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("with_local_policy_a_client_keeps_one_of_the_nodes_own_pods", local_pods)]
}

fn local_pods(lab: &mut Lab) -> Result<()> {
    let service = "local";
    let newcomer = lab.add_pod(INGRESS)?;
    let spec = ServiceSpec::new(service, &all_first_pods()).with_affinity(LONG_SECONDS).with_local_pods_only();
    serve(lab, spec.clone())?;
    let door = Door::of(lab, service)?;
    let visitors = arrive(lab, 2..=11, door)?;
    are_at(&visitors, INGRESS)?;
    stay(&visitors, door, "at once")?;

    let mut spec = spec;
    spec.pods.push(newcomer.clone());
    lab.put_service(spec)?;
    wait_until_used_are(lab, service, 3)?;
    let late = arrive(lab, 12..=21, door)?;
    ensure!(pods_of(&late).contains(newcomer.as_str()), "nobody new comes to Pod {newcomer}");
    stay(&visitors, door, "after a Pod joined on the node")?;

    lab.route_frontends_via(OTHER)?;
    let outcome = arrive(lab, 2..=11, door).and_then(|visitors| {
        are_at(&visitors, OTHER)?;
        stay(&visitors, door, "at the other node")
    });
    lab.route_frontends_via(INGRESS)?;
    outcome?;
    stay(&visitors, door, "back at the first node")?;
    Ok(())
}

/// The clients have all the Pods that the node had from the beginning, and no others.
fn are_at(visitors: &[Visitor], node: u8) -> Result<()> {
    let (reached, own) = (pods_of(visitors), first_pods([node]));
    ensure!(reached.iter().eq(&own), "node n{node} sends clients to {reached:?}");
    Ok(())
}
