//! A flood of forged SYNs and datagrams at full speed: who has a connection or a Pod keeps it, and who comes is served.
//!
//! All nodes have small maps, honestly sized for those who are held: the flood is many times as large, and would push
//! everybody out who is not kept apart. That this is so shows the same flood with the guard switched off.
//!
//! Pods take SYNs that they have no room for by cookies (`net.ipv4.tcp_syncookies`), which is how Linux comes; their
//! backlog is that of Rust's listeners, 128.

mod load;
mod node;
mod report;
mod stage;
#[expect(dead_code, reason = "the lab's own tests use the rest")]
#[path = "../lab/support.rs"]
mod support;
#[expect(dead_code, reason = "the lab's own tests use the rest")]
#[path = "../lab/affinity/visitors.rs"]
mod visitors;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use limpet_lab::address::{Family, NODES};
use limpet_lab::flood::{Plan, Sent};
use limpet_lab::world::{Protocol, ServiceSpec};
use limpet_lab::{Lab, Options, wait};

use self::load::{Load, Served};
use self::node::{Asked, Counters, Datapath, packets};
use self::stage::Stage;
use self::support::{INGRESS, Test, all_first_pods, frontend, run_all, serve};

/// Room for flows of each family on each node: 900 held connections, 800 of the visits before, and 130 a second of newcomers
/// and of clients who come back, each of which is remembered after its end, too: 5,600 in thirty seconds, and a quarter more, because a map that is quite
/// full forgets anybody. The kernel's reserve of 512 on two CPUs is on top.
const MAX_FLOWS: u32 = 7_168;
/// Room for clients of each family, of which there are 500: with the reserve, 768.
const MAX_CLIENTS: u32 = 256;
/// How long the flood lasts.
const FLOOD: Duration = Duration::from_secs(30);
/// How long it lasts where it must do harm.
const HARM: Duration = Duration::from_secs(7);
/// After this time without an answer, a connection is broken: many times what TCP takes to send again.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same, where connections are expected to break.
const IMPATIENCE: Duration = Duration::from_secs(2);
/// The flood is so many times as large as the largest map at least, or it is none.
const TIMES: u64 = 50;
/// Answers by ICMP a second from each CPU.
const REJECTS_A_SECOND: u64 = 1_000;

fn main() -> ExitCode {
    let tests = vec![
        Test::new("a_flood_ends_after_its_frames_and_each_arrives", ends),
        Test::new("connections_and_clients_live_through_a_flood_and_newcomers_are_served", lives_through),
        Test::new("without_the_guard_the_same_flood_takes_connections_and_clients", is_lost),
    ];
    run_all(Options::default(), tests)
}

/// Gives all nodes small maps, in which nothing is left of what was before, and the guard or none.
fn use_small_maps(lab: &mut Lab, guard: &str) -> Result<()> {
    let nodes: Vec<u8> = (1..=NODES).collect();
    let (flows, clients) = (MAX_FLOWS.to_string(), MAX_CLIENTS.to_string());
    let flags = ["--max-flows", &flows, "--max-clients", &clients, "--flood-guard", guard];
    lab.detach(&nodes)?;
    nodes.iter().try_for_each(|node| lab.launch_agent_with(*node, &flags, &[]))?;
    wait::until_true("all agents to be in step with small maps", support::CHANGE_LIMIT, || {
        for node in &nodes {
            let agent = lab.status(*node)?.agent;
            ensure!(agent.ready && agent.in_step == Some(true), "that on n{node} is not");
        }
        Ok(true)
    })
}

fn ends(lab: &mut Lab) -> Result<()> {
    const FRAMES: u64 = 20_000;
    serve(lab, ServiceSpec::new("ending", &all_first_pods()))?;
    let mut targets = Vec::new();
    for protocol in Protocol::BOTH {
        for family in Family::BOTH {
            targets.push((protocol, frontend(lab, "ending", family, protocol)?));
        }
    }
    let before = node::counters(lab)?;
    let plan = Plan { targets, max_frames: FRAMES, max_time: FLOOD, seed: 1 };
    let sent = lab.flood(INGRESS, &plan)?.wait()?;
    ensure!(sent.frames == FRAMES, "{} frames were sent, and {FRAMES} wanted", sent.frames);
    let grown = grown(lab, &before)?;
    let arrived = packets(&grown[0], "local-new") + packets(&grown[0], "remote-new");
    ensure!(arrived == FRAMES, "{FRAMES} frames were sent, and {arrived} arrived");
    // The same without an end is stopped by being dropped.
    drop(lab.flood(INGRESS, &Plan { max_frames: u64::MAX, ..plan })?);
    Ok(())
}

fn lives_through(lab: &mut Lab) -> Result<()> {
    use_small_maps(lab, "on")?;
    let mut stage = Stage::set(lab, "guarded")?;
    let before = node::counters(lab)?;
    let mut asked = Asked::default();
    let begun = Instant::now();
    let (sent, served) = flood(lab, &mut stage, (FLOOD, PATIENCE), |lab| asked.ask(lab))?;
    let grown = grown(lab, &before)?;
    let datapath = Datapath::read(lab)?;
    report::print("with the guard", sent, &grown, &served);
    report::print_node(&asked, &datapath);

    is_a_flood(sent, &grown)?;
    let Served { data, silent, newcomers, returns } = &served;
    ensure!(data.broken.is_empty(), "{} held connections broke", data.broken.len());
    ensure!(silent.broken.is_empty(), "{} silent connections broke", silent.broken.len());
    ensure!(returns.moved.is_empty(), "{} clients came to another Pod", returns.moved.len());
    ensure!(datapath.breaks() == 0, "{} breaks were counted", datapath.breaks());
    at_least_99_per_cent("clients who came back", returns.found, returns.failed.len())?;
    at_least_99_per_cent("newcomers", newcomers.waited.len(), newcomers.failed.len())?;

    let cpus = thread::available_parallelism().context("cannot count CPUs")?.get() as u64;
    let most = (begun.elapsed().as_secs() + 1) * cpus * REJECTS_A_SECOND;
    let rejected = packets(&grown[0], "rejected");
    ensure!((1..=most).contains(&rejected), "{rejected} packets were answered, and {most} may be");
    for reason in ["no-backend", "source-range"] {
        ensure!(packets(&grown[0], reason) > 0, "nothing was dropped as {reason}");
    }
    for row in datapath.fill.iter().filter(|row| row.what == "clients") {
        ensure!(row.used < row.room * 9 / 10, "the flood got into the map of clients: {row:?}");
    }
    Ok(())
}

fn is_lost(lab: &mut Lab) -> Result<()> {
    use_small_maps(lab, "off")?;
    let mut stage = Stage::set(lab, "unguarded")?;
    let before = node::counters(lab)?;
    let (sent, served) = flood(lab, &mut stage, (HARM, IMPATIENCE), |_| Ok(()))?;
    let grown = grown(lab, &before)?;
    let datapath = Datapath::read(lab)?;
    report::print("without the guard", sent, &grown, &served);
    report::print_node(&Asked::default(), &datapath);

    is_a_flood(sent, &grown)?;
    let Served { data, silent, returns, .. } = &served;
    let (broken, moved) = (data.broken.len() + silent.broken.len(), returns.moved.len());
    ensure!(broken > 0, "no connection broke, so this flood shows nothing about the guard");
    ensure!(moved > 0, "no client came to another Pod, so this flood shows nothing about the guard");
    Ok(())
}

/// Floods the ingress node for so long, while everybody is served, and asks meanwhile. A held connection is given up
/// after the second time.
fn flood(
    lab: &Lab,
    stage: &mut Stage,
    (time, patience): (Duration, Duration),
    mut meanwhile: impl FnMut(&Lab) -> Result<()>,
) -> Result<(Sent, Served)> {
    let plan = Plan { targets: stage.targets(lab)?, max_frames: u64::MAX, max_time: time, seed: 1 };
    let (door, doors) = (stage.sticky_door(lab)?, stage.doors(lab)?);
    let load = Load {
        lab,
        held: &mut stage.held,
        silent: &mut stage.silent,
        patience,
        returning: (&stage.returning, door),
        doors: &doors,
    };
    load.during(|| {
        let flood = lab.flood(INGRESS, &plan)?;
        while !flood.is_over() {
            meanwhile(lab)?;
            wait::let_pass(Duration::from_millis(500));
        }
        flood.wait()
    })
}

fn grown(lab: &Lab, before: &[Counters]) -> Result<Vec<Counters>> {
    let after = node::counters(lab)?;
    Ok(before.iter().zip(&after).map(|(before, after)| node::growth(before, after)).collect())
}

/// Whether it was one: without, everything else would prove nothing.
fn is_a_flood(sent: Sent, grown: &[Counters]) -> Result<()> {
    let least = u64::from(MAX_FLOWS) * TIMES;
    ensure!(sent.frames >= least, "{} frames are no flood, {least} would be", sent.frames);
    let arrived: u64 = grown[0].values().map(|(_, packets)| *packets).sum();
    ensure!(arrived >= sent.frames, "{} frames were sent, and {arrived} packets arrived", sent.frames);
    Ok(())
}

fn at_least_99_per_cent(who: &str, served: usize, failed: usize) -> Result<()> {
    let all = served + failed;
    ensure!(all > 0 && served * 100 >= all * 99, "only {served} of {all} {who} were answered");
    Ok(())
}
