//! An agent and commands in a time namespace, which are shown another clock than the programs have.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use limpet_lab::Lab;
use limpet_lab::world::{NAMESPACE, ServiceSpec};
use serde_json::Value;

use crate::support::{INGRESS, Test, first_pods, is_content};
use crate::visitors::{Door, arrive, ask_again};

/// Ages of what happens within this test are below this.
const RECENT_SECONDS: u64 = 600;
const HELD_SECONDS: u32 = 3_600;

pub(crate) fn tests() -> Vec<Test> {
    vec![Test::new("ages_are_right_where_the_agent_is_shown_another_clock", another_clock)]
}

fn another_clock(lab: &mut Lab) -> Result<()> {
    // More than a day ahead; the other way round, an age would hide as zero.
    let ahead = ["unshare", "--time", "--monotonic", "100000", "--boottime", "100000"];
    lab.stop_agent(INGRESS)?;
    lab.start_agent_within(INGRESS, &ahead)?;
    let outcome = ages(lab, &ahead);
    lab.stop_agent(INGRESS)?;
    lab.start_agent_within(INGRESS, &[])?;
    outcome?;
    is_content(lab, INGRESS)
}

fn ages(lab: &mut Lab, ahead: &[&str]) -> Result<()> {
    let pods = first_pods([INGRESS]);
    lab.put_service(ServiceSpec::new("clock", &pods).with_affinity(HELD_SECONDS))?;
    lab.wait_until_programmed("clock", &[INGRESS])?;
    let door = Door::of(lab, "clock")?;
    let mut visitors = arrive(lab, 2..=5, door)?;
    let mut spec = lab.world().service("clock")?.spec().clone();
    spec.pods = first_pods([2]);
    lab.put_service(spec)?;
    lab.wait_until_programmed("clock", &[INGRESS])?;
    let moved = ask_again(&mut visitors, door)?;
    ensure!(moved == visitors.len(), "{moved} of {} moved", visitors.len());

    let service = format!("{NAMESPACE}/clock");
    let breaks = lab.limpet(INGRESS, &["breaks", &service, "-o", "json"])?.json()?;
    check(&breaks["events"], "seconds_ago", moved)?;
    for (what, field) in [("flows", "age_seconds"), ("clients", "last_used_seconds_ago")] {
        let arguments = format!("get {what} {service} -o json");
        let line = lab.limpet_line(INGRESS, &arguments)?;
        let words: Vec<&str> = ahead.iter().copied().chain(line.split_whitespace()).collect();
        let output = Command::new(words[0]).args(&words[1..]).output()?;
        ensure!(output.status.success(), "{line}: {output:?}");
        check(&serde_json::from_slice(&output.stdout)?, field, moved)?;
    }
    Ok(())
}

/// Whether there are as many rows at least, each of a short while ago.
fn check(rows: &Value, field: &str, at_least: usize) -> Result<()> {
    let rows = rows.as_array().with_context(|| format!("no rows: {rows}"))?;
    ensure!(rows.len() >= at_least, "{} rows of {at_least}", rows.len());
    for row in rows {
        let age = row[field].as_u64().with_context(|| format!("{row} has no {field}"))?;
        ensure!(age < RECENT_SECONDS, "{field} of {row}");
    }
    Ok(())
}
