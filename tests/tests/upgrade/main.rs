//! Agents that are stopped, killed, and replaced by others whose maps have another layout or other sizes, while connections
//! are held, clients are with their Pods, and others come without a pause: nobody notices.

#[path = "../lab/endurance.rs"]
mod endurance;
mod steps;
#[path = "../lab/support.rs"]
#[expect(dead_code, reason = "shared with the tests of the lab, which use more of it")]
mod support;
mod traffic;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use limpet_lab::address::Family;
use limpet_lab::sessions::Counts;
use limpet_lab::wait::let_pass;
use limpet_lab::world::{Protocol, ServiceSpec};
use limpet_lab::{Lab, Layout, Options};

use endurance::{breaks, crowd, nodes, sticky, verified, while_data_moves};
use support::{Test, all_first_pods, ask_all, first_pods, frontend, hold, run_all, serve};
use traffic::REQUESTS_PER_LOST;

/// The layout of the usual program, and that of the other one.
const LAYOUTS: [u64; 2] = [4, 1004];
/// Held connections of each family.
const HELD: u8 = 40;
/// So many agents are killed, each after another time.
const DEATHS: u32 = 10;
/// Sizes of the maps that the lab's agents do not have, larger and smaller.
const OTHER_LIMITS: [&str; 4] = ["--max-flows", "20000", "--max-clients", "30000"];

fn main() -> ExitCode {
    let tests = [
        Test::new("stopped_and_killed_agents_are_not_missed", stopped_and_killed),
        Test::new("another_layout_takes_over_and_is_taken_over", another_layout),
        Test::new("other_limits_take_over_and_are_taken_over", other_limits),
        Test::new("a_take_over_by_another_layout_that_dies_anywhere_is_finished_by_either", steps::another_layout),
        Test::new("a_take_over_with_other_limits_that_dies_anywhere_is_finished_by_either", steps::other_limits),
    ];
    run_all(Options::default(), tests.into_iter().map(Test::without_leftovers).collect())
}

/// Does something to agents that nobody may notice: no connection breaks, none is refused and no datagram lost but what goes
/// wrong anyhow ([`REQUESTS_PER_LOST`]), clients are with their Pods, and all that is told of them is the same. In the end all
/// agents must be in step.
fn unnoticed(lab: &mut Lab, work: impl FnOnce(&mut Lab) -> Result<()>) -> Result<()> {
    serve(lab, ServiceSpec::new("lasting", &all_first_pods()))?;
    serve(lab, sticky(&all_first_pods()))?;
    let mut held = Vec::new();
    for family in Family::BOTH {
        held.extend(hold(lab, frontend(lab, "lasting", family, Protocol::Tcp)?, HELD)?);
    }
    let crowd = crowd(lab)?;
    crowd.keep_asking(|| crowd.whole_round())?;
    // Some lose their Pods, so that there is something to be told.
    lab.put_service(sticky(&first_pods([1, 2])))?;
    lab.wait_until_programmed("sticky", &nodes())?;
    crowd.keep_asking(|| crowd.whole_round())?;
    let (told, clients, standings) = (breaks(lab)?, clients(lab)?, crowd.standings());
    ensure!(told > 0 && !clients.is_empty(), "{told} breaks, {} clients", clients.len());

    let begun = Instant::now();
    let (mut traffic, mut asked) = (traffic::Traffic::default(), 0);
    crowd.keep_asking(|| {
        asked = while_data_moves(&mut held, || {
            traffic = traffic::during(lab, "lasting", work)?;
            crowd.whole_round()
        })?;
        Ok(())
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{seconds:.1} s: {traffic:?}, held connections asked {asked} times");
    ask_all(&mut held, "at the end")?;
    traffic.is_unharmed()?;
    ensure!(asked > 2 * held.len(), "held connections were asked only {asked} times");
    let mut counts = Counts::default();
    for (before, after) in standings.iter().zip(crowd.standings()) {
        ensure!(before.pod == after.pod, "{} was at {:?} and is at {:?}", before.address, before.pod, after.pod);
        counts.answered += after.counts.answered - before.counts.answered;
        counts.lost += after.counts.lost - before.counts.lost;
        counts.retried += after.counts.retried - before.counts.retried;
        counts.unanswered += after.counts.unanswered - before.counts.unanswered;
    }
    println!("sessions: {counts:?}");
    let (lost, retried) = (counts.lost + counts.unanswered, counts.retried);
    ensure!(lost == 0 && retried * REQUESTS_PER_LOST <= counts.answered, "sessions suffered: {counts:?}");
    verified(lab, &nodes())?;
    ensure!(breaks(lab)? == told, "{told} breaks became {}", breaks(lab)?);
    let now = self::clients(lab)?;
    ensure!(now == clients, "clients were {clients:?} and are {now:?}");
    Ok(())
}

/// Who is held, by whom, on which node, as the command line says; without the times.
fn clients(lab: &Lab) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for node in nodes() {
        let said = lab.limpet(node, &["get", "clients", "-A", "-o", "json"])?.json()?;
        for row in said.as_array().context("`limpet get clients` has another form")? {
            let [client, service, backend, expiries, state] =
                ["client", "service", "backend", "expiries", "state"].map(|field| &row[field]);
            all.insert(format!("n{node} {client} {service} {backend} {expiries} {state}"));
        }
    }
    Ok(all)
}

fn stopped_and_killed(lab: &mut Lab) -> Result<()> {
    unnoticed(lab, |lab| {
        for node in nodes() {
            lab.stop_agent(node)?;
            lab.start_agent(node)?;
        }
        for (death, node) in (1..=DEATHS).zip(nodes().into_iter().cycle()) {
            lab.kill_agent(node)?;
            lab.launch_agent(node)?;
            // Times that spread over what a start takes.
            let_pass(Duration::from_millis(u64::from(death * 37 % 100) * 4));
        }
        for node in nodes() {
            lab.kill_agent(node)?;
        }
        lab.start_agents(&nodes())
    })
}

fn another_layout(lab: &mut Lab) -> Result<()> {
    let outcome = unnoticed(lab, |lab| {
        let [usual, other] = LAYOUTS;
        replace(lab, Layout::Other, &[])?;
        says_where_it_comes_from(lab, other, usual)?;
        replace(lab, Layout::Usual, &[])?;
        says_where_it_comes_from(lab, usual, other)
    });
    lab.use_layout(&nodes(), Layout::Usual)?;
    outcome
}

fn other_limits(lab: &mut Lab) -> Result<()> {
    unnoticed(lab, |lab| {
        replace(lab, Layout::Usual, &OTHER_LIMITS)?;
        says_where_it_comes_from(lab, LAYOUTS[0], LAYOUTS[0])?;
        replace(lab, Layout::Usual, &[])
    })
}

/// Replaces the agents of all nodes.
fn replace(lab: &mut Lab, layout: Layout, flags: &[&str]) -> Result<()> {
    nodes().into_iter().try_for_each(|node| lab.stop_agent(node))?;
    lab.use_layout(&nodes(), layout)?;
    nodes().into_iter().try_for_each(|node| lab.launch_agent_with(node, flags, &[]))?;
    nodes().into_iter().try_for_each(|node| lab.wait_until_in_step(node))
}

/// That `limpet status` tells what was taken over, and that nothing else is left.
fn says_where_it_comes_from(lab: &Lab, layout: u64, from: u64) -> Result<()> {
    for node in nodes() {
        let status = lab.limpet(node, &["status", "-o", "json"])?.json()?;
        let datapath = &status["datapath"];
        let told = (datapath["layout"]["version"].as_u64(), datapath["layout"]["taken_over"]["from_layout"].as_u64());
        ensure!(told == (Some(layout), Some(from)), "n{node} has {layout} from {from}, and says {datapath}");
        ensure!(datapath["other_versions"].as_array().is_some_and(Vec::is_empty), "n{node}: {datapath}");
    }
    Ok(())
}
