//! Agents that die at any time, two hundred of them, while objects change and many clients are there.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use limpet_lab::address::Family;
use limpet_lab::sessions::Counts;
use limpet_lab::world::{PodState, Protocol, ServiceSpec};
use limpet_lab::{Lab, wait};

use crate::endurance::{breaks, crowd, nodes, sticky, verified, while_data_moves};
use crate::support::{Test, all_first_pods, ask_all, first_pods, frontend, hold, serve};

/// So many agents die, on all nodes together.
const DEATHS: usize = 201;
/// An agent lives at most so long. A first round is done after some 200 ms on a machine with nothing else to do.
const LIFE: Duration = Duration::from_millis(300);
/// Which times they are; others are found by another number here.
const SEED: u64 = 0x1d87_2b41_a3c5_f60e;
/// Connections of each family that are held all the time.
const HELD: u8 = 120;

pub(crate) fn tests() -> Vec<Test> {
    vec![Test::new("two_hundred_deaths_at_random_times_cost_no_connection_and_no_client", deaths)]
}

fn deaths(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("lasting", &all_first_pods()))?;
    serve(lab, sticky(&first_pods([1, 2])))?;
    let mut held = Vec::new();
    for family in Family::BOTH {
        held.extend(hold(lab, frontend(lab, "lasting", family, Protocol::Tcp)?, HELD)?);
    }
    let crowd = crowd(lab)?;
    let start = Instant::now();
    let (mut asked, before) = (0, breaks(lab)?);
    let pods = crowd.keep_asking(|| {
        crowd.whole_round()?;
        let pods: Vec<_> = crowd.standings().into_iter().map(|user| user.pod).collect();
        asked = while_data_moves(&mut held, || {
            kill_and_start(lab)?;
            crowd.whole_round()
        })?;
        Ok(pods)
    })?;
    let seconds = start.elapsed().as_secs_f64();

    verified(lab, &nodes())?;
    let standings = crowd.standings();
    let mut counts = Counts::default();
    standings.iter().for_each(|user| counts += user.counts);
    println!("{DEATHS} deaths in {seconds:.1} s (seed {SEED:#x}): {counts:?}, held connections asked {asked} times");
    let moved = standings.iter().zip(&pods).filter(|(user, pod)| user.pod != **pod).count();
    let Counts { retried, unanswered, lost, .. } = counts;
    ensure!((moved, retried, unanswered, lost) == (0, 0, 0, 0), "{moved} users have another Pod; {counts:?}");
    ensure!(breaks(lab)? == before, "the ledger tells of breaks that nobody noticed");
    ensure!(asked > 2 * held.len(), "held connections were asked only {asked} times");
    ask_all(&mut held, "at the end")
}

/// Agents start and die, and things change meanwhile; in the end all run again.
fn kill_and_start(lab: &mut Lab) -> Result<()> {
    let mut random = SEED;
    nodes().into_iter().try_for_each(|node| lab.kill_agent(node))?;
    let mut dead = nodes().len();
    let mut round = 0;
    while dead < DEATHS {
        let mut ends: Vec<(Duration, u8)> = nodes().into_iter().map(|node| (life(&mut random), node)).collect();
        ends.sort_unstable();
        nodes().into_iter().try_for_each(|node| lab.launch_agent(node))?;
        let start = Instant::now();
        change(lab, round)?;
        for (life, node) in ends {
            // The time itself is what is to be tried.
            wait::let_pass(life.saturating_sub(start.elapsed()));
            lab.kill_agent(node)?;
            dead += 1;
        }
        round += 1;
    }
    lab.start_agents(&nodes())
}

/// A random time, the next one of an order that is always the same (xorshift).
fn life(random: &mut u64) -> Duration {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    let thousandths = u32::try_from(*random >> 32).unwrap_or_default() % 1_000;
    LIFE * thousandths / 1_000
}

/// Changes something, each round something else. No Pod goes that anybody is connected to, or held by.
fn change(lab: &mut Lab, round: usize) -> Result<()> {
    let (one, two) = (first_pods([1, 3]), first_pods([2, 3]));
    match round % 6 {
        0 => lab.put_service(ServiceSpec::new("churn", &one)),
        // Pods come to a Service with clients that are held, and go again: nobody is new, so nobody is at them.
        1 => lab.put_service(sticky(&all_first_pods())),
        2 => lab.put_service(ServiceSpec::new("churn", &two).with_affinity(60)),
        3 => lab.set_pod_state("p3-1", PodState::NotReady),
        4 => lab.put_service(sticky(&first_pods([1, 2]))),
        _ => {
            lab.set_pod_state("p3-1", PodState::Ready)?;
            lab.remove_service("churn")
        }
    }
}
