//! `kubectl limpet breaks`: totals by Service, summed over the nodes, and the latest breaks of all.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use lb_common::breaks::BreakReason;
use serde::Deserialize;

use super::{
    super::ask::{Answers, names},
    NODE, Shown, header,
};
use crate::{
    api::Break,
    cli::{Format, OutputOptions},
    inspect::output::{self, Row},
    model::ServicePortName,
};

/// The last line of the totals.
const TOTAL: &str = "TOTAL";

/// What a node knows.
#[derive(Deserialize)]
struct Document {
    totals: Vec<Total>,
    events: Option<Vec<Break>>,
}

/// Of a Service port.
#[derive(Deserialize)]
struct Total {
    service: ServicePortName,
    reasons: BTreeMap<String, u64>,
}

/// Counts by reason, and the nodes that counted any.
#[derive(Clone, Default)]
struct Sum<'a> {
    reasons: BTreeMap<String, u64>,
    nodes: Vec<&'a str>,
}

impl<'a> Sum<'a> {
    fn add(&mut self, node: &'a str, reasons: &BTreeMap<String, u64>) {
        for (reason, count) in reasons {
            let sum = self.reasons.entry(reason.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
        if reasons.values().any(|count| *count > 0) && self.nodes.last() != Some(&node) {
            self.nodes.push(node);
        }
    }

    fn of(&self, reason: &str) -> u64 {
        self.reasons.get(reason).copied().unwrap_or(0)
    }

    fn total(&self) -> u64 {
        self.reasons.values().fold(0, |sum: u64, count| sum.saturating_add(*count))
    }
}

/// The totals of each Service port over all nodes, with `-o wide` also by node, and single breaks.
pub(super) fn show(answers: &Answers, output: &OutputOptions) -> Result<Shown> {
    let mut documents = Vec::new();
    for answer in &answers.answers {
        let node = answer.node.as_str();
        let document: Document = serde_json::from_value(answer.value.clone())
            .with_context(|| format!("node {node} does not tell of breaks; another version runs there"))?;
        documents.push((node, document));
    }
    let mut text = totals(&documents, output);
    let mut events: Vec<(&str, &Break)> = documents
        .iter()
        .flat_map(|(node, document)| document.events.iter().flatten().map(|event| (*node, event)))
        .collect();
    // The newest last, as a node has them.
    events.sort_by_key(|(node, event)| (std::cmp::Reverse(event.seconds_ago), *node));
    if !events.is_empty() {
        let columns = [&[NODE], Break::header(false).as_slice()].concat();
        let row = |(node, event): (&str, &Break)| [node.to_owned()].into_iter().chain(event.cells(false)).collect();
        text += "\n";
        text += &output::table(&header(&columns, output), events.into_iter().map(row));
    }
    Ok(Shown { text, is_well: true })
}

fn totals(documents: &[(&str, Document)], output: &OutputOptions) -> String {
    let is_wide = output.format == Format::Wide;
    let mut by_service: BTreeMap<String, Sum<'_>> = BTreeMap::new();
    let mut by_node: BTreeMap<(String, &str), Sum<'_>> = BTreeMap::new();
    let mut all = Sum::default();
    for (node, document) in documents {
        for Total { service, reasons } in &document.totals {
            let service = service.to_string();
            by_service.entry(service.clone()).or_default().add(node, reasons);
            by_node.entry((service, node)).or_default().add(node, reasons);
            all.add(node, reasons);
        }
    }
    if by_service.is_empty() {
        return String::new();
    }
    let known = BreakReason::ALL.iter().map(|reason| reason.name().to_owned());
    // A newer node may know more reasons.
    let others =
        all.reasons.keys().filter(|name| BreakReason::ALL.iter().all(|reason| reason.name() != **name)).cloned();
    let shown: Vec<String> = known.chain(others).filter(|reason| is_wide || all.of(reason) > 0).collect();
    let columns: Vec<String> = shown.iter().map(|reason| reason.to_uppercase()).collect();
    let columns: Vec<&str> =
        [NODE, "SERVICE"].into_iter().chain(columns.iter().map(String::as_str)).chain([TOTAL]).collect();
    let of = documents.len();
    let row = |nodes: String, service: &str, sum: &Sum<'_>| -> Vec<String> {
        let counts = shown.iter().map(|reason| sum.of(reason)).chain([sum.total()]);
        [nodes, service.to_owned()].into_iter().chain(counts.map(|count| count.to_string())).collect()
    };
    let mut rows = Vec::new();
    for (service, sum) in &by_service {
        rows.push(row(output::or_nothing(&names(&sum.nodes, of)), service, sum));
        if is_wide {
            let its = by_node.iter().filter(|((other, _), _)| other == service);
            rows.extend(its.map(|((_, node), sum)| row((*node).to_owned(), service, sum)));
        }
    }
    rows.push(row(output::or_nothing(&names(&all.nodes, of)), TOTAL, &all));
    output::table(&header(&columns, output), rows)
}
