//! The soak: traffic, churn, agents that end, uplinks that go down, Pods that die, all at once in one lab, for minutes.
//!
//! - [`plan`] and [`trouble`] decide by a seed what happens, [`director`] does it and writes it into the [`history`].
//! - [`traffic`] asks; [`fence`] finds out by packets what each node has programmed.
//! - [`judge`] says of everything that went wrong whether the history explains it, [`tally`] counts, [`breaks`] does the same
//!   for the ledger of breaks, and [`measure`] reads what agents, maps and devices say.
//! - [`report`] is what came of it. Whatever nothing explains makes the soak fail.

mod breaks;
mod dice;
mod director;
mod fence;
mod fleet;
mod history;
mod interrupt;
mod judge;
mod kind;
mod measure;
mod plan;
mod print;
mod report;
mod tally;
mod traffic;
mod trouble;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use self::director::Director;
use self::fence::Fence;
use self::fleet::Size;
use self::history::History;
use self::measure::{Fill, Packets, Process};
use self::plan::Plan;
use self::tally::{Event, Tally, lock};
use self::traffic::{Load, Scene};
use self::trouble::Troubles;
use crate::address::NODES;
use crate::world::ServiceSpec;
use crate::{Lab, Source, scenarios, wait};

pub use report::Report;

/// Soaks of this length and more have the large fleet.
const LONG: Duration = Duration::from_secs(45);
/// From the first request until agents are measured for the first time, and churn begins; of a long soak, and of a
/// short one.
const WARM_UP: [Duration; 2] = [Duration::from_secs(8), Duration::from_secs(2)];
/// How long nodes may take until all is programmed as it was in the beginning.
const SETTLING: Duration = Duration::from_secs(30);
/// Limpet's own default.
const MAX_SLOTS: u32 = 16 << 20;
/// Where clients may come from while a Service is restricted: the first client machine.
const ALLOWED_RANGES: [&str; 2] = ["198.18.1.0/24", "2001:db8:c:1::/64"];

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long, from the beginning of the churn on.
    pub length: Duration,
    /// What the choices of changes and troubles follow from.
    pub seed: u64,
    /// Write the report to this file as well, as JSON.
    pub json: Option<PathBuf>,
    /// Write the report to this file as well, as Markdown.
    pub markdown: Option<PathBuf>,
}

/// Soaks and prints the report, to files as well where they are given. Ctrl-C ends it early, with the report.
///
/// Ends with the line `soak: M minutes, N requests, E errors, U unexplained`. The exit code is 1 when U is not 0.
///
/// # Errors
/// When something could not be done at all.
pub fn run(options: &Options) -> Result<ExitCode> {
    let stop = interrupt::on_first()?;
    let report = soak(options.length, options.seed, stop)?;
    print!("{}", print::text(&report));
    if let Some(file) = &options.json {
        scenarios::write(file, &print::json(&report)?)?;
    }
    if let Some(file) = &options.markdown {
        scenarios::write(file, &print::markdown(&report))?;
    }
    println!("\n{}", print::closing_line(&report));
    Ok(if report.unexplained() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Soaks in a lab of its own, for this long or until it is told to stop.
///
/// # Errors
/// When something could not be done at all, with the agents' logs.
pub fn soak(length: Duration, seed: u64, stop: &AtomicBool) -> Result<Report> {
    // As much room as an agent has by itself: a table's place is not used again for some seconds, and every change of a
    // Service's Pods takes four new ones.
    let agent_arguments = vec!["--max-slots".to_owned(), MAX_SLOTS.to_string()];
    let options = crate::Options { source: Source::ApiServer, agent_arguments, ..crate::Options::default() };
    let mut lab = Lab::start(options)?;
    let outcome = soak_in(&mut lab, length, seed, stop);
    let outcome = outcome.map_err(|error| anyhow!("{error:#}\n{}", lab.agent_logs()));
    if outcome.as_ref().is_ok_and(|report| report.unexplained() > 0) {
        eprintln!("{}", lab.agent_warnings());
    }
    lab.end().and(outcome)
}

fn soak_in(lab: &mut Lab, length: Duration, seed: u64, stop: &AtomicBool) -> Result<Report> {
    let is_long = length >= LONG;
    let size = if is_long { Size::LARGE } else { Size::SMALL };
    let warm_up = WARM_UP[usize::from(!is_long)];
    let plan = Plan::new(seed, &fleet::churned(size));
    let fences = build(lab, &plan, size)?;

    let before = packets(lab)?;
    let (history, tally) = (Mutex::new(History::default()), Arc::new(Mutex::new(Tally::default())));
    let (clients_over, fences_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let began = Instant::now();
    let scene = Scene { seed, began, over: &clients_over, services: asked(lab) };
    let (events, seen) = mpsc::channel::<Event>();

    thread::scope(|scope| {
        // Whatever goes wrong below, the threads must end.
        let _end = EndAll([&clients_over, &fences_over]);
        let counting = {
            let (history, tally) = (&history, &tally);
            scope.spawn(move || tally::run(&seen, history, tally))
        };
        let end = warm_up + length;
        let troubles = Troubles::new(seed, end);
        let mut director = Director::new(lab, plan, troubles, &history, Arc::clone(&tally), began);
        director.introduce()?;
        let mut threads = traffic::start(scope, director.lab, &scene, Load::NORMAL, &events);
        for fence in fences {
            let (events, history, over) = (events.clone(), &history, &fences_over);
            threads.push(scope.spawn(move || fence.run(began, over, history, &events)));
        }
        wait::let_pass(warm_up);
        director.measure()?;
        let start = figures(director.lab)?;
        let churned_from = began.elapsed();
        let churned_to = director.churn(end, stop)?;

        clients_over.store(true, Ordering::Relaxed);
        director.restore()?;
        settle(director.lab, &history)?;
        director.measure()?;
        fences_over.store(true, Ordering::Relaxed);
        drop(events);
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        counting.join().map_err(|_| anyhow!("counting panicked"))?;

        let length = churned_to - churned_from;
        let end = figures(director.lab)?;
        let verified = measure::verify(director.lab)?;
        let after = packets(director.lab)?;
        let packets = before.iter().zip(&after).map(|(before, after)| after.since(before)).collect();
        let Director { plan, objects, happened, breaks, peaks, stall, problems, .. } = director;
        let history = lock(&history);
        Ok(Report {
            seed,
            length,
            tally: lock(&tally).clone(),
            done: plan.done().clone(),
            objects,
            happened,
            stall,
            breaks: breaks.grown(),
            unexplained_breaks: breaks.unexplained(&history, began.elapsed()),
            start,
            end,
            peaks: peaks.to_vec(),
            packets,
            verified,
            problems,
        })
    })
}

/// Starts Pods, makes all Services, and waits until all nodes have them.
fn build(lab: &mut Lab, plan: &Plan, size: Size) -> Result<Vec<Fence>> {
    for node in 1..=NODES {
        lab.route_sources_via(node, &traffic::ranges_of(node))?;
    }
    let mut pods: Vec<(u8, String)> = fleet::churned(size).into_iter().flat_map(|service| service.pods).collect();
    pods.extend((1..=NODES).flat_map(|node| fence::pods_of(node).map(|name| (node, name))));
    let placed: Vec<(u8, &str)> = pods.iter().map(|(node, name)| (*node, name.as_str())).collect();
    lab.add_pods_named(&placed)?;
    let mut names = Vec::new();
    for spec in fleet::steady() {
        names.push(spec.name.clone());
        lab.put_service(spec)?;
    }
    for service in plan.services() {
        let pods: Vec<String> = service.members.iter().map(|member| member.pod.clone()).collect();
        let mut spec = ServiceSpec::new(&service.name, &pods);
        spec.affinity_seconds = service.affinity;
        names.push(service.name.clone());
        lab.put_service(spec)?;
    }
    let fences = (1..=NODES).map(|node| Fence::new(lab, node)).collect::<Result<Vec<_>>>()?;
    let nodes: Vec<u8> = (1..=NODES).collect();
    names.iter().try_for_each(|name| lab.wait_until_programmed(name, &nodes))?;
    Ok(fences)
}

/// The Services that clients ask: all but the fences'.
fn asked(lab: &Lab) -> Vec<crate::world::Service> {
    let is_asked = |service: &&crate::world::Service| !service.spec().name.starts_with("fence");
    lab.world().services().filter(is_asked).cloned().collect()
}

/// Waits until all nodes have programmed what was written last, and say so themselves.
fn settle(lab: &Lab, history: &Mutex<History>) -> Result<()> {
    let version = lab.manifests().api_server().map_or(Ok(0), |api| api.version())?;
    wait::until_true("all nodes to program what was written last", SETTLING, || {
        let lagging = lock(history).lagging(version);
        anyhow::ensure!(lagging.is_empty(), "nodes {lagging:?} have not");
        Ok(true)
    })?;
    (1..=NODES).try_for_each(|node| {
        wait::until_true(&format!("the agent on n{node} to be in step"), SETTLING, || {
            let agent = lab.status(node)?.agent;
            Ok(agent.alive && agent.ready && agent.in_step.unwrap_or(true))
        })
    })
}

/// What each node's agent and maps take now.
fn figures(lab: &Lab) -> Result<Vec<(Process, Fill)>> {
    (1..=NODES).map(|node| Ok((measure::process(lab, node)?, measure::fill(lab, node)?))).collect()
}

fn packets(lab: &Lab) -> Result<Vec<Packets>> {
    (1..=NODES).map(|node| measure::packets(lab, node)).collect()
}

/// Tells threads that it is over when this is dropped.
struct EndAll<'a>([&'a AtomicBool; 2]);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|over| over.store(true, Ordering::Relaxed));
    }
}
