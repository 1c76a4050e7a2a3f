//! Services with affinity: putting them there, changing them, and waiting until that is programmed.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::NODES;
use limpet_lab::wait;
use limpet_lab::world::{NAMESPACE, ServiceSpec};
use serde_json::{Value, json};

use super::visitors::Visitor;
use crate::support::{CHANGE_LIMIT, INGRESS};

/// Adds a Service, or changes the one of this name, and waits until all nodes have it so.
///
/// Not for `externalTrafficPolicy: Local`, with which nodes differ.
pub(super) fn put(lab: &mut Lab, spec: ServiceSpec) -> Result<()> {
    let (name, seconds) = (spec.name.clone(), spec.affinity_seconds);
    lab.put_service(spec)?;
    wait_until_affinity_is(lab, &name, seconds)?;
    programmed(lab, &name)
}

/// Puts more Pods behind a Service and waits until all nodes use them.
pub(super) fn join(lab: &mut Lab, service: &str, pods: &[String]) -> Result<()> {
    let mut spec = lab.world().service(service)?.spec().clone();
    spec.pods.extend_from_slice(pods);
    put(lab, spec)
}

/// Waits until all nodes use the Pods of a Service that they may use now.
pub(super) fn programmed(lab: &Lab, service: &str) -> Result<()> {
    let nodes: Vec<u8> = (1..=NODES).collect();
    lab.wait_until_programmed(service, &nodes)
}

/// Waits until the ingress node holds a Service's clients for so long, or not at all.
pub(super) fn wait_until_affinity_is(lab: &Lab, service: &str, seconds: Option<u32>) -> Result<()> {
    let what = format!("the affinity of Service {service} to be {seconds:?} seconds");
    wait_for_rows(lab, service, &what, |row| row["affinity_timeout_seconds"] == json!(seconds))
}

/// Waits until the ingress node uses so many Pods of a Service, whichever they are.
pub(super) fn wait_until_used_are(lab: &Lab, service: &str, pods: usize) -> Result<()> {
    let what = format!("Service {service} to use {pods} Pods at node n{INGRESS}");
    wait_for_rows(lab, service, &what, |row| row["backends"]["active"] == json!(pods))?;
    wait::until_true("the agent to be in step", CHANGE_LIMIT, || Ok(lab.status(INGRESS)?.agent.in_step == Some(true)))
}

/// Waits until all rows that the ingress node has of a Service, one for each port, are as they should be.
fn wait_for_rows(lab: &Lab, service: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
    wait::until_true(what, CHANGE_LIMIT, || {
        let said = lab.limpet(INGRESS, &["get", "services", "-n", NAMESPACE, "-o", "json"])?.json()?;
        let rows = said.as_array().context("`limpet get services` prints no array")?;
        let rows: Vec<&Value> = rows.iter().filter(|row| row["name"] == service).collect();
        ensure!(!rows.is_empty(), "there is no such Service");
        Ok(rows.into_iter().all(&is_so))
    })
}

/// The Pods that visitors have.
pub(super) fn pods_of(visitors: &[Visitor]) -> BTreeSet<&str> {
    visitors.iter().map(|visitor| visitor.pod.as_str()).collect()
}
