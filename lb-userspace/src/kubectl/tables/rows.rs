//! `kubectl limpet get`: the rows of all nodes in one table.

use anyhow::{Context, Result, ensure};

use super::{
    super::ask::{Answers, names},
    NODE, Shown, header,
};
use crate::{
    cli::OutputOptions,
    inspect::output::{self, Cells},
};

/// What a column of a node's own table is called beside the first one of the joined table.
const BACKEND_NODE: &str = "BACKEND-NODE";

/// Each row with its node; with `merge`, rows that several nodes have once, with all of these.
pub(super) fn show(answers: &Answers, output: &OutputOptions, merge: bool) -> Result<Shown> {
    let mut columns: Vec<String> = Vec::new();
    let mut rows: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
    for answer in &answers.answers {
        let node = answer.node.as_str();
        let cells: Cells = serde_json::from_value(answer.value.clone())
            .with_context(|| format!("node {node} answers with no table; another version runs there"))?;
        ensure!(
            columns.is_empty() || columns == cells.header,
            "node {node} answers with other columns than others: two versions run in this cluster; --node asks one node"
        );
        columns = cells.header;
        for row in cells.rows {
            match rows.iter_mut().find(|(_, known)| merge && *known == row) {
                Some((nodes, _)) => nodes.push(node),
                None => rows.push((vec![node], row)),
            }
        }
    }
    let is_well = true;
    if rows.is_empty() {
        return Ok(Shown { text: String::new(), is_well });
    }
    let columns: Vec<&str> =
        columns.iter().map(|name| if name == NODE { BACKEND_NODE } else { name.as_str() }).collect();
    let of = answers.answers.len();
    let with_node = |(nodes, row): (Vec<&str>, Vec<String>)| [names(&nodes, of)].into_iter().chain(row).collect();
    let columns = header(&[&[NODE], columns.as_slice()].concat(), output);
    let text = output::table(&columns, rows.into_iter().map(with_node));
    Ok(Shown { text, is_well })
}
