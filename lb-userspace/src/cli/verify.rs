//! `limpet verify` on the command line.

use clap::Args;

use super::OutputOptions;

/// Flags of `limpet verify`.
#[derive(Debug, Args)]
pub struct VerifyOptions {
    /// Put right what is different
    #[arg(long)]
    pub repair: bool,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputOptions,
}
