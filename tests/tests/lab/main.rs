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

use limpet_lab::Options;
use support::{Test, run_all};

fn main() -> ExitCode {
    run_all(Options::default(), tests())
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
