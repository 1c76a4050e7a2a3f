//! A client has one Pod, whatever its port, and different clients have different ones.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::Family;
use limpet_lab::world::ServiceSpec;

use super::LONG_SECONDS;
use super::service::{join, pods_of, put};
use super::visitors::{Door, arrive, stay};
use crate::support::{Test, all_first_pods};

/// Connections of one client, in each family.
const CONNECTIONS: usize = 500;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_thousand_connections_of_one_client_from_different_ports_reach_one_pod", one_client),
        Test::new("a_hundred_clients_reach_every_pod_and_each_keeps_its_own", hundred_clients),
        Test::new("clients_that_come_in_at_one_node_can_have_different_pods", different_pods),
        Test::new("five_hundred_clients_of_two_pods_all_stay", five_hundred_clients),
    ]
}

fn one_client(lab: &mut Lab) -> Result<()> {
    let service = "sticky-one";
    put(lab, ServiceSpec::new(service, &all_first_pods()).with_affinity(LONG_SECONDS))?;
    let door = Door::of(lab, service)?;
    for family in Family::BOTH {
        let client = lab.client(1);
        let from = SocketAddr::new(client.address(family, 2), 0);
        let (mut pods, mut ports) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..CONNECTIONS {
            let answer = client.tcp_who(door.to(family), Some(from))?;
            pods.insert(answer.pod);
            ports.insert(answer.client.port());
        }
        ensure!(pods.len() == 1, "{CONNECTIONS} connections of {} reached {pods:?}", from.ip());
        ensure!(ports.len() > CONNECTIONS / 2, "the connections came from {} ports only", ports.len());
    }
    Ok(())
}

fn hundred_clients(lab: &mut Lab) -> Result<()> {
    let service = "sticky-hundred";
    let pods = all_first_pods();
    put(lab, ServiceSpec::new(service, &pods).with_affinity(LONG_SECONDS))?;
    let door = Door::of(lab, service)?;
    let visitors = arrive(lab, 2..=26, door)?;
    let reached = pods_of(&visitors);
    ensure!(reached.iter().eq(&pods), "{} clients reached only {reached:?}", visitors.len());
    for time in 2..=4 {
        stay(&visitors, door, &format!("at the connection number {time}"))?;
    }
    Ok(())
}

/// They come in at the ingress node, and all Pods are on others: whoever translated the clients' addresses there would
/// make one client of them. That Pods see the clients' own addresses is looked at in every answer.
fn different_pods(lab: &mut Lab) -> Result<()> {
    let service = "sticky-sources";
    let elsewhere = crate::support::first_pods([2, 3]);
    put(lab, ServiceSpec::new(service, &elsewhere).with_affinity(LONG_SECONDS))?;
    let door = Door::of(lab, service)?;
    let visitors = arrive(lab, 2..=6, door)?;
    for family in Family::BOTH {
        let of_family: Vec<_> = visitors.iter().filter(|visitor| visitor.family() == family).cloned().collect();
        ensure!(pods_of(&of_family).len() > 1, "all {family:?} clients have {:?}", pods_of(&of_family));
    }
    stay(&visitors, door, "at once")?;
    Ok(())
}

fn five_hundred_clients(lab: &mut Lab) -> Result<()> {
    let service = "sticky-many";
    let pods = all_first_pods();
    let (two, others) = pods.split_at(2);
    put(lab, ServiceSpec::new(service, two).with_affinity(LONG_SECONDS))?;
    let door = Door::of(lab, service)?;
    let visitors = arrive(lab, 2..=126, door)?;
    join(lab, service, others)?;
    stay(&visitors, door, "after Pods joined")?;
    Ok(())
}
