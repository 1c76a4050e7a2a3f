//! Settings: the command line, the environment, a file and the defaults become one [`Cli`], once.
//!
//! The flags of `limpet agent` are the only list of settings. What the file says becomes the flags' defaults before the
//! command line is parsed, so the precedence is clap's own: command line, environment, file, default.

mod contradictions;
mod file;
mod refused;
mod setting;
pub mod show;
mod variables;

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use self::file::File;
pub use self::{
    refused::{Problem, Refused},
    setting::{Known, Origin, Setting},
};
use crate::cli::{self, AgentOptions, Cli};

/// Commands that take all settings of the agent; the others take only where this node's things are.
const WITH_ALL_SETTINGS: [&str; 2] = ["agent", "config"];
/// Commands that are about no agent on this node, and read neither variables nor the file.
const WITHOUT_SETTINGS: [&str; 4] = ["completion", "kubectl", "man", "mount-bpffs"];

/// What was said.
#[derive(Debug)]
pub struct Parsed {
    /// The command with all of its options.
    pub cli: Cli,
    /// What clap read.
    pub matches: ArgMatches,
    /// The agent's settings with where each came from; none for commands without them.
    pub settings: Vec<Setting>,
    /// What is doubtful, a line each.
    pub notes: Vec<String>,
}

/// Reads the command line `arguments`, with the program's name first, with these environment `variables`.
///
/// clap reads the values of the variables that flags have itself.
///
/// # Errors
/// Wrong usage, of which all that is wrong in the file or the environment is said at once; also where help or the version
/// is asked for.
pub fn read(arguments: &[OsString], variables: &[(OsString, OsString)]) -> Result<Parsed, Refused> {
    let known = known();
    let first = match without_requirements(Cli::command()).try_get_matches_from(arguments) {
        Ok(first) => first,
        // Help says what is required.
        Err(error) if !error.use_stderr() => {
            return Err(parse(Cli::command(), arguments).err().unwrap_or(error.into()));
        }
        Err(error) => return Err(variables::name_variable(error, &known, arguments, variables)),
    };
    let command = first.subcommand_name().unwrap_or_default();
    if WITHOUT_SETTINGS.contains(&command) {
        let (matches, cli) = parse(Cli::command(), arguments)?;
        return Ok(Parsed { cli, matches, settings: Vec::new(), notes: Vec::new() });
    }
    let is_about_all = WITH_ALL_SETTINGS.contains(&command);

    let mut notes = Vec::new();
    let mut problems = variables::unknown(&known, variables);
    if !is_about_all {
        notes.extend(problems.drain(..).map(|problem| problem.to_string()));
    }
    let path = first.get_one::<PathBuf>("config");
    let file = path.map(|path| file::read(path, &known)).transpose()?.unwrap_or_default();
    problems.extend(file.problems.iter().cloned());
    Refused::unless_empty(problems)?;

    let (matches, cli) = parse(with_defaults(Cli::command(), &file), arguments)?;
    let settings = match matches.subcommand() {
        Some((_, matches)) if is_about_all => setting::effective(&known, matches, &file),
        _ => Vec::new(),
    };
    if let cli::Command::Agent(options) = &cli.command {
        Refused::unless_empty(contradictions::find(options, &settings))?;
    } else if let Some(("config", matches)) = matches.subcommand()
        && let Ok(options) = AgentOptions::from_arg_matches(matches)
    {
        Refused::unless_empty(contradictions::find(&options, &settings))?;
    }
    Ok(Parsed { cli, matches, settings, notes })
}

fn parse(command: Command, arguments: &[OsString]) -> Result<(ArgMatches, Cli), Refused> {
    let mut command = command;
    let matches = command.try_get_matches_from_mut(arguments)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    Ok((matches, cli))
}

/// The same command line, with all that may still stand in the file.
fn without_requirements(command: Command) -> Command {
    command.mut_subcommand("agent", |agent| agent.mut_arg("node", |node| node.required(false)))
}

/// The same command line, with what the file says as the defaults.
fn with_defaults(command: Command, file: &File) -> Command {
    let with = |command: Command| {
        let mut command = command;
        for entry in &file.entries {
            if command.get_arguments().any(|argument| argument.get_id() == entry.id.as_str()) {
                command = command.mut_arg(&entry.id, |argument| {
                    argument.required(false).default_values(entry.values.iter().map(OsString::from))
                });
            }
        }
        command
    };
    let mut command = with(command);
    for name in WITH_ALL_SETTINGS {
        command = command.mut_subcommand(name, with);
    }
    command
}

/// The settings of the agent, in the order of its help.
pub fn known() -> Vec<Known> {
    setting::known(&Cli::command())
}
