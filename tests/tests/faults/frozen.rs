//! Processes that are there and do nothing: an agent without any processor time, a Pod that does not answer.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::{CLIENTS, Family, client_range};
use limpet_lab::client::Client;
use limpet_lab::wait;
use limpet_lab::world::{NAMESPACE, Protocol, ServiceSpec};
use serde_json::Value;

use crate::support::{
    Held, INGRESS, LOOK, Test, all_first_pods, ask_all, backends, first_pods, frontend, hold, is_content, says, serve,
    while_clients_connect,
};

const HELD: u8 = 30;
/// How long the agent is frozen at least, while clients go on.
const FROZEN: Duration = Duration::from_millis(1_500);
/// The Pod that does not answer.
const SILENT: &str = "p2-1";
/// Enough connections that some are for the silent Pod, and most are not.
const ATTEMPTS: usize = 40;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_frozen_agent_is_not_felt_and_catches_up", agent),
        Test::new("a_pod_that_does_not_answer_disturbs_nobody_else_and_is_seen_in_its_flows", pod),
    ]
}

fn agent(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("frozen", &first_pods([INGRESS, 2])))?;
    let to = frontend(lab, "frozen", Family::V4, Protocol::Tcp)?;
    let mut held = hold(lab, to, HELD)?;
    lab.freeze_agent(INGRESS)?;
    let outcome = while_clients_connect(&lab.client(2), to, 0, || {
        let mut spec = lab.world().service("frozen")?.spec().clone();
        spec.pods = all_first_pods();
        lab.put_service(spec)?;
        says(lab, INGRESS, 1, &["agent: cannot be asked", "no answer"])?;
        ask_all(&mut held, "while the agent is frozen")?;
        wait::let_pass(FROZEN);
        ask_all(&mut held, "while the agent is frozen")
    });
    lab.thaw_agent(INGRESS)?;
    outcome?;
    lab.wait_until_programmed("frozen", &[1, 2, 3])?;
    is_content(lab, INGRESS)?;
    ask_all(&mut held, "after the agent went on")
}

fn pod(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("silent", &all_first_pods()))?;
    let to = frontend(lab, "silent", Family::V4, Protocol::Tcp)?;
    let held = hold(lab, to, HELD)?;
    let (mut silent, mut others): (Vec<Held>, Vec<Held>) = held.into_iter().partition(|held| held.pod == SILENT);
    ensure!(!silent.is_empty() && !others.is_empty(), "all connections are at the same Pods");
    let used = backends(lab)?;

    mute(lab, true)?;
    let seen = while_it_is_silent(lab, &mut others, to);
    mute(lab, false)?;
    seen?;
    ensure!(backends(lab)? == used, "something moved");
    ask_all(&mut others, "after the Pod answers again")?;
    ask_all(&mut silent, "after the Pod answers again")
}

fn while_it_is_silent(lab: &Lab, others: &mut [Held], to: std::net::SocketAddr) -> Result<()> {
    ask_all(others, "while a Pod does not answer")?;
    let client = lab.client(1);
    let mut unanswered = 0;
    for _ in 0..ATTEMPTS {
        match client.attempt(Protocol::Tcp, to, None, LOOK)?.pod() {
            Some(pod) => ensure!(pod != SILENT, "the Pod answers all the same"),
            None => unanswered += 1,
        }
    }
    ensure!((1..ATTEMPTS / 2).contains(&unanswered), "{unanswered} of {ATTEMPTS} were not answered");
    // Nobody probes Pods: it is ready, so it is chosen. What shows is that nobody gets past the first packet with it.
    let waiting = flows(lab, &client)?;
    let silent = format!("{NAMESPACE}/{SILENT}");
    let of_silent = waiting.iter().filter(|flow| flow["backend"] == silent.as_str() && flow["state"] == "new").count();
    ensure!(
        of_silent == unanswered,
        "{of_silent} flows wait for the Pod, and {unanswered} attempts were not answered: {waiting:?}"
    );
    let waits_elsewhere = waiting.iter().any(|flow| flow["backend"] != silent.as_str() && flow["state"] == "new");
    ensure!(!waits_elsewhere, "flows of other Pods look like that, too: {waiting:?}");
    ask_all(others, "while a Pod does not answer")
}

fn flows(lab: &Lab, client: &Client) -> Result<Vec<Value>> {
    let service = format!("{NAMESPACE}/silent");
    let rows = lab.limpet(INGRESS, &["get", "flows", &service, "-o", "json"])?.json()?;
    let own = client.address(Family::V4, 1).to_string();
    let rows = rows.as_array().context("`limpet get flows` prints no array")?;
    let of_tcp = rows.iter().filter(|row| row["protocol"] == "TCP" && row["client"] == own.as_str());
    Ok(of_tcp.cloned().collect())
}

/// Has the Pod throw away whatever it would answer to clients, or takes that back.
fn mute(lab: &Lab, is_silent: bool) -> Result<()> {
    let verb = if is_silent { "add" } else { "del" };
    lab.pod_namespace(SILENT)?.run(|| {
        for client in 1..=CLIENTS {
            let range = client_range(Family::V4, client);
            let output = Command::new("ip").args(["route", verb, "blackhole", &range]).output()?;
            ensure!(output.status.success(), "cannot {verb} a route in the Pod: {output:?}");
        }
        Ok(())
    })
}
