//! Who gets which Pod: everyone with and without affinity.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::{Family, NODES};
use limpet_lab::world::{Protocol, ServiceSpec};

use crate::support::{INGRESS, Test, all_first_pods, frontend, serve, wait_until_answered, who_answers};

const AFFINITY_SECONDS: u32 = 10_800;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("without_affinity_a_client_reaches_every_pod", every_pod),
        Test::new("with_affinity_a_client_has_one_pod_whichever_node_it_comes_in_at", one_pod_at_every_node),
        Test::new("with_affinity_a_hundred_clients_reach_every_pod", hundred_clients),
    ]
}

fn every_pod(lab: &mut Lab) -> Result<()> {
    let pods = all_first_pods();
    serve(lab, ServiceSpec::new("spread", &pods))?;
    let times = pods.len() * pods.len() + 30;
    let expected: BTreeSet<String> = pods.into_iter().collect();
    for family in Family::BOTH {
        for protocol in Protocol::BOTH {
            let to = frontend(lab, "spread", family, protocol)?;
            let reached = who_answers(lab, protocol, to, times)?;
            ensure!(reached == expected, "{times} requests to {to} over {} reached only {reached:?}", protocol.name());
        }
    }
    Ok(())
}

fn one_pod_at_every_node(lab: &mut Lab) -> Result<()> {
    let spec = ServiceSpec::new("sticky", &all_first_pods()).with_affinity(AFFINITY_SECONDS);
    serve(lab, spec)?;
    let outcome = Family::BOTH.into_iter().try_for_each(|family| sticks_at_every_node(lab, family));
    lab.route_frontends_via(INGRESS)?;
    outcome
}

fn sticks_at_every_node(lab: &Lab, family: Family) -> Result<()> {
    let tcp = frontend(lab, "sticky", family, Protocol::Tcp)?;
    let clients: Vec<(u8, u8)> =
        [1, 2].into_iter().flat_map(|number| (1..=10).map(move |index| (number, index))).collect();
    let mut first: Vec<String> = Vec::new();
    for node in 1..=NODES {
        lab.route_frontends_via(node)?;
        wait_until_answered(lab, Protocol::Tcp, tcp)?;
        for (position, (number, index)) in clients.iter().enumerate() {
            let client = lab.client(*number);
            let from = SocketAddr::new(client.address(family, *index), 0);
            let ask = || anyhow::Ok(client.tcp_who(tcp, Some(from))?.pod);
            if position == first.len() {
                first.push(ask()?);
            }
            for _ in 0..5 {
                let (pod, expected) = (ask()?, &first[position]);
                ensure!(pod == *expected, "{} had Pod {expected} and got {pod} coming in at node n{node}", from.ip());
            }
        }
    }
    Ok(())
}

fn hundred_clients(lab: &mut Lab) -> Result<()> {
    let pods = all_first_pods();
    let spec = ServiceSpec::new("crowd", &pods).with_affinity(AFFINITY_SECONDS);
    serve(lab, spec)?;
    for family in Family::BOTH {
        let to = frontend(lab, "crowd", family, Protocol::Tcp)?;
        let mut reached = BTreeSet::new();
        for number in [1, 2] {
            let client = lab.client(number);
            for index in 1..=50 {
                let from = SocketAddr::new(client.address(family, index), 0);
                reached.insert(client.tcp_who(to, Some(from))?.pod);
            }
        }
        ensure!(reached.iter().eq(&pods), "100 clients reached only {reached:?}");
    }
    Ok(())
}
