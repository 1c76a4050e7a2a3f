//! Agents that read from an API server: what it does is not felt by clients.
//!
//! These run in a lab of their own, whose agents all read there. What each fault does to the agent's view is tested without
//! packets, in `lb-userspace/tests/kube`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use limpet_lab::address::{Family, NODES};
use limpet_lab::api_server::Fault;
use limpet_lab::world::{Protocol, ServiceSpec};
use limpet_lab::{Lab, Options, Source, wait};

use super::fate::{Fate, wait_for};
use super::slices;
use crate::support::{CHANGE_LIMIT, Held, INGRESS, Test, all_first_pods, ask_all, first_pods, frontend, hold, serve};

/// How long the API server is away. An agent must not lose patience meanwhile.
const AWAY: Duration = Duration::from_secs(3);
/// The Pod that leaves meanwhile.
const LEAVES: &str = "p2-1";
/// How long an agent may take to find the API server again: it waits longer after each failure.
const BACK_LIMIT: Duration = Duration::from_secs(20);

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("an_api_server_that_goes_away_and_comes_back_is_not_felt_by_clients", |_shared| {
        let mut lab = Lab::start(Options { source: Source::ApiServer, ..Options::default() })?;
        let outcome = away(&mut lab).and_then(|()| new_agent(&mut lab)).and_then(|()| slices::replaced(&mut lab));
        let logs = lab.agent_logs();
        lab.end()?;
        outcome.map_err(|error| anyhow!("{error:#}\n\n{logs}"))
    })]
}

/// Meanwhile a Pod leaves and a Service goes, of which the agents hear when it is back.
fn away(lab: &mut Lab) -> Result<()> {
    let (stays, goes) = ("stays", "goes");
    serve(lab, ServiceSpec::new(stays, &all_first_pods()))?;
    serve(lab, ServiceSpec::new(goes, &first_pods([2])))?;
    let (to, gone) =
        (frontend(lab, stays, Family::V4, Protocol::Tcp)?, frontend(lab, goes, Family::V6, Protocol::Udp)?);
    // Those of the Pod that leaves are none of this test's.
    let mut held: Vec<Held> = hold(lab, to, 30)?.into_iter().filter(|held| held.pod != LEAVES).collect();
    let used = backends(lab)?;

    api(lab)?.fault(Fault::RefuseConnections)?;
    wait_until_connected(lab, false)?;
    let mut spec = lab.world().service(stays)?.spec().clone();
    spec.pods.retain(|pod| pod != LEAVES);
    lab.put_service(spec)?;
    lab.remove_service(goes)?;
    // One connection at most is at the Pod that leaves at the moment at which it does.
    while_clients_connect(lab, to, 1, || {
        wait::let_pass(AWAY);
        ensure!(backends(lab)? == used, "the datapath changed while nobody could say anything");
        wait_for(lab, Protocol::Udp, gone, Fate::Answered)?;
        api(lab)?.heal()?;
        wait_until_connected(lab, true)?;
        lab.wait_until_programmed(stays, &[1, 2, 3])?;
        wait_for(lab, Protocol::Udp, gone, Fate::NoRoute)
    })?;
    ask_all(&mut held, "after the API server was away")
}

/// It begins with an empty view, which must not be taken for an empty cluster.
fn new_agent(lab: &mut Lab) -> Result<()> {
    let to = frontend(lab, "stays", Family::V4, Protocol::Tcp)?;
    let used = backends(lab)?;
    let mut held = hold(lab, to, 20)?;
    api(lab)?.fault(Fault::RefuseConnections)?;
    lab.kill_agent(INGRESS)?;
    lab.launch_agent(INGRESS)?;
    wait::until_true("the new agent to answer", CHANGE_LIMIT, || Ok(lab.status(INGRESS)?.agent.alive))?;
    while_clients_connect(lab, to, 0, || {
        wait::let_pass(AWAY);
        ensure!(!lab.status(INGRESS)?.agent.ready, "the new agent is ready without a view");
        ensure!(backends(lab)? == used, "the new agent changed the datapath without a view");
        api(lab)?.heal()?;
        wait_until_connected(lab, true)?;
        wait::until_true("the new agent to be in step", BACK_LIMIT, || Ok(lab.status(INGRESS)?.agent.ready))?;
        ensure!(backends(lab)? == used, "the new agent changed the datapath");
        Ok(())
    })?;
    ask_all(&mut held, "after a new agent began without an API server")
}

fn api(lab: &Lab) -> Result<&limpet_lab::api_server::ApiServer> {
    Ok(lab.manifests().api_server().context("the lab has no API server")?)
}

fn wait_until_connected(lab: &Lab, connected: bool) -> Result<()> {
    for node in 1..=NODES {
        wait::until_true(&format!("the agent on n{node} to be connected: {connected}"), BACK_LIMIT, || {
            Ok(lab.status(node)?.agent.source.connected == connected)
        })?;
    }
    Ok(())
}

/// What is programmed at the ingress node.
fn backends(lab: &Lab) -> Result<serde_json::Value> {
    lab.limpet(INGRESS, &["get", "backends", "-A", "-o", "json"])?.json()
}

/// Runs a case while a client connects as fast as it can; all of its connections but `may_break` must be answered.
fn while_clients_connect(lab: &Lab, to: SocketAddr, may_break: usize, case: impl FnOnce() -> Result<()>) -> Result<()> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let (mut connected, mut broken) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                match lab.client(2).tcp_who(to, None) {
                    Ok(_) => connected += 1,
                    Err(_) if broken < may_break => broken += 1,
                    Err(error) => return Err(error.context(format!("connection {connected}"))),
                }
            }
            anyhow::Ok(connected)
        });
        let outcome = case();
        done.store(true, Ordering::Relaxed);
        let connected = client.join().map_err(|_| anyhow!("a client panicked"))??;
        outcome?;
        ensure!(connected > 100, "there were only {connected} connections");
        Ok(())
    })
}
