//! `externalTrafficPolicy`: what comes from outside stays on the node, or is dropped without a word.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::{Family, NODES};
use limpet_lab::world::{FrontendKind, ServiceSpec};

use super::fate::{Fate, fate, frontends, packets_of, wait_for};
use crate::support::{Test, all_first_pods, first_pods, serve, wait_until_reached_are};

/// How long a switched policy may take to be followed by every node, the looking included. Kubernetes' own tests wait for
/// half a minute.
const SWITCH_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("with_local_policy_each_node_sends_to_its_own_pods_and_shows_the_client", own_pods),
        Test::new("with_local_policy_a_node_without_pods_drops_without_a_word", silence),
        Test::new("a_policy_that_is_switched_is_followed_by_every_node", switched),
    ]
}

fn own_pods(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("own-pods", &all_first_pods()).with_local_pods_only())?;
    for node in 1..=NODES {
        for (protocol, to) in frontends(lab, "own-pods", FrontendKind::NodePort, node)? {
            wait_until_reached_are(lab, protocol, to, &first_pods([node]))?;
            let client = lab.client(2);
            let family = Family::of(to.ip());
            let seen = client.who(protocol, to, None)?.client.ip();
            ensure!(seen == client.address(family, 1), "at n{node} a Pod sees {seen} as the client");
        }
    }
    Ok(())
}

fn silence(lab: &mut Lab) -> Result<()> {
    let (service, empty) = ("silence", 3);
    serve(lab, ServiceSpec::new(service, &first_pods([1, 2])).with_local_pods_only())?;
    for (protocol, to) in frontends(lab, service, FrontendKind::NodePort, empty)? {
        wait_for(lab, protocol, to, Fate::Dropped)?;
        let before = packets_of(lab, empty, "no-local-backend")?;
        ensure!(fate(lab, protocol, to)? == Fate::Dropped);
        ensure!(packets_of(lab, empty, "no-local-backend")? > before, "what is dropped is not counted");
    }
    lab.route_frontends_via(empty)?;
    let dropped = [FrontendKind::LoadBalancerIp, FrontendKind::ExternalIp].into_iter().try_for_each(|kind| {
        let frontends = frontends(lab, service, kind, empty)?;
        frontends.into_iter().try_for_each(|(protocol, to)| wait_for(lab, protocol, to, Fate::Dropped))
    });
    lab.route_frontends_via(crate::support::INGRESS)?;
    dropped?;
    // With nobody anywhere it is no question of policy any more.
    lab.put_service(ServiceSpec::new(service, &[]).with_local_pods_only())?;
    for (protocol, to) in frontends(lab, service, FrontendKind::NodePort, empty)? {
        wait_for(lab, protocol, to, Fate::Rejected)?;
    }
    Ok(())
}

fn switched(lab: &mut Lab) -> Result<()> {
    let service = "switched-policy";
    let pods = first_pods([1, 2]);
    let cluster = ServiceSpec::new(service, &pods);
    let local = cluster.clone().with_local_pods_only();
    serve(lab, cluster.clone())?;
    for (spec, is_local) in [(&local, true), (&cluster, false), (&local, true)] {
        let start = Instant::now();
        lab.put_service(spec.clone())?;
        for node in 1..=NODES {
            let own = if is_local { first_pods([node]) } else { pods.clone() };
            for (protocol, to) in frontends(lab, service, FrontendKind::NodePort, node)? {
                match (is_local, node) {
                    (true, 3) => wait_for(lab, protocol, to, Fate::Dropped)?,
                    _ => wait_until_reached_are(lab, protocol, to, &own)?,
                }
            }
        }
        ensure!(start.elapsed() < SWITCH_LIMIT, "it took {:?}", start.elapsed());
    }
    Ok(())
}
