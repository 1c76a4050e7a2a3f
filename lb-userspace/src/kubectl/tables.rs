//! Puts the answers of nodes together.

mod breaks;
mod forget;
mod rows;
mod status;
mod texts;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{
    Form,
    ask::{Answers, Unreachable},
};
use crate::{
    cli::{Format, OutputOptions, Plugin, Question},
    inspect::output::{self, NOTHING_THERE},
};

/// What there is to show.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// For standard output.
    pub text: String,
    /// Whether what the nodes said is well.
    pub is_well: bool,
}

/// All answers as `output` says, and below them the nodes without one.
///
/// # Errors
/// When an answer is not what this version understands.
pub(super) fn show(plugin: &Plugin, output: &OutputOptions, form: Form, answers: &Answers) -> Result<Shown> {
    if output.format == Format::Json {
        let is_well = answers.answers.iter().all(|answer| answer.is_well);
        return Ok(Shown { text: output::json(&document(answers))?, is_well });
    }
    let mut shown = match (&plugin.question, form) {
        (Question::Status(_), _) => status::show(answers, output)?,
        (Question::Breaks(_), _) => breaks::show(answers, output)?,
        (Question::Forget(_), _) => forget::show(answers, output)?,
        (_, Form::Cells) => rows::show(answers, output, plugin.cluster.merge)?,
        (_, Form::Text | Form::Json) => texts::show(answers),
    };
    if !answers.unreachable.is_empty() {
        if !shown.text.is_empty() {
            shown.text += "\n";
        }
        shown.text += &unreachable(&answers.unreachable);
    }
    Ok(shown)
}

fn document(answers: &Answers) -> Value {
    let nodes: Map<String, Value> =
        answers.answers.iter().map(|answer| (answer.node.clone(), answer.value.clone())).collect();
    json!({ "nodes": nodes, "unreachable": answers.unreachable })
}

/// The nodes that did not answer. Has its header in any case: without one it would look like answers.
fn unreachable(nodes: &[Unreachable]) -> String {
    let row = |it: &Unreachable| {
        vec![it.node.clone(), it.pod.clone().unwrap_or_else(|| NOTHING_THERE.to_owned()), it.reason.clone()]
    };
    output::table(&["UNREACHABLE", "POD", "REASON"], nodes.iter().map(row))
}

/// The first cell of each table.
const NODE: &str = "NODE";

/// The header, or none where none is wanted.
fn header<'a>(names: &[&'a str], output: &OutputOptions) -> Vec<&'a str> {
    if output.no_headers { Vec::new() } else { names.to_vec() }
}
