//! EndpointSlices that are not what the EndpointSlice controller usually writes: several for one Service, with other ports,
//! with holes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use limpet_lab::address::{Family, OTHER_POD_PORT, POD_PORT};
use limpet_lab::world::{FrontendKind, NAMESPACE, Port, Protocol, ServiceSpec};
use limpet_lab::{Lab, wait};
use serde_json::{Value, json};

use super::fate::{Fate, frontends, wait_for_kind};
use crate::support::{CHANGE_LIMIT, INGRESS, Test, frontend, wait_until_reached_are, who_answers};

/// How often a slice is replaced while clients connect.
const REPLACEMENTS: usize = 20;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("slices_of_a_service_may_have_one_port_each", one_port_each),
        Test::new("an_endpoint_in_two_slices_is_one", one_endpoint_twice),
        Test::new("a_named_port_is_another_number_on_each_pod", named_port),
        Test::new("what_is_missing_in_a_slice_costs_nobody_else_anything", holes),
        Test::new("conditions_that_are_missing_mean_ready", no_conditions),
        Test::new("an_endpoint_that_is_ready_and_terminating_is_used", ready_and_terminating),
        Test::new("an_endpoint_that_serves_and_is_not_ready_is_not_used", serving_only),
        Test::new("a_slice_that_is_replaced_in_one_batch_refuses_nobody", replaced),
    ]
}

/// A slice with all ports of a Service at the Pods' usual port.
pub(super) fn slice(lab: &Lab, service: &str, name: &str, family: Family, pods: &[&str]) -> Result<Value> {
    let endpoint = |pod: &&str| {
        let pod = lab.world().pod(pod)?;
        Ok(json!({
            "addresses": [pod.address(family)],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": format!("n{}", pod.node()),
            "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": pod.name()},
        }))
    };
    let endpoints = pods.iter().map(endpoint).collect::<Result<Vec<_>>>()?;
    let port = |port: &Port| json!({"name": port.name(), "protocol": port.protocol.name(), "port": POD_PORT});
    let ports: Vec<Value> = lab.world().service(service)?.spec().ports.iter().map(port).collect();
    Ok(json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": NAMESPACE,
            "name": format!("{service}-{name}-{}", family.name().to_lowercase()),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": family.name(),
        "endpoints": endpoints,
        "ports": ports,
    }))
}

/// The same for both families.
pub(super) fn slices_of_both_families(lab: &Lab, service: &str, name: &str, pods: &[&str]) -> Result<Vec<Value>> {
    Family::BOTH.into_iter().map(|family| slice(lab, service, name, family, pods)).collect()
}

/// Runs a case with these slices beside the empty ones that the lab writes, and takes them away again.
pub(super) fn with_slices(
    lab: &mut Lab,
    service: &str,
    slices: &[Value],
    case: impl FnOnce(&mut Lab) -> Result<()>,
) -> Result<()> {
    write_slices(lab, service, slices)?;
    let outcome = case(lab);
    lab.manifests().remove(&file(service))?;
    outcome
}

/// Puts these slices in place of those that [`with_slices`] wrote, in one step.
pub(super) fn write_slices(lab: &Lab, service: &str, slices: &[Value]) -> Result<()> {
    lab.manifests().write_objects(&file(service), slices)
}

fn file(service: &str) -> String {
    format!("slices-{service}.yaml")
}

fn one_port_each(lab: &mut Lab) -> Result<()> {
    let service = "one-port-each";
    lab.put_service(ServiceSpec::new(service, &[]))?;
    let mut slices = Vec::new();
    for (index, pod) in ["p1-1", "p2-1"].into_iter().enumerate() {
        for mut slice in slices_of_both_families(lab, service, &format!("port-{index}"), &[pod])? {
            slice["ports"] = json!([slice["ports"][index]]);
            slices.push(slice);
        }
    }
    with_slices(lab, service, &slices, |lab| {
        for (protocol, to) in frontends(lab, service, FrontendKind::LoadBalancerIp, INGRESS)? {
            let pod = match protocol {
                Protocol::Tcp => "p1-1",
                Protocol::Udp => "p2-1",
            };
            wait_until_reached_are(lab, protocol, to, &[pod.to_owned()])?;
        }
        Ok(())
    })
}

/// As while it moves from one to the other: its share is one, not two.
fn one_endpoint_twice(lab: &mut Lab) -> Result<()> {
    let service = "one-twice";
    lab.put_service(ServiceSpec::new(service, &[]))?;
    let mut slices = slices_of_both_families(lab, service, "a", &["p1-1", "p2-1"])?;
    slices.extend(slices_of_both_families(lab, service, "b", &["p1-1", "p3-1"])?);
    let pods = ["p1-1", "p2-1", "p3-1"].map(str::to_owned);
    with_slices(lab, service, &slices, |lab| {
        for (protocol, to) in frontends(lab, service, FrontendKind::LoadBalancerIp, INGRESS)? {
            wait_until_reached_are(lab, protocol, to, &pods)?;
        }
        let shares = shares(lab, service)?;
        // Three Pods, two protocols and two families.
        ensure!(shares.len() == 12, "it has {shares:?}");
        let (least, most) = (shares.values().min(), shares.values().max());
        let even = least.zip(most).is_some_and(|(least, most)| most - least <= 1);
        ensure!(even, "shares of a table are {shares:?}");
        Ok(())
    })
}

/// How many slots each backend of a Service has at the ingress node.
fn shares(lab: &Lab, service: &str) -> Result<BTreeMap<(IpAddr, String), u64>> {
    let rows = lab.limpet(INGRESS, &["get", "backends", "-A", "-o", "json"])?.json()?;
    let rows = rows.as_array().context("`limpet get backends` has another form")?;
    let own = rows.iter().filter(|row| row["service"]["name"] == service);
    own.map(|row| {
        let address = row["address"].as_str().context("a backend without an address")?;
        let slots = row["slots"].as_u64().context("a backend without slots")?;
        Ok(((address.parse()?, row["service"].to_string()), slots))
    })
    .collect()
}

fn named_port(lab: &mut Lab) -> Result<()> {
    let service = "named-port";
    lab.put_service(ServiceSpec::new(service, &[]))?;
    let mut slices = slices_of_both_families(lab, service, "usual", &["p1-1", "p2-1"])?;
    for mut slice in slices_of_both_families(lab, service, "other", &["p1-2", "p3-1"])? {
        for port in slice["ports"].as_array_mut().context("a slice has ports")? {
            port["port"] = json!(OTHER_POD_PORT);
        }
        slices.push(slice);
    }
    let pods = ["p1-1", "p1-2", "p2-1", "p3-1"].map(str::to_owned);
    with_slices(lab, service, &slices, |lab| {
        for (protocol, to) in frontends(lab, service, FrontendKind::LoadBalancerIp, INGRESS)? {
            wait_until_reached_are(lab, protocol, to, &pods)?;
            for _ in 0..20 {
                let answer = lab.client(1).who(protocol, to, None)?;
                let usual = ["p1-1", "p2-1"].contains(&answer.pod.as_str());
                let expected = if usual { POD_PORT } else { OTHER_POD_PORT };
                ensure!(answer.server.port() == expected, "Pod {} is reached at {}", answer.pod, answer.server);
            }
        }
        Ok(())
    })
}

fn holes(lab: &mut Lab) -> Result<()> {
    let service = "holes";
    lab.put_service(ServiceSpec::new(service, &[]))?;
    let mut slices = slices_of_both_families(lab, service, "whole", &["p1-1", "p3-2"])?;
    let mut no_addresses = slice(lab, service, "no-addresses", Family::V4, &["p2-1", "p2-2"])?;
    no_addresses["endpoints"][0]["addresses"] = json!([]);
    slices.push(no_addresses);
    for (name, missing) in [("no-name", "name"), ("no-number", "port")] {
        let mut holed = slice(lab, service, name, Family::V4, &["p3-1"])?;
        for port in holed["ports"].as_array_mut().context("a slice has ports")? {
            port[missing] = Value::Null;
        }
        slices.push(holed);
    }
    let mut names = slice(lab, service, "names", Family::V4, &["p1-2"])?;
    names["addressType"] = json!("FQDN");
    names["endpoints"][0]["addresses"] = json!(["pod.example.org"]);
    slices.push(names);
    with_slices(lab, service, &slices, |lab| {
        for (protocol, to) in frontends(lab, service, FrontendKind::LoadBalancerIp, INGRESS)? {
            let mut pods = vec!["p1-1".to_owned(), "p3-2".to_owned()];
            // The endpoint that stands beside the one without an address.
            pods.extend(to.is_ipv4().then(|| "p2-2".to_owned()));
            wait_until_reached_are(lab, protocol, to, &pods)?;
        }
        Ok(())
    })
}

fn no_conditions(lab: &mut Lab) -> Result<()> {
    only_one_is_used(lab, "no-conditions", &json!({}), true)
}

/// What `publishNotReadyAddresses` makes of a Pod that terminates.
fn ready_and_terminating(lab: &mut Lab) -> Result<()> {
    let conditions = json!({"ready": true, "serving": true, "terminating": true});
    only_one_is_used(lab, "ready-terminating", &conditions, true)
}

fn serving_only(lab: &mut Lab) -> Result<()> {
    let conditions = json!({"ready": false, "serving": true, "terminating": false});
    only_one_is_used(lab, "serving-only", &conditions, false)
}

/// One endpoint with these conditions, by itself and beside a ready one.
fn only_one_is_used(lab: &mut Lab, service: &str, conditions: &Value, used: bool) -> Result<()> {
    lab.put_service(ServiceSpec::new(service, &[]))?;
    let with_conditions = |mut slices: Vec<Value>| {
        slices.iter_mut().for_each(|slice| slice["endpoints"][0]["conditions"] = conditions.clone());
        slices
    };
    let alone = with_conditions(slices_of_both_families(lab, service, "one", &["p1-1"])?);
    let beside = with_conditions(slices_of_both_families(lab, service, "one", &["p1-1", "p2-1"])?);
    with_slices(lab, service, &alone, |lab| {
        let fate = if used { Fate::Answered } else { Fate::Rejected };
        wait_for_kind(lab, service, FrontendKind::LoadBalancerIp, fate)?;
        write_slices(lab, service, &beside)?;
        let pods = ["p1-1", "p2-1"].map(str::to_owned);
        for (protocol, to) in frontends(lab, service, FrontendKind::LoadBalancerIp, INGRESS)? {
            wait_until_reached_are(lab, protocol, to, if used { &pods } else { &pods[1..] })?;
        }
        Ok(())
    })
}

/// The same endpoints under another slice's name, again and again, while clients connect as fast as they can. Every other
/// time there is one more that is not ready, which shows that the agent has read it.
pub(super) fn replaced(lab: &mut Lab) -> Result<()> {
    let (service, sign) = ("replaced", "p3-2");
    lab.put_service(ServiceSpec::new(service, &[]))?;
    let sign_address = lab.world().pod(sign)?.address(Family::V4);
    let plain = slices_of_both_families(lab, service, "a", &["p1-1", "p2-1", "p3-1"])?;
    let mut signed = slices_of_both_families(lab, service, "b", &["p1-1", "p2-1", "p3-1", sign])?;
    for slice in &mut signed {
        slice["endpoints"][3]["conditions"] = json!({"ready": false, "serving": false, "terminating": false});
    }
    let to = frontend(lab, service, Family::V4, Protocol::Tcp)?;
    with_slices(lab, service, &plain, |lab| {
        wait_for_kind(lab, service, FrontendKind::LoadBalancerIp, Fate::Answered)?;
        let (lab, done) = (&*lab, AtomicBool::new(false));
        let connected = thread::scope(|scope| {
            let clients = scope.spawn(|| {
                let mut connected = 0;
                while !done.load(Ordering::Relaxed) {
                    who_answers(lab, Protocol::Tcp, to, 10).with_context(|| format!("after {connected}"))?;
                    connected += 10;
                }
                anyhow::Ok(connected)
            });
            let replaced = (1..=REPLACEMENTS).try_for_each(|time| {
                let is_signed = time % 2 == 1;
                write_slices(lab, service, if is_signed { &signed } else { &plain })?;
                wait::until_true(&format!("replacement {time} to be programmed"), CHANGE_LIMIT, || {
                    let shares = shares(lab, service)?;
                    Ok(shares.keys().any(|(address, _)| *address == sign_address) == is_signed)
                })
            });
            done.store(true, Ordering::Relaxed);
            let connected = clients.join().map_err(|_| anyhow!("a client panicked"))??;
            replaced.map(|()| connected)
        })?;
        ensure!(connected > REPLACEMENTS, "there were only {connected} connections");
        Ok(())
    })
}
