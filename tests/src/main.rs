//! `limpet-lab`: the demo, the scenarios, and the processes that a lab consists of.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use limpet_lab::{Lab, Options, demo, janitor, launch, scenarios, server, soak};

/// Limpet's network lab.
#[derive(Debug, Parser)]
#[command(name = "limpet-lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show Limpet at work in a lab of its own.
    Demo(DemoArguments),
    /// Count lost sessions while agents, nodes and Pods go and come, each time in a lab of its own.
    Scenarios(ScenariosArguments),
    /// Let everything happen at once for minutes, and explain every error, in a lab of its own.
    Soak(SoakArguments),
    /// Hold a lab without agents, whose id is printed, until the standard input ends (for tests).
    #[command(hide = true)]
    Hold,
    /// Serve as a Pod does (started by the lab).
    #[command(hide = true)]
    Serve {
        /// The name to answer with.
        #[arg(long)]
        pod: String,
    },
    /// Take a lab down when its owner is gone (started by the lab).
    #[command(hide = true)]
    Janitor {
        /// The record of what the lab made.
        #[arg(long)]
        record: PathBuf,
    },
    /// Wait for the owner's word, then become another program (started by the lab).
    #[command(hide = true)]
    Launch {
        /// What to become.
        program: PathBuf,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct DemoArguments {
    /// Leave the lab up and say how to look around in it.
    #[arg(long)]
    keep: bool,
    /// End all labs that were kept or left behind, and do nothing else.
    #[arg(long, conflicts_with = "keep")]
    down: bool,
}

#[derive(Debug, Args)]
struct ScenariosArguments {
    /// Write the numbers to this file as well, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page about them to this file as well.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct SoakArguments {
    /// For how long, in minutes; 0.5 is half a minute.
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    minutes: f64,
    /// What the choices of changes follow from.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Write the report to this file as well, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report to this file as well, as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo(DemoArguments { down: true, .. }) => demo::down()?,
        Command::Demo(DemoArguments { keep, .. }) => return demo::run(keep),
        Command::Scenarios(ScenariosArguments { json, markdown }) => {
            return scenarios::run(json.as_deref(), markdown.as_deref());
        }
        Command::Soak(SoakArguments { minutes, seed, json, markdown }) => {
            let length = Duration::try_from_secs_f64(minutes * 60.0).context("--minutes is no length of time")?;
            return soak::run(&soak::Options { length, seed, json, markdown });
        }
        Command::Hold => hold()?,
        Command::Serve { pod } => server::serve(&pod)?,
        Command::Janitor { record } => janitor::run(&record)?,
        Command::Launch { program, arguments } => {
            launch::wait_and_become(&program, &arguments)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn hold() -> Result<()> {
    let lab = Lab::start(Options { agents: false, ..Options::default() })?;
    println!("{}", lab.id());
    io::stdin().read_to_end(&mut Vec::new()).context("cannot read the standard input")?;
    lab.end()
}
