//! The session test: users who are logged in keep asking while one thing happens to the lab.
//!
//! For each scenario three numbers are found in three ways, and must be one: how many sessions the
//! users *lost* (counted by them), how many *had to be lost* (from where each session was, and which
//! Pods went), and how many breaks the *ledger* of the nodes has more than before. What must hold
//! besides is in [`Measured::problems`].

mod fleets;
pub(crate) mod ledger;
mod nodes;
mod pods;
mod print;
mod stage;
mod tally;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

use stage::Stage;
pub use tally::{Expected, Losses, Measured, Reasons};

/// One thing that happens.
pub struct Scenario {
    /// What it is, in a few words.
    pub name: &'static str,
    /// What is done, in a sentence.
    pub what: &'static str,
    /// What should come of it.
    pub expected: Expected,
    /// Nodes and names of the Pods behind the Service in the beginning.
    pods: &'static [(u8, &'static str)],
    script: fn(&mut Stage<'_>) -> Result<()>,
}

/// A scenario that was played: what was counted, or why it could not be done.
pub struct Played {
    /// Which it was.
    pub scenario: &'static Scenario,
    /// What came of it.
    pub outcome: Result<Measured>,
}

/// A Pod on each node.
const THREE: &[(u8, &str)] = &[(1, "shop-0"), (2, "shop-1"), (3, "shop-2")];
/// Two Pods on the node that is drained, so that what is left has room for their users.
const FOUR: &[(u8, &str)] = &[(1, "shop-0"), (2, "shop-1"), (2, "shop-2"), (3, "shop-3")];
/// None on the ingress node, with which they would die.
const BEHIND: &[(u8, &str)] = &[(2, "shop-0"), (2, "shop-1"), (3, "shop-2"), (3, "shop-3")];

const NOBODY_GOES: Expected = Expected { pods_go: false, reasons: &[] };
const PODS_GO: Expected = Expected { pods_go: true, reasons: &["draining"] };
const UNREADY: Expected = Expected { pods_go: true, reasons: &["not-ready"] };

/// All scenarios.
pub static SCENARIOS: [Scenario; 10] = [
    Scenario {
        name: "agent killed and restarted",
        what: "A Pod joins, so that some clients are held elsewhere than the table says; then the agent of the ingress \
               node is killed, and started again.",
        expected: NOBODY_GOES,
        pods: THREE,
        script: nodes::agent_killed,
    },
    Scenario {
        name: "agent upgraded",
        what: "A Pod joins, as above; then the agent of the ingress node is asked to end, and another copy of the \
               program takes over its maps.",
        expected: NOBODY_GOES,
        pods: THREE,
        script: nodes::agent_upgraded,
    },
    Scenario {
        name: "half through another node",
        what: "The router sends half of the clients through a second node, then through a third, then through the \
               first again.",
        expected: NOBODY_GOES,
        pods: THREE,
        script: nodes::half_through_another_node,
    },
    Scenario {
        name: "ingress node dies",
        what: "The ingress node, which has no Pods of the Service, is cut off, its agent killed, and all clients arrive \
               at another node.",
        expected: NOBODY_GOES,
        pods: BEHIND,
        script: nodes::ingress_node_dies,
    },
    Scenario {
        name: "readiness flaps",
        what: "A Pod is not ready for a second. Kubernetes gives an unready Pod no new connections, so its clients \
               must move; they stay where they moved to.",
        expected: UNREADY,
        pods: THREE,
        script: pods::readiness_flaps,
    },
    Scenario {
        name: "container restarts in place",
        what: "A Pod's server process dies and comes back in the same Pod, which is not ready meanwhile.",
        expected: UNREADY,
        pods: THREE,
        script: pods::container_restarts,
    },
    Scenario {
        name: "StatefulSet Pod replaced",
        what: "A Pod terminates, and comes back under its name on another node, with another address. Half of its \
               clients ask while it is away; the others do not, and must be its clients again.",
        expected: Expected { pods_go: true, reasons: &["draining", "backend-gone"] },
        pods: THREE,
        script: pods::stateful_pod_replaced,
    },
    Scenario {
        name: "scale 3 to 8 to 3",
        what: "Five Pods join. Then one of the first three terminates, and then four of the new ones, which have its \
               clients by now.",
        expected: PODS_GO,
        pods: THREE,
        script: fleets::scaled_up_and_down,
    },
    Scenario {
        name: "rolling replacement",
        what: "Every Pod is replaced, one after the other: a new one joins, an old one terminates. Who was moved to an \
               old Pod is moved again.",
        expected: PODS_GO,
        pods: THREE,
        script: fleets::all_replaced,
    },
    Scenario {
        name: "node drained",
        what: "All Pods of a node terminate at once, and others join elsewhere.",
        expected: PODS_GO,
        pods: FOUR,
        script: fleets::node_drained,
    },
];

impl Scenario {
    /// Plays it in a lab of its own.
    pub fn play(&'static self) -> Played {
        Played { scenario: self, outcome: stage::play(self.pods, self.script) }
    }
}

impl Played {
    /// Everything that is not as it must be; nothing when the numbers agree.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        match &self.outcome {
            Ok(measured) => measured.problems(self.scenario.expected),
            Err(error) => vec![format!("it could not be done: {error:#}")],
        }
    }

    /// Whether the numbers agree.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.problems().is_empty()
    }
}

/// Plays all scenarios and prints a table, to files as well where they are given.
///
/// Ends with the line `scenarios: N of N agree, L lost, L unavoidable`. The exit code is 1 when one does not agree.
pub fn run(json: Option<&Path>, markdown: Option<&Path>) -> Result<ExitCode> {
    let mut played = Vec::new();
    for (number, scenario) in (1..).zip(&SCENARIOS) {
        let of = SCENARIOS.len();
        eprintln!("{number} of {of}: {} ...", scenario.name);
        let start = Instant::now();
        let one = scenario.play();
        for problem in one.problems() {
            eprintln!("    {problem}");
        }
        let how = if one.agrees() { "agrees" } else { "DISAGREES" };
        eprintln!("{number} of {of}: {} {how} ({:.1} s)", scenario.name, start.elapsed().as_secs_f64());
        played.push(one);
    }
    print!("{}{}", print::table(&played), print::retries(&played));
    if let Some(file) = json {
        write(file, &print::json(&played)?)?;
    }
    if let Some(file) = markdown {
        write(file, &print::markdown(&played))?;
    }
    println!("\n{}", print::closing_line(&played));
    Ok(exit_code(&played))
}

fn exit_code(played: &[Played]) -> ExitCode {
    if played.iter().all(Played::agrees) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes a file, and makes its directory where there is none.
pub(crate) fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn played(outcome: Result<Measured>) -> Played {
        Played { scenario: &SCENARIOS[0], outcome }
    }

    #[test]
    fn one_wrong_row_makes_the_exit_code_1() {
        let fine = || played(Ok(Measured { clients: 300, ..Measured::default() }));
        let made_up = Measured { clients: 300, ledger: [("evicted".to_owned(), 1)].into(), ..Measured::default() };
        // Exit codes can be compared by what they print only.
        let code = |played: &[Played]| format!("{:?}", exit_code(played));
        let check = |played: Vec<Played>, expected| assert_eq!(code(&played), format!("{expected:?}"));
        check(vec![fine(), fine()], ExitCode::SUCCESS);
        check(vec![fine(), played(Ok(made_up))], ExitCode::FAILURE);
        check(vec![played(Err(anyhow!("no root"))), fine()], ExitCode::FAILURE);
    }

    #[test]
    fn names_are_different_and_pods_enough() {
        let names: std::collections::BTreeSet<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        assert!(SCENARIOS.iter().all(|scenario| scenario.pods.len() >= 3));
    }
}
