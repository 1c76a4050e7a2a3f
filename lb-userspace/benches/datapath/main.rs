//! What one packet costs: the real programs with real maps under `BPF_PROG_TEST_RUN`, as multiples of a program that
//! only returns, measured in the same run.
//!
//! Every row first checks that the program does to the frame what the host's build does, and afterwards that every
//! repeat ended with the reason that the row is about. Run by `cargo xtask bench datapath`, as root.

#![expect(clippy::unwrap_used, reason = "a bench ends at the first thing that is not as it should be")]

#[path = "../../tests/support/install.rs"]
mod install;
mod report;
mod rig;
mod rows;
mod world;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

use self::{report::Report, rig::Rig};

/// Measures what one packet costs in the datapath.
#[derive(Debug, Parser)]
#[command(
    name = "datapath",
    after_help = "Figures of one run can be compared with each other, not with another run's."
)]
struct Options {
    /// Also writes the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measurements of each row, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Only rows whose name contains this
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// `cargo bench` passes this.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut report = Report::new(Rig::floors(options.runs));
    for row in rows::all().filter(|row| row.name().contains(&options.only)) {
        report.add(Rig::measure(&row, options.runs));
    }
    if let Some(path) = &options.json
        && let Err(error) = std::fs::write(path, report.json())
    {
        eprintln!("cannot write {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
