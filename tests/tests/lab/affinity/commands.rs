//! What the command line says of clients, and moving them on purpose, beside what the clients themselves see.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use limpet_lab::Lab;
use limpet_lab::world::{NAMESPACE, ServiceSpec};
use serde_json::Value;

use super::LONG_SECONDS;
use super::breaks::Ledger;
use super::service::{join, put};
use super::visitors::{Door, Visitor, arrive, ask_again, split, stay};
use crate::support::{INGRESS, Test, all_first_pods};

/// How many clients are asked about one by one.
const SOME: usize = 12;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("get_clients_and_skew_say_what_clients_see", lists),
        Test::new("why_says_where_a_clients_next_connection_goes", why_is_right),
        Test::new("forget_moves_whom_it_names_and_nobody_else", forget),
    ]
}

fn lists(lab: &mut Lab) -> Result<()> {
    let service = "commands-lists";
    let visitors = held_elsewhere(lab, service)?;
    let rows = json(lab, &["get", "clients", &full(service)])?;
    let rows = rows.as_array().context("`limpet get clients` prints no array")?;
    let mut listed = BTreeMap::new();
    for row in rows {
        let left = row["expires_in_seconds"].as_u64().unwrap_or_default();
        ensure!(row["state"] == "held" && left + 60 > LONG_SECONDS.into(), "a client that just came: {row}");
        listed.insert(text(&row["client"])?, text(&row["backend"])?);
    }
    let seen = visitors.iter().map(|visitor| (visitor.address.to_string(), full(&visitor.pod))).collect();
    ensure!(listed == seen, "clients see {seen:?}, and `limpet get clients` lists {listed:?}");

    let skew = json(lab, &["skew", &full(service)])?;
    let groups = skew.as_array().context("`limpet skew` prints no array")?;
    let of_tcp = groups.iter().find(|group| group["service"]["protocol"] == "TCP").context("it has no TCP port")?;
    let mut shares = BTreeMap::new();
    for pod in of_tcp["pods"].as_array().context("it has no Pods")? {
        shares.insert(text(&pod["backend"])?, pod["clients"].as_u64().context("a Pod has no clients")?);
    }
    // Those that joined have nobody yet.
    let mut seen: BTreeMap<String, u64> = all_first_pods().iter().map(|pod| (full(pod), 0)).collect();
    visitors.iter().for_each(|visitor| *seen.entry(full(&visitor.pod)).or_default() += 1);
    ensure!(shares == seen, "clients see {seen:?}, and `limpet skew` says {shares:?}");
    Ok(())
}

/// Of clients that are held, and of one that was never there.
fn why_is_right(lab: &mut Lab) -> Result<()> {
    let service = "commands-why";
    let visitors = held_elsewhere(lab, service)?;
    let mut elsewhere = 0;
    for visitor in &visitors[..SOME] {
        let said = why(lab, visitor, service)?;
        let (next, held) = (text(&said["next"]["backend"])?, text(&said["held"]["backend"])?);
        let own = full(&visitor.pod);
        ensure!(said["by"] == "map" && next == own && held == own, "{} has {own}: {said}", visitor.address);
        elsewhere += usize::from(text(&said["table"])? != own);
    }
    ensure!(elsewhere > 0, "none of {SOME} clients is held elsewhere than the table says");

    // The machines are asked through two Services, so that this one has not seen the address before it is foretold.
    let other = "commands-why-other";
    put(lab, ServiceSpec::new(other, &all_first_pods()).with_affinity(LONG_SECONDS))?;
    let mut newcomers = arrive(lab, 50..=51, Door::of(lab, other)?)?;
    let mut foretold = Vec::new();
    for newcomer in &newcomers {
        let said = why(lab, newcomer, service)?;
        ensure!(said["by"] == "table" && said["held"].is_null(), "{} is new: {said}", newcomer.address);
        foretold.push(text(&said["next"]["backend"])?);
    }
    ask_again(&mut newcomers, Door::of(lab, service)?)?;
    let reached: Vec<String> = newcomers.iter().map(|newcomer| full(&newcomer.pod)).collect();
    ensure!(reached == foretold, "newcomers reached {reached:?}, and `limpet why` had said {foretold:?}");
    Ok(())
}

fn forget(lab: &mut Lab) -> Result<()> {
    let service = "commands-forget";
    let visitors = held_elsewhere(lab, service)?;
    let door = Door::of(lab, service)?;
    json(lab, &["forget", "--service", &full(service), "--dry-run"])?;
    stay(&visitors, door, "after forgetting was only tried")?;

    let mut movers = Vec::new();
    for visitor in &visitors[..SOME] {
        let named = text(&why(lab, visitor, service)?["table"])?;
        if named != full(&visitor.pod) {
            movers.push((visitor.address, named));
        }
    }
    let (address, named) = movers.first().context("nobody is held elsewhere than the table says")?;
    json(lab, &["forget", &address.to_string(), &full(service), "--yes"])?;
    let (mut one, rest): (Vec<_>, Vec<_>) = visitors.into_iter().partition(|visitor| visitor.address == *address);
    stay(&rest, door, "after another client was forgotten")?;
    ask_again(&mut one, door)?;
    let reached = full(&one[0].pod);
    ensure!(reached == *named, "{address} was forgotten and reached {reached}, and the table had named {named}");
    let counted = Ledger::read(lab, service)?.reasons();
    ensure!(counted == BTreeMap::from([("forgotten".to_owned(), 1)]), "{counted:?} are counted");

    let pod = rest[0].pod.clone();
    let (mut own, others) = split(rest, &pod)?;
    json(lab, &["forget", "--backend", &full(&pod), "--service", &full(service), "--yes"])?;
    stay(&others, door, "after the clients of another Pod were forgotten")?;
    let moved = ask_again(&mut own, door)?;
    ensure!(moved > 0, "all {} clients of Pod {pod} are still there", own.len());
    let counted = Ledger::read(lab, service)?.reasons();
    ensure!(counted == BTreeMap::from([("forgotten".to_owned(), 1 + moved)]), "{counted:?} are counted");
    Ok(())
}

/// Clients of a Service that has had more Pods since they came.
fn held_elsewhere(lab: &mut Lab, service: &str) -> Result<Vec<Visitor>> {
    let pods = all_first_pods();
    let (first, others) = pods.split_at(2);
    put(lab, ServiceSpec::new(service, first).with_affinity(LONG_SECONDS))?;
    let visitors = arrive(lab, 2..=11, Door::of(lab, service)?)?;
    join(lab, service, others)?;
    Ok(visitors)
}

/// What `limpet why` says of a client at the Service's TCP port.
fn why(lab: &Lab, visitor: &Visitor, service: &str) -> Result<Value> {
    let said = json(lab, &["why", &visitor.address.to_string(), &full(service)])?;
    let ports = said["services"].as_array().context("`limpet why` names no Services")?;
    ports.iter().find(|port| port["service"]["protocol"] == "TCP").cloned().context("`limpet why` has no TCP port")
}

fn json(lab: &Lab, arguments: &[&str]) -> Result<Value> {
    let command = arguments.join(" ");
    let said = lab.limpet(INGRESS, &[arguments, &["-o", "json"]].concat())?;
    said.json().with_context(|| format!("`limpet {command}`"))
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().with_context(|| format!("{value} is no text"))?.to_owned())
}

/// With the namespace.
fn full(name: &str) -> String {
    format!("{NAMESPACE}/{name}")
}
