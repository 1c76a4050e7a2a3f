//! Services and slices that are not ours to look at, and the way there and back.

use anyhow::Result;
use limpet_lab::Lab;
use limpet_lab::world::{FrontendKind, ServiceSpec};
use serde_json::{Value, json};

use super::fate::{Fate, wait_for_kind};
use super::slices::{slices_of_both_families, with_slices, write_slices};
use crate::support::{Test, all_first_pods, serve};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("an_external_name_is_translated_nowhere_and_a_service_again_when_it_is_none", |lab| {
            comes_back(lab, "external-name", json!({"spec": {"type": "ExternalName", "externalName": "example.org"}}))
        }),
        Test::new("a_headless_service_is_translated_nowhere_and_a_service_again_when_it_is_not", |lab| {
            comes_back(
                lab,
                "headless",
                json!({"spec": {"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]}}),
            )
        }),
        Test::new("the_label_service_proxy_name_gives_a_service_to_somebody_else_until_it_is_removed", |lab| {
            let labels = json!({"service.kubernetes.io/service-proxy-name": "another"});
            comes_back(lab, "proxy-name", json!({"metadata": {"labels": labels}}))
        }),
        Test::new("the_label_headless_hides_a_slice_until_it_is_removed", headless_slice),
    ]
}

/// A Service that is served, then patched to be none of ours, then served again.
fn comes_back(lab: &mut Lab, name: &str, patch: Value) -> Result<()> {
    let spec = ServiceSpec::new(name, &all_first_pods());
    serve(lab, spec.clone())?;
    lab.put_service(spec.clone().with(patch))?;
    for kind in [FrontendKind::LoadBalancerIp, FrontendKind::ExternalIp] {
        wait_for_kind(lab, name, kind, Fate::NoRoute)?;
    }
    lab.put_service(spec)?;
    for kind in FrontendKind::ALL {
        wait_for_kind(lab, name, kind, Fate::Answered)?;
    }
    Ok(())
}

fn headless_slice(lab: &mut Lab) -> Result<()> {
    let (service, kind) = ("hidden", FrontendKind::LoadBalancerIp);
    lab.put_service(ServiceSpec::new(service, &[]))?;
    let open = slices_of_both_families(lab, service, "endpoints", &["p1-1", "p2-1"])?;
    let mut hidden = open.clone();
    for slice in &mut hidden {
        // Its value says nothing.
        slice["metadata"]["labels"]["service.kubernetes.io/headless"] = json!("");
    }
    with_slices(lab, service, &open, |lab| {
        wait_for_kind(lab, service, kind, Fate::Answered)?;
        write_slices(lab, service, &hidden)?;
        wait_for_kind(lab, service, kind, Fate::Rejected)?;
        write_slices(lab, service, &open)?;
        wait_for_kind(lab, service, kind, Fate::Answered)
    })
}
