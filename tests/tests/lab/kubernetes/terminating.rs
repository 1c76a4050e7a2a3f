//! Endpoints that terminate: they serve what they have, and new connections only where nobody else can.

use anyhow::Result;
use limpet_lab::Lab;
use limpet_lab::world::{FrontendKind, PodState, ServiceSpec};
use serde_json::json;

use super::fate::{Fate, frontends, wait_for_kind};
use crate::support::{INGRESS, Test, serve, wait_until_reached_are};

const OTHER: u8 = 2;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("while_all_endpoints_terminate_those_that_serve_are_used", all_terminate),
        Test::new("endpoints_that_terminate_and_do_not_serve_are_refused", none_serves),
        Test::new("with_local_policy_a_nodes_last_endpoint_serves_while_it_terminates", local_last),
    ]
}

fn all_terminate(lab: &mut Lab) -> Result<()> {
    let service = "all-terminate";
    let pods = lab.add_pods(&[1, 2, 3])?;
    serve(lab, ServiceSpec::new(service, &pods))?;
    for pod in &pods[..2] {
        lab.set_pod_state(pod, PodState::Terminating)?;
    }
    reached_are(lab, service, &pods[2..])?;
    lab.set_pod_state(&pods[2], PodState::Terminating)?;
    reached_are(lab, service, &pods)?;
    // The first that is ready again has everything.
    lab.set_pod_state(&pods[0], PodState::Ready)?;
    reached_are(lab, service, &pods[..1])
}

fn none_serves(lab: &mut Lab) -> Result<()> {
    let service = "none-serves";
    let pods = lab.add_pods(&[1, 2])?;
    serve(lab, ServiceSpec::new(service, &pods))?;
    for pod in &pods {
        let conditions = json!({"ready": false, "serving": false, "terminating": true});
        lab.patch_endpoint(pod, Some(json!({"conditions": conditions})))?;
    }
    wait_for_kind(lab, service, FrontendKind::LoadBalancerIp, Fate::Rejected)?;
    lab.patch_endpoint(&pods[1], None)?;
    reached_are(lab, service, &pods[1..])
}

/// Ready ones elsewhere do not keep it from that.
fn local_last(lab: &mut Lab) -> Result<()> {
    let service = "local-last";
    let pods = lab.add_pods(&[INGRESS, OTHER, OTHER])?;
    serve(lab, ServiceSpec::new(service, &pods).with_local_pods_only())?;
    lab.set_pod_state(&pods[0], PodState::Terminating)?;
    lab.set_pod_state(&pods[1], PodState::Terminating)?;
    for (node, own) in [(INGRESS, &pods[..1]), (OTHER, &pods[2..])] {
        for (protocol, to) in frontends(lab, service, FrontendKind::NodePort, node)? {
            wait_until_reached_are(lab, protocol, to, own)?;
        }
    }
    // It is gone: what is left is elsewhere, and the policy keeps it from there.
    lab.withdraw_pod(&pods[0])?;
    wait_for_kind(lab, service, FrontendKind::NodePort, Fate::Dropped)
}

fn reached_are(lab: &Lab, service: &str, pods: &[String]) -> Result<()> {
    let frontends = frontends(lab, service, FrontendKind::LoadBalancerIp, INGRESS)?;
    frontends.into_iter().try_for_each(|(protocol, to)| wait_until_reached_are(lab, protocol, to, pods))
}
