//! Limpet on real packets: what runs in the lab with an agent on every node.
//!
//! All tests share one lab, one after the other. Each has Services of its own, so that none
//! depends on what another did. `ingress` is node 1 unless a test says otherwise.

mod affinity;
mod agent_death;
mod detach;
mod frontends;
mod input;
mod kubernetes;
mod pods;
mod spread;
mod support;
mod transfer;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use limpet_lab::Options;
use support::{SharedLab, Test};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let lab = Arc::new(SharedLab::of(Options::default()));
    let trials = tests()
        .into_iter()
        .map(|Test { name, run }| {
            let lab = Arc::clone(&lab);
            Trial::test(name, move || lab.run(run))
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Err(error) = lab.end() {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// All tests, in the order in which they run: the ones that take most away come last.
fn tests() -> Vec<Test> {
    [
        frontends::tests(),
        transfer::tests(),
        spread::tests(),
        pods::tests(),
        affinity::tests(),
        kubernetes::tests(),
        input::tests(),
        agent_death::tests(),
        detach::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
