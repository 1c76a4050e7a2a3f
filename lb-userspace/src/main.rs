//! The `limpet` command: reads the settings, hands them to the agent or to one of the other commands, and turns what
//! comes back into output and an exit code. Called `kubectl-limpet` it is the plugin that asks a whole cluster.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use lb_userspace::{
    agent,
    cli::{Command, Plugin},
    config::{self, Parsed, Refused},
    inspect::{Said, breaks, describe, detach, forget, get, mount_bpffs, skew, status, verify, why},
    kubectl, pages, privileges,
};

/// The exit code for wrong usage.
const WRONG_USAGE: u8 = 2;

pub(crate) fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let done = if kubectl::is_plugin(&arguments) { plugin(&arguments) } else { limpet(&arguments) };
    done.unwrap_or_else(|error| fail(&error))
}

fn plugin(arguments: &[OsString]) -> Result<ExitCode> {
    let (plugin, matches) = Plugin::parse(arguments)?;
    print(kubectl::run(&plugin, &matches)?)
}

fn limpet(arguments: &[OsString]) -> Result<ExitCode> {
    let variables: Vec<_> = env::vars_os().collect();
    let Parsed { cli, matches, settings, notes } = config::read(arguments, &variables)?;
    for note in notes {
        // Without a standard error there is nobody to tell.
        let _untold = writeln!(io::stderr(), "limpet: {note}");
    }
    let places = &cli.places;
    let said = match &cli.command {
        Command::Agent(options) => {
            privileges::give_up_all_others()?;
            agent::run(options)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Config(options) => return print(config::show::run(options, &settings)?),
        Command::Kubectl(plugin) => {
            let matches = matches.subcommand_matches("kubectl").unwrap_or(&matches);
            return print(kubectl::run(plugin, matches)?);
        }
        Command::Completion(options) => pages::completion(options)?,
        Command::Man(options) => pages::man(options)?,
        Command::Detach(options) => detach::run(options, places)?,
        Command::MountBpffs(options) => mount_bpffs::run(options)?,
        Command::Verify(options) => return print(verify::run(options, places)?),
        Command::Status(options) => status::run(options, places)?,
        Command::Get(options) => get::run(options, places)?,
        Command::Describe(options) => describe::run(options, places)?,
        Command::Breaks(options) => breaks::run(options, places)?,
        Command::Why(options) => why::run(options, places)?,
        Command::Skew(options) => skew::run(options, places)?,
        Command::Forget(options) => forget::run(options, places)?,
    };
    said.print().context("cannot write the output")
}

/// Prints, and ends with this code.
fn print((said, code): (Said, u8)) -> Result<ExitCode> {
    said.print().context("cannot write the output")?;
    Ok(ExitCode::from(code))
}

/// Says what went wrong, with its causes, once.
fn fail(error: &anyhow::Error) -> ExitCode {
    let usage = match error.downcast_ref::<Refused>() {
        Some(Refused::Usage(usage)) => Some(usage),
        Some(refused @ Refused::Settings(_)) => {
            let _untold = writeln!(io::stderr(), "{refused}");
            return ExitCode::from(WRONG_USAGE);
        }
        None => error.downcast_ref(),
    };
    if let Some(usage) = usage {
        // Without a standard error there is nobody to tell.
        let _untold = usage.print();
        return ExitCode::from(if usage.use_stderr() { WRONG_USAGE } else { 0 });
    }
    let _untold = writeln!(io::stderr(), "limpet: {error:#}");
    ExitCode::FAILURE
}
