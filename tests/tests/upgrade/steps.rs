//! Agents that die at a step of taking over, each step in its turn; the next agent goes on, or back.

use std::os::unix::process::ExitStatusExt;
use std::time::Instant;

use anyhow::{Result, ensure};
use limpet_lab::{Lab, Layout};

use crate::endurance::nodes;
use crate::{OTHER_LIMITS, unnoticed};

/// By which a debug build of the agent is told where to die, and the name of the steps there.
const FAIL_POINT: &str = "LIMPET_FAIL_POINT";
const STEP: &str = "take-over";
/// What SIGKILL is called where a process says how it ended.
const SIGKILL: i32 = 9;
/// A take-over has at least so many steps.
const LEAST_STEPS: usize = 8;

/// What runs on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Usual,
    OtherLayout,
    OtherLimits,
}

impl Version {
    fn launch(self, lab: &mut Lab, node: u8, step: Option<usize>) -> Result<()> {
        let (layout, flags) = match self {
            Self::Usual => (Layout::Usual, [].as_slice()),
            Self::OtherLayout => (Layout::Other, [].as_slice()),
            Self::OtherLimits => (Layout::Usual, OTHER_LIMITS.as_slice()),
        };
        lab.use_layout(&[node], layout)?;
        let point = step.map(|step| format!("{STEP}:{step}"));
        let variables: Vec<(&str, &str)> = point.iter().map(|point| (FAIL_POINT, point.as_str())).collect();
        lab.launch_agent_with(node, flags, &variables)
    }
}

pub(crate) fn another_layout(lab: &mut Lab) -> Result<()> {
    let outcome = unnoticed(lab, |lab| die_at_every_step(lab, Version::OtherLayout));
    lab.use_layout(&nodes(), Layout::Usual)?;
    outcome
}

pub(crate) fn other_limits(lab: &mut Lab) -> Result<()> {
    unnoticed(lab, |lab| die_at_every_step(lab, Version::OtherLimits))
}

/// On each node in turn the next step is deadly, until nobody comes so far. Whatever runs then is replaced by the other.
fn die_at_every_step(lab: &mut Lab, other: Version) -> Result<()> {
    let mut running = [Version::Usual; 3];
    let (mut steps, mut deaths, mut round) = (0, 0, 0);
    let start = Instant::now();
    loop {
        let mut died = Vec::new();
        for (node, now) in nodes().into_iter().zip(running) {
            lab.stop_agent(node)?;
            steps += 1;
            next(now, other).launch(lab, node, Some(steps))?;
        }
        for (at, node) in nodes().into_iter().enumerate() {
            match lab.wait_until_in_step_or_ended(node)? {
                Some(status) => {
                    println!("{:6.1} s: an agent died on n{node}", start.elapsed().as_secs_f64());
                    ensure!(status.signal() == Some(SIGKILL), "the agent on n{node} {status}");
                    died.push((at, node));
                }
                None => running[at] = next(running[at], other),
            }
        }
        deaths += died.len();
        for (at, node) in &died {
            // On, or back: in turn.
            if (at + round) % 2 == 0 {
                running[*at] = next(running[*at], other);
            }
            running[*at].launch(lab, *node, None)?;
        }
        died.iter().try_for_each(|(_, node)| lab.wait_until_in_step(*node))?;
        println!("{:6.1} s: round {round} of steps to {steps}: all in step again", start.elapsed().as_secs_f64());
        round += 1;
        if died.is_empty() {
            break;
        }
    }
    println!("{deaths} agents died at a step of their own");
    ensure!(deaths >= LEAST_STEPS, "only {deaths} agents died: there are more steps than that");
    for node in nodes() {
        lab.stop_agent(node)?;
        Version::Usual.launch(lab, node, None)?;
    }
    nodes().into_iter().try_for_each(|node| lab.wait_until_in_step(node))
}

fn next(now: Version, other: Version) -> Version {
    if now == other { Version::Usual } else { other }
}
