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

use limpet_lab::Options;
use support::{Test, run_all};

fn main() -> ExitCode {
    let tests = [random::tests(), points::tests()].into_iter().flatten();
    run_all(Options::default(), tests.map(Test::without_leftovers).collect())
}
