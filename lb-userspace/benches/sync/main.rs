//! What changes of the cluster cost: a real agent that follows a real API server, in a network namespace of their own.
//!
//! For each number of Services, each with ten endpoints on ten nodes: how long the agent takes from its start until
//! everything is programmed; from the moment that one endpoint's change is stored until the frontend in the kernel leads
//! to it; its memory afterwards; and its share of a CPU while 50 changes a second arrive. The API server runs in this
//! process, so what it needs is in the times, but not in memory and CPU. Run by `cargo xtask bench sync`, as root.

mod agent;
mod cluster;
mod node;
mod report;

use std::{
    path::PathBuf,
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;

use self::{agent::Agent, cluster::Cluster, report::Row};

/// Changes that are measured one by one.
const CHANGES: usize = 1_000;
/// Pause between two of them: each finds the agent idle.
const PAUSE: Duration = Duration::from_millis(5);
/// How long changes arrive for the share of a CPU, and how many a second.
const LOAD_SECONDS: u64 = 10;
const CHANGES_A_SECOND: u32 = 50;

/// Measures what changes of the cluster cost.
#[derive(Debug, Parser)]
#[command(name = "sync", after_help = "Figures of one run can be compared with each other, not with another run's.")]
struct Options {
    /// Also writes the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Numbers of Services
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [100, 1_000, 10_000])]
    services: Vec<u32>,
    /// Changes that are measured one by one
    #[arg(long, value_name = "N", default_value_t = CHANGES)]
    changes: usize,
    /// `cargo bench` passes this.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    // Before there is any other thread: they are all to be in it.
    node::enter_a_network_of_our_own()?;
    report::print_head();
    let mut rows = Vec::new();
    for services in &options.services {
        let row = measure(*services, options.changes).with_context(|| format!("with {services} Services"))?;
        row.print();
        rows.push(row);
    }
    if let Some(path) = &options.json {
        std::fs::write(path, report::json(&rows)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn measure(services: u32, changes: usize) -> Result<Row> {
    let mut cluster = Cluster::start(services)?;
    let (agent, initial) = Agent::start(&cluster)?;
    let mut latencies = Vec::with_capacity(changes);
    for number in 0..changes {
        // Neighbouring Services are far apart in every order.
        let service = (number as u32).wrapping_mul(7_919) % services;
        let before = agent.frontend(service)?;
        let begun = Instant::now();
        cluster.replace_an_endpoint(service)?;
        agent.wait_for_other_frontend(service, before)?;
        latencies.push(begun.elapsed());
        sleep(PAUSE);
    }
    let cpu_percent = load(&mut cluster, &agent, services)?;
    let row = Row::new(services, initial, latencies, agent.rss_kib()?, cpu_percent);
    agent.stop()?;
    Ok(row)
}

/// Lets changes arrive at a steady pace; returns the agent's share of a CPU meanwhile.
fn load(cluster: &mut Cluster, agent: &Agent, services: u32) -> Result<f64> {
    let total = CHANGES_A_SECOND * LOAD_SECONDS as u32;
    let step = Duration::from_secs(1) / CHANGES_A_SECOND;
    let (begun, before) = (Instant::now(), agent.cpu_time()?);
    for number in 0..total {
        cluster.replace_an_endpoint(number.wrapping_mul(104_729) % services)?;
        sleep((begun + step * (number + 1)).saturating_duration_since(Instant::now()));
    }
    let used = agent.cpu_time()?.saturating_sub(before);
    Ok(100.0 * used.as_secs_f64() / begun.elapsed().as_secs_f64())
}
