//! Agents that read from an API server: what it does is not felt by clients.
//!
//! These run in a lab of their own, whose agents all read there. What each fault does to the agent's view is tested without
//! packets, in `lb-userspace/tests/kube`.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use limpet_lab::address::Family;
use limpet_lab::api_server::Fault;
use limpet_lab::world::{Protocol, ServiceSpec};
use limpet_lab::{Lab, Options, Source, wait};

use super::fate::{Fate, wait_for};
use super::slices;
use crate::support::{
    BACK_LIMIT, CHANGE_LIMIT, Held, INGRESS, Test, all_first_pods, api, ask_all, backends, first_pods, frontend, hold,
    serve, wait_until_connected, while_clients_connect,
};

/// How long the API server is away. An agent must not lose patience meanwhile.
const AWAY: Duration = Duration::from_secs(3);
/// The Pod that leaves meanwhile.
const LEAVES: &str = "p2-1";

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
    while_clients_connect(&lab.client(2), to, 1, || {
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
    while_clients_connect(&lab.client(2), to, 0, || {
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
