//! How the commands print.

use clap::{Args, ValueEnum};

/// How to print.
#[derive(Clone, Debug, Default, Args)]
pub struct OutputOptions {
    /// How to print
    #[arg(short = 'o', long = "output", global = true, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    pub format: Format,
    /// Tables without their first line
    #[arg(long, global = true)]
    pub no_headers: bool,
    /// For a program that joins the tables of several nodes: one JSON object of `header` and `rows`
    #[arg(long, global = true, hide = true)]
    pub cells: bool,
}

/// Formats of output.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For people, with all there is
    Wide,
    /// For programs: one document
    Json,
}
