//! The session test: every scenario, one after the other, each in a lab of its own.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use limpet_lab::scenarios::{SCENARIOS, Scenario};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Two labs at once would be too slow for the deadlines of each.
    arguments.test_threads = Some(1);
    let trial = |scenario: &'static Scenario| {
        Trial::test(scenario.name.to_lowercase().replace(' ', "_"), move || numbers_agree(scenario))
    };
    libtest_mimic::run(&arguments, SCENARIOS.iter().map(trial).collect()).exit_code()
}

fn numbers_agree(scenario: &'static Scenario) -> Result<(), Failed> {
    let problems = scenario.play().problems();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n").into()) }
}
