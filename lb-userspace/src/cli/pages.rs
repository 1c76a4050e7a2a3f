//! `limpet completion` and `limpet man` on the command line.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// Arguments of `limpet completion`.
#[derive(Debug, Args)]
pub struct CompletionOptions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// Arguments of `limpet man`.
#[derive(Debug, Args)]
pub struct ManOptions {
    /// Write the pages of all commands into this directory, which is made [default: limpet(1) to standard output]
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}
