//! `--node-port-addresses`: on which of a node's addresses node ports answer.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::Family;
use limpet_lab::client::who_from;
use limpet_lab::world::{FrontendKind, Protocol, ServiceSpec};

use super::fate::{Fate, wait_for};
use crate::support::{Test, all_first_pods, serve};

const NODE: u8 = 2;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("node_ports_answer_on_the_addresses_within_the_cidrs_also_on_one_that_is_added_later", within),
        Test::new("node_ports_answer_on_the_addresses_of_the_node_object_alone_by_default", primary),
        Test::new("node_ports_are_not_served_on_localhost", localhost),
    ]
}

/// An address of the node that its object does not name.
fn second(family: Family) -> Result<IpAddr> {
    let address = match family {
        Family::V4 => "172.18.7.2",
        Family::V6 => "fd00:18:0:7::2",
    };
    address.parse().context("an address of the lab")
}

fn node_port(lab: &Lab, service: &str, family: Family, protocol: Protocol, address: IpAddr) -> Result<SocketAddr> {
    let own = lab.world().service(service)?.frontend(FrontendKind::NodePort, family, protocol, NODE)?;
    Ok(SocketAddr::new(address, own.port()))
}

fn within(lab: &mut Lab) -> Result<()> {
    let service = "node-port-cidrs";
    serve(lab, ServiceSpec::new(service, &all_first_pods()))?;
    lab.restart_agents_with(&[NODE], &["--node-port-addresses", "172.18.7.0/24,fd00:18:0:7::/64"])?;
    let outcome = Family::BOTH.into_iter().try_for_each(|family| {
        let (first, second) = (limpet_lab::address::node(family, NODE), second(family)?);
        let is = |address, expected| is(lab, service, family, address, expected);
        is(first, Fate::Reset)?;
        lab.add_node_address(NODE, second)?;
        let outcome = is(second, Fate::Answered).and_then(|()| is(first, Fate::Reset));
        lab.remove_node_address(NODE, second)?;
        outcome
    });
    lab.restart_agents_with(&[NODE], &[])?;
    outcome?;
    for family in Family::BOTH {
        is(lab, service, family, limpet_lab::address::node(family, NODE), Fate::Answered)?;
    }
    Ok(())
}

fn primary(lab: &mut Lab) -> Result<()> {
    let service = "node-port-primary";
    serve(lab, ServiceSpec::new(service, &all_first_pods()))?;
    for family in Family::BOTH {
        let second = second(family)?;
        lab.add_node_address(NODE, second)?;
        let outcome = is(lab, service, family, limpet_lab::address::node(family, NODE), Fate::Answered)
            .and_then(|()| is(lab, service, family, second, Fate::Reset));
        lab.remove_node_address(NODE, second)?;
        outcome?;
    }
    Ok(())
}

/// Over TCP: a reset is the answer of the node's own network stack, where nobody listens.
fn is(lab: &Lab, service: &str, family: Family, address: IpAddr, expected: Fate) -> Result<()> {
    wait_for(lab, Protocol::Tcp, node_port(lab, service, family, Protocol::Tcp, address)?, expected)
}

/// As with kube-proxy's nftables mode. A node's own traffic never comes by the uplink.
fn localhost(lab: &mut Lab) -> Result<()> {
    let service = "node-port-localhost";
    serve(lab, ServiceSpec::new(service, &all_first_pods()))?;
    for (family, address) in [(Family::V4, "127.0.0.1"), (Family::V6, "::1")] {
        let to = node_port(lab, service, family, Protocol::Tcp, address.parse()?)?;
        let error = who_from(&lab.node(NODE), Protocol::Tcp, to).err();
        let error = error.with_context(|| format!("{to} is answered"))?;
        ensure!(format!("{error:#}").contains("ECONNREFUSED"), "{error:#}");
    }
    Ok(())
}
