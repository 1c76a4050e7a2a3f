//! Kinds of frontends: which there are, and where they answer.

use anyhow::{Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::{Family, NODES};
use limpet_lab::world::{FrontendKind, Protocol, ServiceSpec};
use serde_json::json;

use super::fate::{Fate, fate, frontends, wait_for, wait_for_kind};
use crate::support::{INGRESS, Test, all_first_pods, first_pods, frontend, serve, wait_until_reached_are};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_node_port_answers_at_every_node_and_shows_the_client", node_port_everywhere),
        Test::new("ip_mode_proxy_leaves_the_address_to_the_load_balancer_and_serves_the_node_port", ip_mode),
        Test::new("without_node_ports_the_load_balancer_ip_answers_and_no_port_is_taken", without_node_ports),
        Test::new("a_host_name_in_the_status_is_ignored", host_name),
    ]
}

/// Also at nodes that have none of its Pods.
fn node_port_everywhere(lab: &mut Lab) -> Result<()> {
    let pods = first_pods([2]);
    serve(lab, ServiceSpec::new("node-port", &pods))?;
    for node in 1..=NODES {
        for (protocol, to) in frontends(lab, "node-port", FrontendKind::NodePort, node)? {
            wait_until_reached_are(lab, protocol, to, &pods)?;
            let client = lab.client(2);
            let family = Family::of(to.ip());
            let seen = client.who(protocol, to, None)?.client.ip();
            ensure!(seen == client.address(family, 1), "at n{node} a Pod sees {seen} as the client");
        }
    }
    Ok(())
}

fn ip_mode(lab: &mut Lab) -> Result<()> {
    let service = "ip-mode";
    let spec = ServiceSpec::new(service, &all_first_pods());
    serve(lab, spec.clone())?;
    let own = Family::BOTH.map(|family| frontend(lab, service, family, Protocol::Tcp));
    let own = own.into_iter().collect::<Result<Vec<_>>>()?;
    let with_mode = |mode: Option<&str>| {
        let ingress: Vec<_> = own.iter().map(|to| json!({"ip": to.ip(), "ipMode": mode})).collect();
        spec.clone().with(json!({"status": {"loadBalancer": {"ingress": ingress}}}))
    };
    lab.put_service(with_mode(Some("Proxy")))?;
    // The packet goes on as it came, to the node's own network stack.
    wait_for_kind(lab, service, FrontendKind::LoadBalancerIp, Fate::NoRoute)?;
    wait_for_kind(lab, service, FrontendKind::NodePort, Fate::Answered)?;
    wait_for_kind(lab, service, FrontendKind::ExternalIp, Fate::Answered)?;
    lab.put_service(with_mode(None))?;
    wait_for_kind(lab, service, FrontendKind::LoadBalancerIp, Fate::Answered)
}

fn without_node_ports(lab: &mut Lab) -> Result<()> {
    let service = "no-node-ports";
    let spec = ServiceSpec::new(service, &all_first_pods());
    serve(lab, spec.clone().without_node_ports())?;
    wait_for_kind(lab, service, FrontendKind::LoadBalancerIp, Fate::Answered)?;
    for (protocol, to) in frontends(lab, service, FrontendKind::NodePort, INGRESS)? {
        // Nobody listens there, and the node's own network stack says so.
        let expected = match protocol {
            Protocol::Tcp => Fate::Reset,
            Protocol::Udp => Fate::Rejected,
        };
        let fate = fate(lab, protocol, to)?;
        ensure!(fate == expected, "{to} over {} is {fate:?}", protocol.name());
    }
    lab.put_service(spec)?;
    wait_for_kind(lab, service, FrontendKind::NodePort, Fate::Answered)
}

fn host_name(lab: &mut Lab) -> Result<()> {
    let service = "host-name";
    let spec = ServiceSpec::new(service, &all_first_pods());
    serve(lab, spec.clone())?;
    let own = frontend(lab, service, Family::V4, Protocol::Tcp)?;
    let named = json!([{"hostname": "lb.example.org"}, {"ip": own.ip()}]);
    lab.put_service(spec.with(json!({"status": {"loadBalancer": {"ingress": named}}})))?;
    let gone = frontend(lab, service, Family::V6, Protocol::Tcp)?;
    wait_for(lab, Protocol::Tcp, gone, Fate::NoRoute)?;
    wait_for(lab, Protocol::Tcp, own, Fate::Answered)
}
