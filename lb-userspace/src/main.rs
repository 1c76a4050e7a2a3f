//! The `limpet` command: parses the command line, hands it to the agent or to the inspection commands, and turns what
//! comes back into output and an exit code.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use lb_userspace::{
    agent,
    cli::{Cli, Command},
    inspect::{breaks, describe, detach, forget, get, skew, status, why},
};

fn main() -> ExitCode {
    let Cli { command, places } = Cli::parse();
    let said = match &command {
        Command::Agent(options) => {
            return agent::run(options).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS);
        }
        Command::Detach(options) => detach::run(options, &places),
        Command::Status(options) => status::run(options, &places),
        Command::Get(options) => get::run(options, &places),
        Command::Describe(options) => describe::run(options, &places),
        Command::Breaks(options) => breaks::run(options, &places),
        Command::Why(options) => why::run(options, &places),
        Command::Skew(options) => skew::run(options, &places),
        Command::Forget(options) => forget::run(options, &places),
    };
    said.and_then(|said| said.print().context("cannot write the output")).unwrap_or_else(|error| fail(&error))
}

/// Says what went wrong, with its causes, once.
fn fail(error: &anyhow::Error) -> ExitCode {
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        // Without a standard error there is nobody to tell.
        let _untold = usage.print();
        return ExitCode::from(2);
    }
    let _untold = writeln!(io::stderr(), "limpet: {error:#}");
    ExitCode::FAILURE
}
