//! `limpet config` on the command line: the flags of the agent, of which none is required, and how to print.
//!
//! Values are shown as they were given, so none is read here: [`crate::config`] does that.

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::{AgentOptions, OutputOptions};

/// Arguments of `limpet config`.
#[derive(Debug)]
pub struct ConfigOptions {
    /// How to print it.
    pub output: OutputOptions,
}

impl FromArgMatches for ConfigOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { output: OutputOptions::from_arg_matches(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.output.update_from_arg_matches(matches)
    }
}

impl Args for ConfigOptions {
    fn augment_args(command: Command) -> Command {
        let command = AgentOptions::augment_args(command).mut_arg("node", |node| node.required(false));
        OutputOptions::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
