//! Scenarios that were played, as a table, as JSON, and as a page of documentation.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Measured, Played, SCENARIOS};
use crate::table;

const HEADER: [&str; 8] = ["SCENARIO", "CLIENTS", "REQUESTS", "LOST", "UNAVOIDABLE", "LEDGER", "REASONS", "AGREES"];

/// Aligned columns, each line ended.
pub(super) fn table(played: &[Played]) -> String {
    let header = HEADER.map(str::to_owned);
    let rows: Vec<[String; 8]> = played.iter().map(cells).collect();
    let mut text = table::line(&header, &header, &rows) + "\n";
    for row in &rows {
        text.push_str(&table::line(row, &header, &rows));
        text.push('\n');
    }
    text
}

/// In which scenarios attempts failed and were made again; empty when in none.
pub(super) fn retries(played: &[Played]) -> String {
    let of_one = |one: &Played| {
        let retried = one.outcome.as_ref().map_or(0, |measured| measured.counts.retried);
        (retried > 0).then(|| format!("{} {retried}", one.scenario.name))
    };
    let texts: Vec<String> = played.iter().filter_map(of_one).collect();
    if texts.is_empty() { String::new() } else { format!("Attempts made again: {}\n", texts.join(", ")) }
}

/// `scenarios: N of N agree, L lost, L unavoidable`.
pub(super) fn closing_line(played: &[Played]) -> String {
    let sums = Sums::of(played);
    let Sums { agree, of, lost, unavoidable } = sums;
    format!("scenarios: {agree} of {of} agree, {lost} lost, {unavoidable} unavoidable")
}

/// One object, with a line end.
pub(super) fn json(played: &[Played]) -> Result<String> {
    let Sums { agree, of, lost, unavoidable } = Sums::of(played);
    let object = json!({
        "scenarios": played.iter().map(object).collect::<Vec<_>>(),
        "agree": agree,
        "of": of,
        "lost": lost,
        "unavoidable": unavoidable,
    });
    let text = serde_json::to_string_pretty(&object).context("cannot write JSON")?;
    Ok(text + "\n")
}

/// The page: what is done, the table, what the words mean, how to run it again.
pub(super) fn markdown(played: &[Played]) -> String {
    let mut text = format!(
        "# What becomes of sessions\n\n\
         <!-- Written by `cargo xtask scenarios`; change tests/src/scenarios/print.rs instead. -->\n\n{INTRODUCTION}\n\
         | scenario | clients | requests | lost | unavoidable | ledger | reasons | agrees |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    );
    for row in played.iter().map(cells) {
        // Writing to a string cannot fail.
        let _done = writeln!(text, "| {} |", row.join(" | "));
    }
    let (closing, retries) = (closing_line(played), retries(played));
    let _done = write!(text, "\n`{closing}`\n\n{retries}\n{WORDS}\n## What happens in each\n\n");
    for scenario in &SCENARIOS {
        let _done = writeln!(text, "- **{}.** {}", scenario.name, scenario.what);
    }
    text.push_str(HOW);
    text
}

const INTRODUCTION: &str = "\
Web applications often keep a session in the memory of one Pod: whoever is sent to another Pod has to log in again.
This is counted here, on real packets. In a lab of network namespaces with a router, three nodes with an agent each,
and Pods with a server that keeps a value for each client in memory, 300 clients (200 over IPv4, 100 over IPv6, each
with an address of its own) log in through the load-balancer IPs of a Service with `sessionAffinity: ClientIP` (timeout
10800 s). Then all of them keep asking for their value, over a new connection each time, while one thing happens.
";

const WORDS: &str = "\
| word | meaning |
| --- | --- |
| requests | what all clients asked and got an answer to, logging in included |
| lost | answers that did not know the session, as the clients counted them; they log in again at once |
| unavoidable | sessions at Pods that went or were not ready, as the servers' answers before each step named the Pods |
| ledger | by how much the breaks of the Service in `limpet breaks -o json` grew, on all nodes together |
| reasons | the same by reason |
| agrees | the three numbers are equal; no client lost whose Pod did not go; every request was answered; where no Pod \
went, nothing was lost; the ledger's reasons are those that apply |

A connection that is refused, because its Pod died a moment ago and Kubernetes has not said so yet, is no loss: it is
tried again.
";

const HOW: &str = "
## Run it again

    cargo xtask scenarios [--json FILE]

It needs root, takes one to three minutes, and writes this page. The exit code is 1 when a row does not agree. The same
scenarios are tests: `cargo xtask test -p limpet-lab --test scenarios`.
";

struct Sums {
    agree: usize,
    of: usize,
    lost: u64,
    unavoidable: u64,
}

impl Sums {
    fn of(played: &[Played]) -> Self {
        let measured = || played.iter().filter_map(|one| one.outcome.as_ref().ok());
        Self {
            agree: played.iter().filter(|one| one.agrees()).count(),
            of: played.len(),
            lost: measured().map(|measured| measured.counts.lost).sum(),
            unavoidable: measured().map(|measured| measured.losses.unavoidable).sum(),
        }
    }
}

fn cells(played: &Played) -> [String; 8] {
    let name = played.scenario.name.to_owned();
    let agrees = if played.agrees() { "yes" } else { "NO" }.to_owned();
    let Ok(measured) = &played.outcome else {
        let nothing = || "-".to_owned();
        return [name, nothing(), nothing(), nothing(), nothing(), nothing(), nothing(), agrees];
    };
    let Measured { clients, counts, losses, .. } = measured;
    let numbers = [counts.answered, counts.lost, losses.unavoidable, measured.breaks()].map(|count| count.to_string());
    let [requests, lost, unavoidable, ledger] = numbers;
    [name, clients.to_string(), requests, lost, unavoidable, ledger, reasons(measured), agrees]
}

/// `draining 100, not-ready 3`, without those that are zero.
fn reasons(measured: &Measured) -> String {
    let present = measured.ledger.iter().filter(|(_, count)| **count > 0);
    let texts: Vec<String> = present.map(|(reason, count)| format!("{reason} {count}")).collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join(", ") }
}

fn object(played: &Played) -> Value {
    let mut object = json!({
        "name": played.scenario.name,
        "what": played.scenario.what,
        "agrees": played.agrees(),
        "problems": played.problems(),
    });
    if let Ok(measured) = &played.outcome {
        let Measured { clients, counts, losses, ledger } = measured;
        object["clients"] = json!(clients);
        object["requests"] = json!(counts.answered);
        object["retried"] = json!(counts.retried);
        object["unanswered"] = json!(counts.unanswered);
        object["lost"] = json!(counts.lost);
        object["unavoidable"] = json!(losses.unavoidable);
        object["needless"] = json!(losses.needless);
        object["ledger"] = json!(measured.breaks());
        object["reasons"] = json!(ledger);
    }
    object
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::scenarios::Losses;
    use crate::sessions::Counts;

    fn played() -> [Played; 2] {
        let measured = Measured {
            clients: 300,
            counts: Counts { answered: 1234, lost: 7, ..Counts::default() },
            losses: Losses { unavoidable: 7, needless: 0 },
            ledger: [("not-ready".to_owned(), 7), ("evicted".to_owned(), 0)].into(),
        };
        let readiness = Played { scenario: &SCENARIOS[4], outcome: Ok(measured) };
        [readiness, Played { scenario: &SCENARIOS[0], outcome: Err(anyhow!("no root")) }]
    }

    #[test]
    fn the_table_has_a_row_for_each_also_for_what_could_not_be_done() {
        let expected = "\
SCENARIO                    CLIENTS  REQUESTS  LOST  UNAVOIDABLE  LEDGER  REASONS      AGREES
readiness flaps             300      1234      7     7            7       not-ready 7  yes
agent killed and restarted  -        -         -     -            -       -            NO
";
        assert_eq!(table(&played()), expected);
        assert_eq!(closing_line(&played()), "scenarios: 1 of 2 agree, 7 lost, 7 unavoidable");
    }

    #[test]
    fn json_says_what_the_table_says_and_why() {
        let value: Value = serde_json::from_str(&json(&played()).unwrap()).unwrap();
        assert_eq!(value["agree"], 1);
        assert_eq!(value["scenarios"][0]["ledger"], 7);
        assert_eq!(value["scenarios"][0]["reasons"], json!({"evicted": 0, "not-ready": 7}));
        assert_eq!(value["scenarios"][1]["problems"], json!(["it could not be done: no root"]));
    }

    #[test]
    fn the_page_has_the_table_and_every_scenario() {
        let page = markdown(&played());
        assert!(page.contains("| readiness flaps | 300 | 1234 | 7 | 7 | 7 | not-ready 7 | yes |\n"), "{page}");
        assert!(SCENARIOS.iter().all(|scenario| page.contains(scenario.what)));
    }
}
