//! `kubectl limpet status`: a line for each node, and below what is wrong.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{
    super::ask::{Answers, names},
    NODE, Shown, header,
};
use crate::{
    cli::{Format, OutputOptions},
    inspect::output::{self, NOTHING_THERE, age, list},
    source::{Problem, Severity},
};

/// What of a node's status is shown. What another version does not say is left empty.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    agent: Agent,
    datapath: Datapath,
    problems: Vec<Problem>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Agent {
    alive: bool,
    in_step: bool,
    version: Option<String>,
    uptime_seconds: Option<u64>,
    source: Option<Source>,
    error: Option<String>,
    reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    place: String,
    age_seconds: u64,
    error: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Datapath {
    uplinks: Vec<Uplink>,
    breaks: Option<Breaks>,
    error: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Uplink {
    device: String,
    mode: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Breaks {
    total: u64,
}

/// A line for each node; then each problem once, with the nodes that have it.
pub(super) fn show(answers: &Answers, output: &OutputOptions) -> Result<Shown> {
    let is_wide = output.format == Format::Wide;
    let mut rows = Vec::new();
    let mut wrong: BTreeMap<(String, String, String), Vec<&str>> = BTreeMap::new();
    for answer in &answers.answers {
        let node = answer.node.as_str();
        let status: Status = serde_json::from_value(answer.value.clone())
            .with_context(|| format!("node {node} does not say how it is; another version runs there"))?;
        rows.push(cells(node, &status, is_wide));
        for problem in problems(&status) {
            wrong.entry(problem).or_default().push(node);
        }
    }
    if rows.is_empty() {
        return Ok(Shown::default());
    }
    let mut names_of = vec![NODE, "AGENT", "IN-STEP", "SOURCE", "AGE", "UPLINKS", "BREAKS", "PROBLEMS"];
    if is_wide {
        names_of.extend(["VERSION", "UP"]);
    }
    let mut text = output::table(&header(&names_of, output), rows);
    if !wrong.is_empty() {
        let of = answers.answers.len();
        let row = |((severity, object, message), nodes): ((String, String, String), Vec<&str>)| {
            vec![names(&nodes, of), severity, object, message]
        };
        text += "\n";
        text += &output::table(&header(&[NODE, "SEVERITY", "OBJECT", "PROBLEM"], output), wrong.into_iter().map(row));
    }
    Ok(Shown { text, is_well: answers.answers.iter().all(|answer| answer.is_well) })
}

fn cells(node: &str, status: &Status, is_wide: bool) -> Vec<String> {
    let Status { agent, datapath, problems } = status;
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING_THERE.to_owned());
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let uplinks = datapath.uplinks.iter().map(|uplink| format!("{} ({})", uplink.device, uplink.mode));
    let mut cells = vec![
        node.to_owned(),
        if agent.alive { "alive" } else { "down" }.to_owned(),
        yes(agent.in_step),
        or_nothing(agent.source.as_ref().map(|source| source.place.clone())),
        or_nothing(agent.source.as_ref().map(|source| age(source.age_seconds))),
        list(uplinks),
        or_nothing(datapath.breaks.as_ref().map(|breaks| breaks.total.to_string())),
        problems.len().to_string(),
    ];
    if is_wide {
        cells.extend([or_nothing(agent.version.clone()), or_nothing(agent.uptime_seconds.map(age))]);
    }
    cells
}

/// All that is wrong at a node: severity, object and message.
fn problems(status: &Status) -> Vec<(String, String, String)> {
    let told = status.problems.iter().map(|problem| {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let place = [&problem.file, &problem.object, &problem.field].into_iter().flatten();
        let place = place.cloned().collect::<Vec<_>>().join(": ");
        (severity.to_owned(), place, problem.message.clone())
    });
    let source = status.agent.source.as_ref().and_then(|source| source.error.as_ref());
    let failures = [
        ("agent", status.agent.reason.as_ref()),
        ("agent", status.agent.error.as_ref()),
        ("source", source),
        ("datapath", status.datapath.error.as_ref()),
    ];
    let failures = failures
        .into_iter()
        .filter_map(|(what, message)| Some(("error".to_owned(), what.to_owned(), message?.clone())));
    let mut all: Vec<_> = failures.chain(told).collect();
    for (_, object, _) in &mut all {
        *object = output::or_nothing(object);
    }
    all
}
