//! An agent that is killed: packets flow on, and the command line says what it knows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::Family;
use limpet_lab::world::{Protocol, ServiceSpec};

use crate::support::{Held, Test, all_first_pods, ask_all, frontend, hold, serve, who_answers};

const HELD: u8 = 200;
const NEW: usize = 50;

pub(crate) fn tests() -> Vec<Test> {
    let at = |node: u8, place: &str| {
        let name = format!("two_hundred_connections_live_through_the_agents_death_at_the_{place}");
        Test::new(name, move |lab| connections_live(lab, node))
    };
    vec![
        at(1, "ingress_node"),
        at(2, "backend_node"),
        Test::new("commands_work_while_the_agent_is_dead_and_say_so", commands_work),
    ]
}

fn connections_live(lab: &mut Lab, node: u8) -> Result<()> {
    serve(lab, ServiceSpec::new("lasting", &all_first_pods()))?;
    let to = frontend(lab, "lasting", Family::BOTH[usize::from(node % 2)], Protocol::Tcp)?;
    let mut held = hold(lab, to, HELD)?;
    ask_all(&mut held, "before the agent died")?;

    lab.kill_agent(node)?;
    let while_dead = ask_all(&mut held, "while the agent is dead").and_then(|()| new_ones_are_answered(lab));

    // Data flows at every moment of the start, not only before and after it.
    let (flowing, idle) = held.split_at_mut(usize::from(HELD / 2));
    let over = AtomicBool::new(false);
    let (started, flow) = thread::scope(|scope| {
        let flow = scope.spawn(|| keep_asking(flowing, &over));
        let started = lab.start_agent(node);
        over.store(true, Ordering::Relaxed);
        (started, flow.join())
    });
    while_dead?;
    started?;
    flow.map_err(|_| anyhow::anyhow!("asking panicked"))??;
    ask_all(idle, "after the agent started again")?;
    ask_all(&mut held, "after the agent started again")?;
    new_ones_are_answered(lab)
}

fn keep_asking(held: &mut [Held], over: &AtomicBool) -> Result<()> {
    while !over.load(Ordering::Relaxed) {
        ask_all(held, "while the agent starts")?;
    }
    Ok(())
}

fn new_ones_are_answered(lab: &Lab) -> Result<()> {
    for protocol in Protocol::BOTH {
        let to = frontend(lab, "lasting", Family::V4, protocol)?;
        who_answers(lab, protocol, to, NEW).context("a new connection was not answered")?;
    }
    Ok(())
}

fn commands_work(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("visible", &all_first_pods()))?;
    let alive = lab.limpet(1, &["get", "services", "-A", "-o", "json"])?;
    ensure!(alive.json()?.to_string().contains("visible"));
    ensure!(lab.status(1)?.agent.alive);

    lab.kill_agent(1)?;
    let outcome = commands_without_agent(lab);
    lab.start_agent(1)?;
    outcome?;
    ensure!(lab.status(1)?.agent.alive);
    Ok(())
}

fn commands_without_agent(lab: &Lab) -> Result<()> {
    ensure!(!lab.status(1)?.agent.alive, "the status calls it alive");
    for command in ["services", "backends", "flows", "nodes", "counters"] {
        let said = lab.limpet(1, &["get", command, "-A"])?;
        ensure!(said.success, "`limpet get {command}` failed: {}", said.stderr.trim());
        ensure!(
            format!("{}{}", said.stdout, said.stderr).contains("agent"),
            "`limpet get {command}` does not say that the agent is dead"
        );
    }
    let services = lab.limpet(1, &["get", "services", "-A", "-o", "json"])?;
    services.json()?;
    Ok(())
}
