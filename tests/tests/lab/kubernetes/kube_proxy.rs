//! Beside kube-proxy, whose rules are on every node: the normal first installation.
//!
//! That the rules serve by themselves is shown by `kube_proxys_rules_serve_without_limpet` in `lab_itself.rs`.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::{self, Family};
use limpet_lab::client::{Answer, Connection, who_from};
use limpet_lab::world::{FrontendKind, Protocol, ServiceSpec};
use serde_json::json;

use super::fate::{Fate, frontends, wait_for_kind};
use crate::support::{INGRESS, Test, all_first_pods, first_pods, frontend, serve, wait_until_answered};

const ALL: [u8; 3] = [1, 2, 3];
/// Clients come from these ports of their own again and again. The kernel gives none of them out by itself.
const FIRST_PORT: u16 = 12_000;

pub(super) fn tests() -> Vec<Test> {
    let beside = |name: &str, run: fn(&mut Lab) -> Result<()>| {
        Test::new(format!("beside_kube_proxy_{name}"), move |lab| with_rules_at_the_end_gone(lab, run))
    };
    vec![
        beside("a_packet_for_our_frontends_is_handled_once", once),
        beside("cluster_ips_and_what_pods_send_are_left_to_it", inside),
        beside("what_pods_and_nodes_ask_of_another_node_is_left_to_it", inside_to_another_node),
        beside("services_that_are_not_ours_are_left_to_it", not_ours),
        beside("limpet_comes_and_goes_and_new_connections_are_served_at_once", comes_and_goes),
        beside("only_what_it_had_established_to_our_frontends_is_reset", established),
    ]
}

fn with_rules_at_the_end_gone(lab: &mut Lab, run: fn(&mut Lab) -> Result<()>) -> Result<()> {
    let outcome = run(lab);
    lab.remove_kube_proxy_rules(&ALL)?;
    outcome
}

/// A Service of each policy, served by Limpet while kube-proxy's rules for both are there.
fn two_services(lab: &mut Lab, names: [&str; 2]) -> Result<()> {
    let [cluster, local] = names;
    serve(lab, ServiceSpec::new(cluster, &all_first_pods()))?;
    serve(lab, ServiceSpec::new(local, &all_first_pods()).with_local_pods_only())?;
    lab.write_kube_proxy_rules(&ALL)
}

fn once(lab: &mut Lab) -> Result<()> {
    let services = ["once", "once-local"];
    lab.put_service(ServiceSpec::new("once-nobody", &[]))?;
    lab.put_service(ServiceSpec::new("once-elsewhere", &first_pods([2])).with_local_pods_only())?;
    two_services(lab, services)?;
    for service in services {
        for kind in FrontendKind::ALL {
            for (protocol, to) in frontends(lab, service, kind, INGRESS)? {
                // Enough to come by Pods of every node.
                for _ in 0..20 {
                    shows_the_client(lab, &lab.client(1).who(protocol, to, None)?)?;
                }
            }
        }
    }
    for kind in FrontendKind::ALL {
        wait_for_kind(lab, "once-nobody", kind, Fate::Rejected)?;
        wait_for_kind(lab, "once-elsewhere", kind, Fate::Dropped)?;
    }
    for node in ALL {
        let packets = lab.kube_proxy_packets(node)?;
        ensure!(services.iter().all(|service| packets.contains_key(*service)), "n{node} has no rules: {packets:?}");
        ensure!(packets.values().all(|packets| *packets == 0), "kube-proxy's rules on n{node} were hit: {packets:?}");
    }
    Ok(())
}

fn shows_the_client(lab: &Lab, answer: &Answer) -> Result<()> {
    let seen = answer.client.ip();
    let own = lab.client(1).address(Family::of(seen), 1);
    ensure!(seen == own, "Pod {} sees {seen} as the client, which is {own}", answer.pod);
    Ok(())
}

/// From a Pod and from a node, neither of which comes in by an uplink.
fn inside(lab: &mut Lab) -> Result<()> {
    let service = "inside";
    two_services(lab, [service, "inside-local"])?;
    let ordinal = lab.world().service(service)?.ordinal();
    let (pod, node) = (lab.pod_namespace("p1-1")?, lab.node(1));
    for (family, protocol) in [(Family::V4, Protocol::Tcp), (Family::V6, Protocol::Udp)] {
        let outside = frontend(lab, service, family, protocol)?;
        let cluster_ip = SocketAddr::new(address::cluster_ip(family, ordinal), outside.port());
        for (place, to) in [(&pod, cluster_ip), (&pod, outside), (&node, cluster_ip)] {
            let before = lab.kube_proxy_packets(1)?[service];
            // Enough to come by Pods of every node.
            for _ in 0..20 {
                who_from(place, protocol, to).with_context(|| format!("to {to} over {}", protocol.name()))?;
            }
            let packets = lab.kube_proxy_packets(1)?[service] - before;
            ensure!(packets >= 10, "of 20 connections to {to} only {packets} came by kube-proxy's rules");
        }
    }
    Ok(())
}

/// From a Pod and from a node to another node's uplink: also where the choice falls on a Pod of the node that asks.
fn inside_to_another_node(lab: &mut Lab) -> Result<()> {
    let other = 2;
    let service = "inside-other";
    serve(lab, ServiceSpec::new(service, &all_first_pods()))?;
    lab.write_kube_proxy_rules(&ALL)?;
    for place in [lab.pod_namespace("p1-1")?, lab.node(1)] {
        for (protocol, to) in frontends(lab, service, FrontendKind::NodePort, other)? {
            let before = lab.kube_proxy_packets(other)?[service];
            // Enough to be sent to Pods of every node.
            for _ in 0..20 {
                who_from(&place, protocol, to).with_context(|| format!("to {to} over {}", protocol.name()))?;
            }
            let packets = lab.kube_proxy_packets(other)?[service] - before;
            ensure!(packets == 20, "of 20 connections to {to} {packets} came by kube-proxy's rules on n{other}");
        }
    }
    Ok(())
}

fn not_ours(lab: &mut Lab) -> Result<()> {
    let (ours, theirs) = ("class-ours", "class-theirs");
    let class = json!({"spec": {"loadBalancerClass": "example.org/limpet"}});
    lab.restart_agents_with(&ALL, &["--service-class", "example.org/limpet"])?;
    let outcome = (|| {
        serve(lab, ServiceSpec::new(ours, &all_first_pods()).with(class))?;
        lab.put_service(ServiceSpec::new(theirs, &all_first_pods()))?;
        lab.write_kube_proxy_rules(&ALL)?;
        for kind in FrontendKind::ALL {
            for ((protocol, our), (_, their)) in
                frontends(lab, ours, kind, INGRESS)?.into_iter().zip(frontends(lab, theirs, kind, INGRESS)?)
            {
                shows_the_client(lab, &lab.client(1).who(protocol, our, None)?)?;
                let before = lab.kube_proxy_packets(INGRESS)?[theirs];
                let answer = lab.client(1).who(protocol, their, None)?;
                ensure!(shows_the_client(lab, &answer).is_err(), "{their} is not left to kube-proxy");
                ensure!(lab.kube_proxy_packets(INGRESS)?[theirs] == before + 1, "{their} is not counted once");
            }
        }
        let packets = lab.kube_proxy_packets(INGRESS)?;
        ensure!(packets[ours] == 0, "kube-proxy's rules were hit: {packets:?}");
        Ok(())
    })();
    lab.restart_agents_with(&ALL, &[])?;
    outcome
}

/// Clients that use the same ports all the time, so that whatever one of the two remembers of them is in the other's way.
fn comes_and_goes(lab: &mut Lab) -> Result<()> {
    let services = ["comes", "comes-local"];
    two_services(lab, services)?;
    all_answer(lab, services, true)?;
    for _ in 0..2 {
        lab.detach(&ALL)?;
        let detached = all_answer(lab, services, false);
        lab.start_agents(&ALL)?;
        detached.context("after `limpet detach`")?;
        // Limpet is there before the agents say that they are in step.
        all_answer(lab, services, true)?;
    }
    let packets = lab.kube_proxy_packets(INGRESS)?;
    ensure!(services.iter().all(|service| packets[*service] > 0), "kube-proxy's rules were not hit: {packets:?}");
    Ok(())
}

/// Every frontend answers a client that comes from a port of its own for each, at the first try.
fn all_answer(lab: &Lab, services: [&str; 2], by_limpet: bool) -> Result<()> {
    let mut port = FIRST_PORT;
    for service in services {
        for kind in FrontendKind::ALL {
            for (protocol, to) in frontends(lab, service, kind, INGRESS)? {
                port += 1;
                let from = SocketAddr::new(lab.client(1).address(Family::of(to.ip()), 1), port);
                let answer = once_from(lab, protocol, to, from).with_context(|| format!("{service}, {to}"))?;
                if by_limpet {
                    ensure!(answer.client == from, "Pod {} sees {} for {from}", answer.pod, answer.client);
                }
            }
        }
    }
    Ok(())
}

/// One request, after which the port is free for another one.
fn once_from(lab: &Lab, protocol: Protocol, to: SocketAddr, from: SocketAddr) -> Result<Answer> {
    match protocol {
        Protocol::Tcp => {
            let mut connection = lab.client(1).tcp(to, Some(from))?;
            let answer = connection.who()?;
            connection.reset()?;
            Ok(answer)
        }
        Protocol::Udp => lab.client(1).udp_who(to, Some(from)),
    }
}

/// Connections that go on to a Pod that kube-proxy chose, under the address of its node. Limpet knows neither.
fn established(lab: &mut Lab) -> Result<()> {
    let (service, theirs) = ("established", "established-theirs");
    let not_ours = json!({"metadata": {"labels": {"service.kubernetes.io/service-proxy-name": "another"}}});
    serve(lab, ServiceSpec::new(service, &all_first_pods()))?;
    lab.put_service(ServiceSpec::new(theirs, &all_first_pods()).with(not_ours))?;
    lab.write_kube_proxy_rules(&ALL)?;
    lab.detach(&ALL)?;
    let held = hold(lab, service, theirs);
    lab.start_agents(&ALL)?;
    let Held { mut reset, mut untouched } = held?;

    for connection in &mut untouched {
        connection.who().context("a connection that is none of Limpet's broke")?;
    }
    // Told at once, instead of waiting for an answer from a Pod that does not know them.
    for connection in &mut reset {
        let error = connection.who().err().context("a connection to a Pod that Limpet chose anew lives on")?;
        ensure!(format!("{error:#}").contains("reset by peer"), "{error:#}");
    }
    for (protocol, to) in frontends(lab, service, FrontendKind::LoadBalancerIp, INGRESS)? {
        wait_until_answered(lab, protocol, to)?;
    }
    Ok(())
}

struct Held {
    reset: Vec<Connection>,
    untouched: Vec<Connection>,
}

fn hold(lab: &Lab, service: &str, theirs: &str) -> Result<Held> {
    let client = lab.client(1);
    let mut held = Held { reset: Vec::new(), untouched: Vec::new() };
    for family in Family::BOTH {
        let pod: IpAddr = lab.world().pod("p2-1")?.address(family);
        for _ in 0..10 {
            held.reset.push(client.tcp(frontend(lab, service, family, Protocol::Tcp)?, None)?);
            held.untouched.push(client.tcp(frontend(lab, theirs, family, Protocol::Tcp)?, None)?);
        }
        held.untouched.push(client.tcp(SocketAddr::new(pod, address::POD_PORT), None)?);
    }
    for connection in held.reset.iter_mut().chain(&mut held.untouched) {
        connection.who()?;
    }
    Ok(held)
}
