//! Agents that die: at every step of what they do, and at random times under load. Whatever is cut off, the next agent
//! finishes; by `limpet verify` the maps are then what they should be, and no connection and no client has noticed.
//!
//! One lab, with an agent on every node: what runs at once dies on three nodes.

#[path = "../lab/endurance.rs"]
mod endurance;
mod points;
mod random;
#[path = "../lab/support.rs"]
#[expect(dead_code, reason = "shared with the tests of the lab, which use more of it")]
mod support;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use limpet_lab::Options;
use support::{SharedLab, Test, without_leftovers};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let lab = Arc::new(SharedLab::of(Options::default()));
    let tests = [random::tests(), points::tests()].into_iter().flatten();
    let trials = tests
        .map(|Test { name, run }| {
            let lab = Arc::clone(&lab);
            Trial::test(name, move || lab.run(Box::new(move |lab| without_leftovers(lab, run))))
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Err(error) = lab.end() {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
