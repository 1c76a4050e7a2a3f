//! Uplinks that go down, go away, are called otherwise, or carry less: connections stay, or come back with the uplink.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use limpet_lab::address::Family;
use limpet_lab::world::{Protocol, ServiceSpec};
use limpet_lab::{Lab, wait};
use serde_json::Value;

use crate::neighbours::ask_neighbours_often;
use crate::support::{
    Held, INGRESS, LOOK, Test, ask_all, first_pods, frontend, hold, is_content, is_content_within, says, serve,
    wait_until_answered,
};

const UPLINK: &str = "eth0";
/// The node that the Pods are on.
const FAR: u8 = 2;
const HELD: u8 = 20;
/// Enough connections that some are for each Pod.
const ATTEMPTS: usize = 30;
/// How long neighbours may take to be found again that failed: the kernel asks less and less often.
const FOUND_LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("connections_live_through_uplinks_that_go_down_and_up", |lab| {
            survive(lab, |lab, node| {
                ip(lab, node, &["link", "set", UPLINK, "down"])?;
                wait::until_true("the uplink to be down", FOUND_LIMIT, || Ok(!is_up(lab, node)?))?;
                lab.restore_uplink(node)
            })
        }),
        Test::new("connections_come_back_with_uplinks_that_are_made_anew", |lab| {
            survive(lab, |lab, node| {
                lab.remove_uplink(node)?;
                says(lab, node, 1, &["error", "Device eth0", "may not be balanced", "no network device eth0"])?;
                lab.make_uplink(node)
            })
        }),
        Test::new("an_uplink_that_is_called_otherwise_goes_on_and_is_told", renamed),
        Test::new("connections_live_through_a_changed_mtu_and_new_ones_fit_it", narrower),
    ]
}

/// Connections through two nodes live through what happens to the uplinks of both.
fn survive(lab: &mut Lab, happens: fn(&Lab, u8) -> Result<()>) -> Result<()> {
    ask_neighbours_often(lab)?;
    let mut held = stage(lab, "uplink")?;
    for node in [INGRESS, FAR] {
        happens(lab, node)?;
    }
    for family in Family::BOTH {
        everybody_is_reached(lab, frontend(lab, "uplink", family, Protocol::Tcp)?)?;
    }
    for node in [INGRESS, FAR] {
        is_content_within(lab, node, FOUND_LIMIT)?;
    }
    ask_all(&mut held, "after the uplinks are back")
}

/// Waits until nobody who connects is ignored, at whatever Pod: until then some neighbour is still looked for.
fn everybody_is_reached(lab: &Lab, to: SocketAddr) -> Result<()> {
    wait::until_true(&format!("all Pods behind {to} to be reached"), FOUND_LIMIT, || {
        for _ in 0..ATTEMPTS {
            let outcome = lab.client(1).attempt(Protocol::Tcp, to, None, LOOK)?;
            ensure!(outcome.pod().is_some(), "it brings {outcome:?}");
        }
        Ok(true)
    })
}

/// A Service with Pods on both nodes, and connections of both families to it.
fn stage(lab: &mut Lab, service: &str) -> Result<Vec<Held>> {
    serve(lab, ServiceSpec::new(service, &first_pods([INGRESS, FAR])))?;
    let mut held = Vec::new();
    for family in Family::BOTH {
        held.extend(hold(lab, frontend(lab, service, family, Protocol::Tcp)?, HELD)?);
    }
    Ok(held)
}

fn renamed(lab: &mut Lab) -> Result<()> {
    let mut held = stage(lab, "renamed")?;
    for node in [INGRESS, FAR] {
        ip(lab, node, &["link", "set", UPLINK, "name", "lan0"])?;
        says(lab, node, 1, &["warning", "Device eth0", "it is called lan0 now", "--uplink"])?;
    }
    let answered = ask_all(&mut held, "while the uplinks are called otherwise").and_then(|()| {
        Family::BOTH.into_iter().try_for_each(|family| {
            wait_until_answered(lab, Protocol::Udp, frontend(lab, "renamed", family, Protocol::Udp)?)
        })
    });
    for node in [INGRESS, FAR] {
        ip(lab, node, &["link", "set", "lan0", "name", UPLINK])?;
        is_content(lab, node)?;
    }
    answered?;
    ask_all(&mut held, "after the uplinks have their names back")
}

/// What is held was agreed on for the larger one, and says no more than fits into the smaller one.
fn narrower(lab: &mut Lab) -> Result<()> {
    const BYTES: u64 = 200_000;
    let mut held = stage(lab, "narrower")?;
    let to = frontend(lab, "narrower", Family::V4, Protocol::Tcp)?;
    let mtu = |lab: &Lab, bytes: u16| -> Result<()> {
        let set = |node| ip(lab, node, &["link", "set", UPLINK, "mtu", &bytes.to_string()]);
        [INGRESS, FAR].into_iter().try_for_each(set)?;
        [INGRESS, FAR].into_iter().try_for_each(|node| knows_mtu(lab, node, bytes))
    };
    let outcome = mtu(lab, 1400).and_then(|()| ask_all(&mut held, "with a smaller MTU")).and_then(|()| {
        [INGRESS, FAR].into_iter().try_for_each(|node| is_content(lab, node))?;
        // Enough of them that some are at a Pod of the other node.
        (0..8).try_for_each(|seed| lab.client(1).tcp(to, None)?.upload(BYTES, seed).context("does not fit"))
    });
    mtu(lab, 1500)?;
    outcome?;
    [INGRESS, FAR].into_iter().try_for_each(|node| is_content(lab, node))?;
    ask_all(&mut held, "with the old MTU")
}

/// Waits until a node has a way to the others that carries packets of this size, and no more.
fn knows_mtu(lab: &Lab, node: u8, bytes: u16) -> Result<()> {
    wait::until_true(&format!("ways with an MTU of {bytes}"), FOUND_LIMIT, || {
        let nodes = lab.limpet(node, &["get", "nodes", "-o", "json"])?.json()?;
        let ways = nodes.as_array().into_iter().flatten().filter_map(|node| node["ways"].as_array()).flatten();
        let mtus: Vec<&Value> = ways.filter_map(|way| way["hop"].get("mtu_bytes")).collect();
        ensure!(!mtus.is_empty() && mtus.iter().all(|mtu| **mtu == bytes), "{nodes}");
        Ok(true)
    })
}

fn is_up(lab: &Lab, node: u8) -> Result<bool> {
    let output = lab.node(node).run(|| Ok(Command::new("ip").args(["-j", "link", "show", UPLINK]).output()?))?;
    let links: Value = serde_json::from_slice(&output.stdout)?;
    Ok(links[0]["operstate"] == "UP")
}

/// Runs `ip` on a node.
pub(crate) fn ip(lab: &Lab, node: u8, arguments: &[&str]) -> Result<()> {
    let output = lab.node(node).run(|| Ok(Command::new("ip").args(arguments).output()?))?;
    ensure!(output.status.success(), "`ip {}` failed on n{node}: {output:?}", arguments.join(" "));
    Ok(())
}
