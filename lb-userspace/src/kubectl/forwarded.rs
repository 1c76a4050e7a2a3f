//! What of the plugin's command line is told to the nodes: the question itself, as it was said.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};

/// Flags that say how the plugin prints; nodes answer in forms of its own.
const OF_OUTPUT: [&str; 3] = ["format", "no_headers", "cells"];
/// Flags of `limpet` that say where things are on a node; the others stand beside the plugin.
const OF_PLACES: [(&str, &str); 2] = [("pin_dir", "--pin-dir"), ("socket", "--socket")];

/// The arguments of `limpet` on a node: the commands first, then their flags, then `--` and what has no flag.
///
/// `command` is what `matches` were parsed with; `flags` go before those that were said.
pub(super) fn arguments(command: &Command, matches: &ArgMatches, flags: Vec<OsString>) -> Vec<OsString> {
    let mut command = command.clone();
    command.build();
    let own: Vec<&str> = command.get_arguments().map(|argument| argument.get_id().as_str()).collect();
    let mut said = Said { flags, ..Said::default() };
    for (id, flag) in OF_PLACES {
        if matches.ids().any(|known| known == id) && is_said(matches, id) {
            said.flags.extend(values(matches, id).map(|value| join(flag, value)));
        }
    }
    let mut level = (&command, matches);
    while let Some((name, matches)) = level.1.subcommand() {
        let Some(command) = level.0.find_subcommand(name) else { break };
        said.commands.push(command.get_name().into());
        level = (command, matches);
        for argument in command.get_arguments() {
            let id = argument.get_id().as_str();
            // What is global is known to all commands below, and is told by the last one.
            let is_told_below = argument.is_global_set() && matches.subcommand().is_some();
            if !own.contains(&id) && !OF_OUTPUT.contains(&id) && !is_told_below && is_said(matches, id) {
                said.argument(argument, matches);
            }
        }
    }
    said.into_arguments()
}

/// Parts of a command line.
#[derive(Default)]
struct Said {
    commands: Vec<OsString>,
    flags: Vec<OsString>,
    positional: Vec<OsString>,
}

impl Said {
    fn argument(&mut self, argument: &Arg, matches: &ArgMatches) {
        let values = values(matches, argument.get_id().as_str());
        let Some(long) = argument.get_long() else {
            self.positional.extend(values.map(OsStr::to_owned));
            return;
        };
        let flag = format!("--{long}");
        if matches!(argument.get_action(), ArgAction::SetTrue) {
            self.flags.push(flag.into());
        } else {
            self.flags.extend(values.map(|value| join(&flag, value)));
        }
    }

    fn into_arguments(self) -> Vec<OsString> {
        let separator = (!self.positional.is_empty()).then(|| "--".into());
        self.commands.into_iter().chain(self.flags).chain(separator).chain(self.positional).collect()
    }
}

fn is_said(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

fn values<'a>(matches: &'a ArgMatches, id: &str) -> impl Iterator<Item = &'a OsStr> {
    matches.get_raw(id).into_iter().flatten()
}

fn join(flag: &str, value: &OsStr) -> OsString {
    let mut joined = OsString::from(flag);
    joined.push("=");
    joined.push(value);
    joined
}
