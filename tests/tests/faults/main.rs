//! What goes wrong around Limpet, one fault after the other, on real packets: who need not feel it does not, an operator is
//! told what it is and what to do, and what was broken is mended without a restart.
//!
//! All tests share one lab whose agents read from an API server. Each mends what it broke.

mod api_server;
mod clock;
mod frozen;
mod full;
mod neighbours;
mod nodes;
mod pins;
mod programs;
mod ring;
#[path = "../lab/support.rs"]
#[expect(dead_code, reason = "shared with the tests of the lab, which use more of it")]
mod support;
mod uplinks;
#[path = "../lab/affinity/visitors.rs"]
#[expect(dead_code, reason = "shared with the tests of affinity, which use more of it")]
mod visitors;

use std::process::ExitCode;

use limpet_lab::{Options, Source};
use support::{Test, run_all};

fn main() -> ExitCode {
    let tests = tests().into_iter().map(Test::without_leftovers).collect();
    run_all(Options { source: Source::ApiServer, ..Options::default() }, tests)
}

/// All tests, in the order in which they run: those that start agents anew come last.
fn tests() -> Vec<Test> {
    [
        api_server::tests(),
        uplinks::tests(),
        nodes::tests(),
        neighbours::tests(),
        frozen::tests(),
        programs::tests(),
        pins::tests(),
        clock::tests(),
        full::tests(),
        ring::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
