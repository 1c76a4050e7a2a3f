//! What a contributor types: `cargo xtask setup | doctor | build | lint | test | demo | scenarios | soak |
//! fuzz | manifests | image | deny | bench`.
//!
//! This file only reads the arguments, calls the command and turns an error into a message and an exit
//! code. It never depends on another crate of the workspace: it builds them.

mod args;
mod bpf_object;
mod cargo;
mod commands;
mod failure;
mod fuzz;
mod image;
mod logged;
mod manifests;
mod progress;
mod project;
mod setup;
mod supply_chain;
mod test_runs;
mod tool;
mod version;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Command};
use crate::project::Project;

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(failure::exit_code(&error))
        }
    }
}

/// Runs one command and gives the exit code that it ends with.
fn run(command: Command) -> anyhow::Result<u8> {
    let project = Project::find()?;
    match command {
        Command::Setup => commands::setup(&project),
        Command::Doctor { output } => commands::doctor(&project, output),
        Command::Build { release } => commands::build(&project, release.into()),
        Command::Lint => commands::lint(&project),
        Command::Test { args } => commands::test(&project, &args),
        Command::Fuzz { targets, seconds } => commands::fuzz(&project, &targets, seconds),
        Command::Demo { keep, down } => commands::demo(&project, keep, down),
        Command::Scenarios { json } => commands::scenarios(&project, json.as_deref()),
        Command::Soak(soak) => commands::soak(&project, &soak),
        Command::Manifests { check } => commands::manifests(&project, check),
        Command::Image { tag, output } => commands::image(&project, tag.as_deref(), output.as_deref()),
        Command::Deny { offline } => commands::deny(&project, offline),
        Command::Bench(bench) => commands::bench(&project, &bench),
    }
}
