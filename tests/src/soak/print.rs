//! A report as text, as a page, and as JSON: the same tables in each.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::director::Happened;
use super::judge::Cause;
use super::kind::Kind;
use super::measure::DECIDED;
use super::report::Report;
use super::tally::{Ended, Error, Programming, What};
use crate::table;

/// So many unexplained things are shown.
const MAX_SHOWN: usize = 50;

/// One table with its title.
struct Table {
    title: &'static str,
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// `soak: M minutes, N requests, E errors, U unexplained`.
pub(super) fn closing_line(report: &Report) -> String {
    let (requests, errors, unexplained) = (report.requests(), report.errors(), report.unexplained());
    format!("soak: {} minutes, {requests} requests, {errors} errors, {unexplained} unexplained", minutes(report))
}

/// Aligned columns.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    for Table { title, header, rows } in tables(report) {
        // Writing to a string cannot fail.
        let _done = writeln!(text, "\n{title}");
        let header: Vec<String> = header.into_iter().map(str::to_uppercase).collect();
        for row in std::iter::once(&header).chain(&rows) {
            let _done = writeln!(text, "  {}", table::line(row, &header, &rows));
        }
    }
    let problems = report.problems();
    for problem in problems.iter().take(MAX_SHOWN) {
        let _done = writeln!(text, "UNEXPLAINED {problem}");
    }
    if problems.len() > MAX_SHOWN {
        let _done = writeln!(text, "... and {} more", problems.len() - MAX_SHOWN);
    }
    text
}

/// The tables for a page of documentation.
pub(super) fn markdown(report: &Report) -> String {
    let mut text = format!("`{}`\n", closing_line(report));
    for Table { title, header, rows } in tables(report) {
        let _done = write!(text, "\n**{title}**\n\n| {} |\n|{}\n", header.join(" | "), " --- |".repeat(header.len()));
        for row in rows {
            let _done = writeln!(text, "| {} |", row.join(" | "));
        }
    }
    let _done = writeln!(text);
    for problem in report.problems().iter().take(MAX_SHOWN) {
        let _done = writeln!(text, "- unexplained: {problem}");
    }
    text
}

/// One object, with a line end.
pub(super) fn json(report: &Report) -> Result<String> {
    let table = |Table { title, header, rows }: Table| {
        let row = |row: &Vec<String>| {
            let fields = header.iter().zip(row).map(|(name, cell)| ((*name).to_owned(), cell_value(cell)));
            Value::Object(fields.collect())
        };
        (title.to_owned(), rows.iter().map(row).collect::<Value>())
    };
    let object = json!({
        "seed": report.seed,
        "minutes": report.length.as_secs_f64() / 60.0,
        "requests": report.requests(),
        "errors": report.errors(),
        "unexplained": report.unexplained(),
        "problems": report.problems(),
        "tables": tables(report).into_iter().map(table).collect::<serde_json::Map<_, _>>(),
    });
    Ok(serde_json::to_string_pretty(&object).context("cannot write JSON")? + "\n")
}

fn cell_value(cell: &str) -> Value {
    cell.parse::<u64>().map_or_else(|_| json!(cell), |number| json!(number))
}

/// Whole minutes as such, others with two digits.
fn minutes(report: &Report) -> String {
    let minutes = report.length.as_secs_f64() / 60.0;
    let whole = minutes.round();
    if (minutes - whole).abs() < 0.01 { format!("{whole}") } else { format!("{minutes:.2}") }
}

fn tables(report: &Report) -> Vec<Table> {
    vec![
        requests(report),
        ways(report),
        errors(report),
        churn(report),
        programming(report),
        breaks(report),
        processes(report),
        maps(report),
        packets(report),
        reasons(report),
    ]
}

fn requests(report: &Report) -> Table {
    let row = |(what, ended): (&What, &Ended)| {
        let counts = [ended.fine, ended.explained, ended.unexplained];
        std::iter::once(what.name().to_owned()).chain(counts.map(|count| count.to_string())).collect()
    };
    Table {
        title: "Requests by kind and result",
        header: vec!["kind", "answered", "failed, explained", "failed, unexplained"],
        rows: report.tally.requests.iter().map(row).collect(),
    }
}

fn ways(report: &Report) -> Table {
    let row =
        |((kind, node), count): (&(&str, u8), &u64)| vec![(*kind).to_owned(), format!("n{node}"), count.to_string()];
    Table {
        title: "New requests by frontend and node",
        header: vec!["frontend", "arrived at", "requests"],
        rows: report.tally.ways.iter().map(row).collect(),
    }
}

fn errors(report: &Report) -> Table {
    let row = |(error, count): (&Error, &u64)| {
        let cause = error.cause.map_or("NOTHING EXPLAINS IT", Cause::name);
        let of_steady = report.tally.steady_errors.get(error).copied().unwrap_or(0);
        let words = [error.what.name(), error.how, cause].map(str::to_owned);
        words.into_iter().chain([count.to_string(), of_steady.to_string()]).collect()
    };
    Table {
        title: "Errors by cause",
        header: vec!["kind", "error", "explained by", "errors", "of Services never changed"],
        rows: report.tally.errors.iter().map(row).collect(),
    }
}

fn churn(report: &Report) -> Table {
    let Happened { agents_killed, agents_stopped, uplinks_down, pods_died } = report.happened;
    let done = Kind::ALL.iter().map(|kind| (kind.name(), report.done.get(kind).copied().unwrap_or(0)));
    let troubles = [
        ("agent killed (SIGKILL), started again", agents_killed),
        ("agent ended (SIGTERM), started again", agents_stopped),
        ("uplink down, up again", uplinks_down),
        ("Pod and its server died, made again", pods_died),
        ("changes of objects in all", report.objects),
    ];
    let mut rows: Vec<Vec<String>> =
        done.chain(troubles).map(|(what, count)| vec![what.to_owned(), count.to_string()]).collect();
    rows.push(vec!["changes of objects a second".to_owned(), format!("{:.1}", report.changes_a_second())]);
    let stall = report.stall.as_millis().to_string();
    rows.push(vec!["longest pause of all this, for one thing that took long, ms".to_owned(), stall]);
    Table { title: "What happened", header: vec!["what", "how often"], rows }
}

fn programming(report: &Report) -> Table {
    let row = |(node, programming): (&u8, &Programming)| {
        let mean = programming.sum.as_secs_f64() * 1_000.0 / programming.changes.max(1) as f64;
        let longest = programming.longest.as_secs_f64() * 1_000.0;
        vec![format!("n{node}"), programming.changes.to_string(), format!("{mean:.0}"), format!("{longest:.0}")]
    };
    Table {
        title: "From a change being written until packets show it, restarts and flaps included",
        header: vec!["node", "changes watched", "mean, ms", "longest, ms"],
        rows: report.tally.programming.iter().map(row).collect(),
    }
}

fn breaks(report: &Report) -> Table {
    let mut rows = Vec::new();
    for (service, reasons) in &report.breaks {
        let said: Vec<String> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let moves = report.tally.moves.get(service).copied().unwrap_or(0);
        rows.push(vec![service.clone(), reasons.values().sum::<u64>().to_string(), said.join(", "), moves.to_string()]);
    }
    let of_others: u64 = report.unexplained_breaks.iter().map(|(count, _)| count).sum();
    rows.push(vec!["unexplained".to_owned(), of_others.to_string(), String::new(), String::new()]);
    Table {
        title: "Breaks of clients, all nodes together",
        header: vec!["Service", "breaks", "by reason", "seen by the users among the clients"],
        rows,
    }
}

fn processes(report: &Report) -> Table {
    let mut rows = Vec::new();
    for (node, ((start, end), peak)) in (1..).zip(report.start.iter().zip(&report.end).zip(&report.peaks)) {
        let (start, end, peak, bound) = (start.0, end.0, peak.max(end.0), start.0.bound());
        let figures = |what: &str, values: [u64; 4]| {
            let values = values.map(|value| value.to_string());
            [format!("n{node}"), what.to_owned()].into_iter().chain(values).collect::<Vec<_>>()
        };
        let resident = [start, end, peak, bound].map(|process| process.resident_kib);
        rows.push(figures("resident memory, KiB", resident));
        rows.push(figures("descriptors", [start, end, peak, bound].map(|process| process.descriptors)));
    }
    Table { title: "Agents", header: vec!["node", "what", "after the warm-up", "at the end", "at most", "bound"], rows }
}

fn maps(report: &Report) -> Table {
    let mut rows = Vec::new();
    for (node, (start, end)) in (1..).zip(report.start.iter().zip(&report.end)) {
        for (what, count) in &end.1 {
            let before = start.1.get(what).copied().unwrap_or(0);
            let bound = if DECIDED.contains(&what.as_str()) { "as before" } else { "the map's size" };
            let cells = [format!("n{node}"), what.clone(), before.to_string(), count.to_string(), bound.to_owned()];
            rows.push(cells.to_vec());
        }
    }
    Table {
        title: "Elements of the kernel's maps",
        header: vec!["node", "elements", "after the warm-up", "at the end", "bound"],
        rows,
    }
}

fn packets(report: &Report) -> Table {
    let row = |(node, packets): (u8, &super::measure::Packets)| {
        let missing = packets.device.abs_diff(packets.counted());
        vec![format!("n{node}"), packets.device.to_string(), packets.counted().to_string(), missing.to_string()]
    };
    Table {
        title: "Packets handed to XDP by the uplink, and the sum of the ingress program's reasons",
        header: vec!["node", "by the device", "by the reasons", "difference"],
        rows: (1..).zip(&report.packets).map(row).collect(),
    }
}

fn reasons(report: &Report) -> Table {
    let mut rows = Vec::new();
    for (node, packets) in (1_u8..).zip(&report.packets) {
        let some = packets.reasons.iter().filter(|(_, count)| **count > 0);
        rows.extend(some.map(|(reason, count)| vec![format!("n{node}"), reason.clone(), count.to_string()]));
    }
    Table { title: "The same by reason", header: vec!["node", "reason", "packets"], rows }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::report::tests::fine;
    use super::*;

    #[test]
    fn the_last_line_is_as_it_was_promised() {
        let mut report = fine();
        assert_eq!(closing_line(&report), "soak: 10 minutes, 0 requests, 0 errors, 0 unexplained");
        report.length = Duration::from_secs(75);
        report.problems = vec!["n1 ended".to_owned()];
        assert_eq!(closing_line(&report), "soak: 1.25 minutes, 0 requests, 0 errors, 1 unexplained");
        assert!(text(&report).contains("UNEXPLAINED n1 ended"));
        assert!(markdown(&report).contains("- unexplained: n1 ended"));
    }

    #[test]
    fn the_same_numbers_are_in_text_page_and_json() {
        let report = fine();
        let value: Value = serde_json::from_str(&json(&report).unwrap()).unwrap();
        assert_eq!(value["unexplained"], json!(0));
        let agents = &value["tables"]["Agents"][0];
        assert_eq!(agents["after the warm-up"], json!(20_000));
        assert!(text(&report).contains("20000"));
        assert!(markdown(&report).contains("| n1 | resident memory, KiB | 20000 |"));
    }
}
