//! `kubectl limpet forget`: how many clients each node forgot.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{super::ask::Answers, NODE, Shown, header};
use crate::{cli::OutputOptions, inspect::output};

/// What a node did.
#[derive(Deserialize)]
struct Forgotten {
    matched: u64,
    forgotten: u64,
    dry_run: bool,
}

/// A line for each node. Well, when anybody matched anywhere.
pub(super) fn show(answers: &Answers, output: &OutputOptions) -> Result<Shown> {
    let mut rows = Vec::new();
    let mut matched = 0;
    for answer in &answers.answers {
        let node = &answer.node;
        let done: Forgotten = serde_json::from_value(answer.value.clone())
            .with_context(|| format!("node {node} does not say whom it forgot; another version runs there"))?;
        matched += done.matched;
        let forgotten = if done.dry_run { "dry run".to_owned() } else { done.forgotten.to_string() };
        rows.push(vec![node.clone(), done.matched.to_string(), forgotten]);
    }
    if rows.is_empty() {
        return Ok(Shown::default());
    }
    let text = output::table(&header(&[NODE, "MATCHED", "FORGOTTEN"], output), rows);
    Ok(Shown { text, is_well: matched > 0 })
}
