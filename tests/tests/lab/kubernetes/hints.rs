//! Topology hints: endpoints of the node's own zone, or of the node itself, where all endpoints have hints.

use anyhow::Result;
use limpet_lab::Lab;
use limpet_lab::address::NODES;
use limpet_lab::world::{FrontendKind, PodState, ServiceSpec};
use serde_json::{Value, json};

use super::fate::frontends;
use crate::support::{INGRESS, Test, serve, wait_until_reached_are};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("zone_hints_keep_traffic_in_the_zone_while_they_are_complete", |lab| with_zones(lab, zones)),
        Test::new("node_hints_keep_traffic_on_the_node_and_fall_back_to_the_zone", |lab| with_zones(lab, nodes)),
        Test::new("hints_are_no_matter_for_local_policy_or_while_all_endpoints_terminate", |lab| {
            with_zones(lab, no_matter)
        }),
    ]
}

/// Nodes 1 and 2 are in zone a, node 3 in zone b.
fn with_zones(lab: &mut Lab, case: impl FnOnce(&mut Lab) -> Result<()>) -> Result<()> {
    for (node, zone) in [(1, "a"), (2, "a"), (3, "b")] {
        lab.patch_node(node, Some(in_zone(zone)))?;
    }
    let outcome = case(lab);
    (1..=NODES).try_for_each(|node| lab.patch_node(node, None))?;
    outcome
}

fn in_zone(zone: &str) -> Value {
    json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}})
}

fn for_zone(zone: &str) -> Value {
    json!({"zone": zone, "hints": {"forZones": [{"name": zone}]}})
}

fn for_zone_and_node(zone: &str, node: u8) -> Value {
    json!({"zone": zone, "hints": {"forZones": [{"name": zone}], "forNodes": [{"name": format!("n{node}")}]}})
}

/// A Service with a Pod on each node, which are hinted to their nodes' zones.
fn hinted(lab: &mut Lab, service: &str) -> Result<Vec<String>> {
    let pods = lab.add_pods(&[1, 2, 3])?;
    for (pod, zone) in pods.iter().zip(["a", "a", "b"]) {
        lab.patch_endpoint(pod, Some(for_zone(zone)))?;
    }
    serve(lab, ServiceSpec::new(service, &pods))?;
    Ok(pods)
}

fn zones(lab: &mut Lab) -> Result<()> {
    let service = "zones";
    let pods = hinted(lab, service)?;
    let (a, b) = pods.split_at(2);
    reached_are(lab, service, 1, a)?;
    reached_are(lab, service, 2, a)?;
    reached_are(lab, service, 3, b)?;
    // The node moves.
    lab.patch_node(3, Some(in_zone("a")))?;
    reached_are(lab, service, 3, a)?;
    // To a zone that nobody is hinted to, and to none.
    lab.patch_node(3, Some(in_zone("c")))?;
    reached_are(lab, service, 3, &pods)?;
    lab.patch_node(3, None)?;
    reached_are(lab, service, 3, &pods)?;
    lab.patch_node(3, Some(in_zone("b")))?;
    reached_are(lab, service, 3, b)?;
    // One ready endpoint without a hint: they are not complete.
    lab.patch_endpoint(&pods[0], None)?;
    for node in [1, 3] {
        reached_are(lab, service, node, &pods)?;
    }
    // One that is not ready needs none.
    lab.set_pod_state(&pods[0], PodState::NotReady)?;
    reached_are(lab, service, 1, &pods[1..2])?;
    reached_are(lab, service, 3, b)
}

fn nodes(lab: &mut Lab) -> Result<()> {
    let service = "node-hints";
    let pods = hinted(lab, service)?;
    for (pod, (zone, node)) in pods.iter().zip([("a", 1), ("a", 2), ("b", 3)]) {
        lab.patch_endpoint(pod, Some(for_zone_and_node(zone, node)))?;
    }
    for (node, pod) in (1..=NODES).zip(pods.chunks(1)) {
        reached_are(lab, service, node, pod)?;
    }
    lab.set_pod_state(&pods[0], PodState::NotReady)?;
    reached_are(lab, service, 1, &pods[1..2])?;
    lab.set_pod_state(&pods[0], PodState::Ready)?;
    reached_are(lab, service, 1, &pods[..1])
}

fn no_matter(lab: &mut Lab) -> Result<()> {
    let service = "no-matter";
    let pods = hinted(lab, service)?;
    // Those of zone a are hinted elsewhere, which only the policy Cluster cares for.
    for pod in &pods {
        lab.patch_endpoint(pod, Some(for_zone("b")))?;
    }
    reached_are(lab, service, 3, &pods)?;
    lab.put_service(ServiceSpec::new(service, &pods).with_local_pods_only())?;
    reached_are(lab, service, INGRESS, &pods[..1])?;
    lab.put_service(ServiceSpec::new(service, &pods))?;
    for (pod, zone) in pods.iter().zip(["a", "a", "b"]) {
        lab.patch_endpoint(pod, Some(for_zone(zone)))?;
        lab.set_pod_state(pod, PodState::Terminating)?;
    }
    reached_are(lab, service, 3, &pods)?;
    // The one that is ready has everything, and its hint counts: to the other zone, so it does not.
    lab.set_pod_state(&pods[0], PodState::Ready)?;
    reached_are(lab, service, 3, &pods[..1])
}

/// All ways in at this node lead to these Pods.
fn reached_are(lab: &Lab, service: &str, node: u8, pods: &[String]) -> Result<()> {
    let frontends = frontends(lab, service, FrontendKind::NodePort, node)?;
    frontends.into_iter().try_for_each(|(protocol, to)| wait_until_reached_are(lab, protocol, to, pods))
}
