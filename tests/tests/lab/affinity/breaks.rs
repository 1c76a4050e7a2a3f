//! Clients that lose their Pod are counted, each once and by its reason, and told one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use limpet_lab::world::{NAMESPACE, PodState, ServiceSpec};
use limpet_lab::{Lab, wait};
use serde::Deserialize;

use super::LONG_SECONDS;
use super::service::{join, programmed, put, wait_until_used_are};
use super::time::let_time_out_pass;
use super::visitors::{Door, Visitor, arrive, ask_again};
use crate::support::{INGRESS, Test};

/// Whose time is over when `let_time_out_pass` has been asked for it.
const SHORT_SECONDS: u32 = 1;
/// How long the agent may take to hear of breaks.
const TOLD_LIMIT: Duration = Duration::from_secs(2);

/// A way to lose one's Pod.
struct Loss {
    /// The reason that must be counted.
    reason: &'static str,
    seconds: u32,
    /// Of the Service of this name, and its Pod on another node than the ingress.
    happens: fn(&mut Lab, &str, &str) -> Result<()>,
}

const LOSSES: [Loss; 6] = [
    Loss {
        reason: "not-ready",
        seconds: LONG_SECONDS,
        happens: |lab, service, pod| {
            lab.set_pod_state(pod, PodState::NotReady)?;
            programmed(lab, service)
        },
    },
    Loss {
        reason: "draining",
        seconds: LONG_SECONDS,
        happens: |lab, service, pod| {
            lab.set_pod_state(pod, PodState::Terminating)?;
            programmed(lab, service)
        },
    },
    Loss {
        reason: "backend-gone",
        seconds: LONG_SECONDS,
        happens: |lab, service, pod| {
            lab.withdraw_pod(pod)?;
            programmed(lab, service)
        },
    },
    Loss {
        reason: "expired",
        seconds: SHORT_SECONDS,
        happens: |_, _, _| {
            let_time_out_pass(SHORT_SECONDS);
            Ok(())
        },
    },
    Loss { reason: "config-changed", seconds: LONG_SECONDS, happens: becomes_local },
    Loss { reason: "forgotten", seconds: LONG_SECONDS, happens: is_forgotten },
];

pub(super) fn tests() -> Vec<Test> {
    let test = |loss: Loss| {
        let name = format!("clients_that_move_are_counted_as_{}_and_told", loss.reason.replace('-', "_"));
        Test::new(name, move |lab| is_counted(lab, &loss))
    };
    LOSSES.into_iter().map(test).collect()
}

fn is_counted(lab: &mut Lab, loss: &Loss) -> Result<()> {
    let service = format!("breaks-{}", loss.reason);
    let pods = lab.add_pods(&[INGRESS, 2, 3])?;
    put(lab, ServiceSpec::new(&service, &pods).with_affinity(loss.seconds))?;
    let door = Door::of(lab, &service)?;
    let before = arrive(lab, 2..=11, door)?;
    ensure!(Ledger::read(lab, &service)?.reasons().is_empty(), "breaks are counted before any happened");
    (loss.happens)(lab, &service, &pods[1])?;
    let mut after = before.clone();
    let moved = ask_again(&mut after, door)?;
    ensure!(moved > 0, "nobody moved");
    ask_again(&mut after, door)?;

    let expected = BTreeMap::from([(loss.reason.to_owned(), moved)]);
    let counted = Ledger::read(lab, &service)?.reasons();
    ensure!(counted == expected, "{counted:?} are counted, and {expected:?} happened");
    let moves: BTreeSet<Told> =
        before.iter().zip(&after).filter(|(a, b)| a.pod != b.pod).map(|(a, b)| Told::new(loss.reason, a, b)).collect();
    wait::until_true("every break to be told", TOLD_LIMIT, || {
        let told: Vec<Told> = Ledger::read(lab, &service)?.events.context("the agent does not tell of breaks")?;
        ensure!(told.len() == moved, "{} of {moved} are told", told.len());
        let told: BTreeSet<Told> = told.into_iter().collect();
        ensure!(told == moves, "{told:?} are told, and {moves:?} happened");
        Ok(true)
    })?;
    Ok(())
}

/// From now on the ingress node uses its own Pods alone.
fn becomes_local(lab: &mut Lab, service: &str, _: &str) -> Result<()> {
    let spec = lab.world().service(service)?.spec().clone();
    lab.put_service(spec.with_local_pods_only())?;
    wait_until_used_are(lab, service, 1)
}

/// Pods join, and the clients are told to choose by the new table.
fn is_forgotten(lab: &mut Lab, service: &str, _: &str) -> Result<()> {
    let pods = lab.add_pods(&[1, 2, 3])?;
    join(lab, service, &pods)?;
    let service = format!("{NAMESPACE}/{service}");
    let said = lab.limpet(INGRESS, &["forget", "--service", &service, "--yes"])?;
    ensure!(said.success, "`limpet forget` failed: {}", said.stderr.trim());
    Ok(())
}

/// What `limpet breaks` says of one Service on the ingress node.
#[derive(Debug, Deserialize)]
pub(super) struct Ledger {
    totals: Vec<Total>,
    events: Option<Vec<Told>>,
}

#[derive(Debug, Deserialize)]
struct Total {
    reasons: BTreeMap<String, usize>,
    total: usize,
}

/// A break: who, why, from where to where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Told {
    client: String,
    reason: String,
    from: String,
    to: String,
}

impl Ledger {
    pub(super) fn read(lab: &Lab, service: &str) -> Result<Self> {
        let service = format!("{NAMESPACE}/{service}");
        let said = lab.limpet(INGRESS, &["breaks", &service, "-o", "json"])?;
        let ledger: Self = serde_json::from_value(said.json()?).context("`limpet breaks` has another form")?;
        for Total { reasons, total } in &ledger.totals {
            ensure!(reasons.values().sum::<usize>() == *total, "{reasons:?} do not add up to {total}");
        }
        Ok(ledger)
    }

    /// How many there were of each reason, of those that there were.
    pub(super) fn reasons(&self) -> BTreeMap<String, usize> {
        let mut sum = BTreeMap::new();
        for (reason, count) in self.totals.iter().flat_map(|total| &total.reasons) {
            if *count > 0 {
                *sum.entry(reason.clone()).or_default() += count;
            }
        }
        sum
    }
}

impl Told {
    fn new(reason: &str, before: &Visitor, after: &Visitor) -> Self {
        let name = |visitor: &Visitor| format!("{NAMESPACE}/{}", visitor.pod);
        Self { client: before.address.to_string(), reason: reason.to_owned(), from: name(before), to: name(after) }
    }
}
