//! The plugin of kubectl: asks every node of a cluster what `limpet` says there, and prints one table.
//!
//! It is no client of the API server. The user's own `kubectl` finds the Pods ([`pods`]) and carries each question into
//! one ([`ask`], [`process`]), so that context, credentials and rights are theirs. [`tables`] puts the answers together.

mod ask;
mod forwarded;
mod pods;
mod process;
mod tables;

use std::{ffi::OsString, path::Path};

use anyhow::Result;
use clap::{ArgMatches, error::ErrorKind};

use self::{ask::Kubectl, tables::Shown};
use crate::{
    cli::{Format, OutputOptions, Plugin, Question},
    inspect::Said,
};

/// What kubectl looks for in the PATH.
const PLUGIN: &str = "kubectl-limpet";
/// Some nodes did not answer.
const INCOMPLETE: u8 = 5;

/// Whether the program is called as kubectl calls its plugins.
pub fn is_plugin(arguments: &[OsString]) -> bool {
    let name = arguments.first().and_then(|program| Path::new(program).file_stem());
    // kubectl wants `_` in the name of a file where the command has `-`.
    name.and_then(|name| name.to_str()).is_some_and(|name| name.replace('_', "-") == PLUGIN)
}

/// How a node is asked to answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// As JSON.
    Json,
    /// As the cells of a table.
    Cells,
    /// As text for people.
    Text,
}

/// Carries the command out; says with which code to end.
///
/// # Errors
/// Wrong usage, or when no node can be asked at all.
pub fn run(plugin: &Plugin, matches: &ArgMatches) -> Result<(Said, u8)> {
    refuse_what_asks(&plugin.question)?;
    let output = output(&plugin.question);
    let form = form(&plugin.question, output.format);
    let question = forwarded::arguments(&Plugin::command(), matches, form_flags(form, output.format));
    let kubectl = Kubectl::new(&plugin.cluster);
    let mut found = pods::find(&kubectl, &plugin.cluster)?;
    let mut answers = ask::all(&kubectl, &plugin.cluster, &found.pods, &question, form);
    answers.unreachable.append(&mut found.unreachable);
    answers.sort();

    let shown = tables::show(plugin, &output, form, &answers)?;
    let code = match (answers.unreachable.is_empty(), shown.is_well) {
        (false, _) => INCOMPLETE,
        (true, true) => 0,
        (true, false) => 1,
    };
    let Shown { text, .. } = shown;
    let notes = found.notes.into_iter().chain(answers.notes()).collect();
    Ok((Said { text, notes, unwell: false }, code))
}

/// Refuses what would ask or go on for ever on a node.
fn refuse_what_asks(question: &Question) -> Result<(), clap::Error> {
    let wrong = |kind, message: &str| Err(Plugin::command().error(kind, message));
    match question {
        Question::Breaks(options) if options.watch => wrong(
            ErrorKind::ArgumentConflict,
            "--watch follows one node: `kubectl exec -it POD -- limpet breaks --watch`; --since tells the latest of all",
        ),
        Question::Forget(options) if !options.yes && !options.dry_run => wrong(
            ErrorKind::MissingRequiredArgument,
            "clients are forgotten at all nodes, and nobody is asked in between: say --yes, or --dry-run to see who that is",
        ),
        _ => Ok(()),
    }
}

fn output(question: &Question) -> OutputOptions {
    match question {
        Question::Status(options) => options.output.clone(),
        Question::Get(options) => options.output.clone(),
        Question::Describe(options) => options.output.clone(),
        Question::Breaks(options) => options.output.clone(),
        Question::Why(options) => options.output.clone(),
        Question::Skew(options) => options.output.clone(),
        Question::Forget(options) => options.output.clone(),
    }
}

fn form(question: &Question, format: Format) -> Form {
    match (format, question) {
        (Format::Json, _) => Form::Json,
        (_, Question::Status(_) | Question::Breaks(_) | Question::Forget(_)) => Form::Json,
        (_, Question::Get(_)) => Form::Cells,
        (_, Question::Describe(_) | Question::Why(_) | Question::Skew(_)) => Form::Text,
    }
}

fn form_flags(form: Form, format: Format) -> Vec<OsString> {
    let wide: &[&str] = if format == Format::Wide { &["--output=wide"] } else { &[] };
    let flags = match form {
        Form::Json => vec!["--output=json"],
        Form::Cells => [&["--cells"], wide].concat(),
        Form::Text => wide.to_vec(),
    };
    flags.into_iter().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_known_by_its_name() {
        let cases = [
            ("kubectl-limpet", true),
            ("/usr/local/bin/kubectl-limpet", true),
            ("kubectl_limpet", true),
            ("limpet", false),
            ("/opt/kubectl-limpet/limpet", false),
            ("", false),
        ];
        for (name, expected) in cases {
            assert_eq!(is_plugin(&[name.into()]), expected, "{name}");
        }
        assert!(!is_plugin(&[]));
    }
}
