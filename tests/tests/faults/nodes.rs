//! Nodes that get other addresses, on layer 3 or 2: the others find them.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use limpet_lab::address::{self, Family};
use limpet_lab::world::{Protocol, ServiceSpec};
use limpet_lab::{Lab, wait};
use serde_json::{Value, json};

use crate::neighbours::ask_neighbours_often;
use crate::support::{Held, INGRESS, Test, ask_all, first_pods, frontend, hold, is_content_within, serve};
use crate::uplinks::ip;

/// The node that changes.
const FAR: u8 = 2;
/// The last part of its other addresses.
const OTHER: u8 = 102;
const HELD: u8 = 16;
/// How long the others may take to find it: the kernel asks a neighbour again that it has not heard of for half a minute at
/// most.
const FOUND_LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_node_that_gets_another_address_keeps_its_connections", renumbered),
        Test::new("a_node_that_gets_another_mac_address_is_found_again", another_mac),
    ]
}

fn stage(lab: &mut Lab, service: &str) -> Result<Vec<Held>> {
    serve(lab, ServiceSpec::new(service, &first_pods([FAR])))?;
    let mut held = Vec::new();
    for family in Family::BOTH {
        held.extend(hold(lab, frontend(lab, service, family, Protocol::Tcp)?, HELD)?);
    }
    Ok(held)
}

fn renumbered(lab: &mut Lab) -> Result<()> {
    let mut held = stage(lab, "renumbered")?;
    let (old, new) = (addresses(FAR), addresses(OTHER));
    for (from, to, patch) in [(old, new, Some(says_addresses(new))), (new, old, None)] {
        lab.renumber_node(FAR, from, to)?;
        lab.patch_node(FAR, patch)?;
        // Its own connection to the API server went with its address, which shows after minutes alone.
        lab.kill_agent(FAR)?;
        lab.start_agent(FAR)?;
        is_reached_at(lab, to)?;
        ask_all(&mut held, &format!("at {to:?}"))?;
        for family in Family::BOTH {
            hold(lab, frontend(lab, "renumbered", family, Protocol::Tcp)?, 2)?;
        }
        is_content_within(lab, INGRESS, FOUND_LIMIT)?;
        is_content_within(lab, FAR, FOUND_LIMIT)?;
    }
    Ok(())
}

/// Waits until the ingress node knows the way to these addresses of the other node.
fn is_reached_at(lab: &Lab, addresses: [IpAddr; 2]) -> Result<()> {
    wait::until_true(&format!("a way to {addresses:?}"), FOUND_LIMIT, || {
        let said = lab.limpet(INGRESS, &["get", "nodes", "-o", "json"])?.json()?.to_string();
        ensure!(addresses.iter().all(|address| said.contains(&format!("\"{address}\""))), "{said}");
        Ok(true)
    })
}

fn another_mac(lab: &mut Lab) -> Result<()> {
    ask_neighbours_often(lab)?;
    let mut held = stage(lab, "mac")?;
    ip(lab, FAR, &["link", "set", "eth0", "address", "02:00:00:00:0f:02"])?;
    // Until the kernels ask again, what is sent there goes nowhere; TCP sends it once more.
    wait::until_true("the node to be found", FOUND_LIMIT, || {
        for family in Family::BOTH {
            let to = frontend(lab, "mac", family, Protocol::Tcp)?;
            lab.client(1).tcp_who(to, None).context("nobody answers")?;
        }
        Ok(true)
    })?;
    is_content_within(lab, INGRESS, FOUND_LIMIT)?;
    ask_all(&mut held, "after the MAC address changed")
}

fn addresses(host: u8) -> [IpAddr; 2] {
    Family::BOTH.map(|family| address::node(family, host))
}

fn says_addresses(addresses: [IpAddr; 2]) -> Value {
    let addresses = addresses.map(|address| json!({"type": "InternalIP", "address": address}));
    json!({"status": {"addresses": addresses}})
}
