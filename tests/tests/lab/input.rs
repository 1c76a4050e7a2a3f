//! What the agent reads: bad input is named by file, object and field, and takes nothing along.
//!
//! Every case runs beside a Service that must be answered by all its Pods, before and while the bad file is there, and
//! ends with the file mended or removed, after which the status is content again.

mod limits;

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use limpet_lab::address::{Family, POD_PORT};
use limpet_lab::world::{Protocol, ServiceSpec};
use limpet_lab::{Lab, wait};

use crate::support::{self, CHANGE_LIMIT, INGRESS, Test, all_first_pods, frontend, serve, who_answers};

/// The Service that nothing may happen to.
const STEADY: &str = "steady";
/// Addresses that no Service of the lab's own gets, since those are counted from 1.
const FREE: &str = "203.0.113.251";
const FREE_V6: &str = "2001:db8:113::fb";
const OTHER_FREE: &str = "203.0.113.252";

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = vec![
        Test::new("a_file_that_does_not_parse_is_named_with_its_line", broken_file),
        Test::new("an_unknown_kind_is_named_and_its_neighbours_are_served", unknown_kind),
        Test::new("an_impossible_port_is_named_and_the_others_are_served", impossible_port),
        Test::new("an_impossible_port_of_a_served_service_changes_nothing", port_made_impossible),
        Test::new("an_endpoint_of_the_wrong_family_is_named_and_the_others_serve", endpoint_of_the_wrong_family),
        Test::new("a_frontend_of_the_wrong_family_is_named_and_the_others_are_served", frontend_of_the_wrong_family),
        Test::new("of_two_services_with_one_frontend_the_older_is_served", one_frontend_claimed_twice),
        Test::new("a_slice_without_a_service_is_named_and_waits_for_it", slice_without_service),
        Test::new("a_removed_service_is_not_answered_any_more", removed_service),
    ];
    tests.extend(limits::tests());
    tests
}

fn broken_file(lab: &mut Lab) -> Result<()> {
    let broken = "kind: Service\nmetadata: {name: [unclosed\n";
    beside_a_steady_service(lab, "broken.yaml", broken, |lab| {
        says(lab, 1, &["error", "broken.yaml", "document 1, line 2"])?;
        // What comes while nothing may be taken away is served all the same.
        serve(lab, ServiceSpec::new("beside-broken", &all_first_pods()))?;
        lab.remove_service("beside-broken")
    })
}

fn unknown_kind(lab: &mut Lab) -> Result<()> {
    let text = format!("{}{}", "apiVersion: apps/v1\nkind: Deployment\n---\n", service("kinds", FREE, &["p1-1"], lab)?);
    beside_a_steady_service(lab, "kinds.yaml", &text, |lab| {
        // Directories of manifests hold more than what a load balancer reads: no error.
        says(lab, 0, &["warning", "kinds.yaml", "document 1", "\"Deployment\" is ignored", "EndpointSlice"])?;
        answered_by(lab, FREE, "p1-1")
    })
}

fn impossible_port(lab: &mut Lab) -> Result<()> {
    let text = service("ports", FREE, &["p2-1"], lab)?.replace("ports: [{", "ports: [{name: far, port: 70000}, {");
    beside_a_steady_service(lab, "ports.yaml", &text, |lab| {
        says(lab, 1, &["error", "ports.yaml", "Service lab/ports", "spec.ports[0].port", "70000 is not in 1..=65535"])?;
        answered_by(lab, FREE, "p2-1")
    })
}

fn port_made_impossible(lab: &mut Lab) -> Result<()> {
    let good = service("spoilt", FREE, &["p2-1"], lab)?;
    let bad = good.replace("port: 80}", "port: 0}");
    beside_a_steady_service(lab, "spoilt.yaml", &good, |lab| {
        answered_by(lab, FREE, "p2-1")?;
        lab.manifests().write("spoilt.yaml", &bad)?;
        says(lab, 1, &["error", "spoilt.yaml", "Service lab/spoilt", "spec.ports[0].port", "0 is not in 1..=65535"])?;
        answered_by(lab, FREE, "p2-1")?;
        lab.manifests().write("spoilt.yaml", &good)?;
        is_content(lab)
    })
}

fn endpoint_of_the_wrong_family(lab: &mut Lab) -> Result<()> {
    let good = service("families", FREE, &["p2-1"], lab)?;
    let text = good.replace("endpoints: [", "endpoints: [{addresses: ['2001:db8::7'], nodeName: n1}, ");
    beside_a_steady_service(lab, "families.yaml", &text, |lab| {
        let field = "endpoints[0].addresses[0]";
        says(lab, 1, &["error", "families.yaml", "EndpointSlice lab/families", field, "2001:db8::7", "IPv4"])?;
        answered_by(lab, FREE, "p2-1")
    })
}

fn frontend_of_the_wrong_family(lab: &mut Lab) -> Result<()> {
    let good = service("single", FREE, &["p3-1"], lab)?;
    let text = good.replace("spec: {", &format!("spec: {{ipFamilies: [IPv4], externalIPs: ['{FREE_V6}'], "));
    beside_a_steady_service(lab, "single.yaml", &text, |lab| {
        let field = "spec.externalIPs[0]";
        says(lab, 0, &["warning", "single.yaml", "Service lab/single", field, FREE_V6, "ipFamilies"])?;
        answered_by(lab, FREE, "p3-1")
    })
}

fn one_frontend_claimed_twice(lab: &mut Lab) -> Result<()> {
    // The names say the opposite of the ages.
    let older = aged(&service("z-older", FREE, &["p1-1"], lab)?, "z-older", "2020-01-01T00:00:00Z");
    let younger = aged(&service("a-younger", FREE, &["p2-1"], lab)?, "a-younger", "2024-01-01T00:00:00Z");
    let result = beside_a_steady_service(lab, "younger.yaml", &younger, |lab| {
        answered_by(lab, FREE, "p2-1")?;
        lab.manifests().write("older.yaml", &older)?;
        let claimed = ["younger.yaml", "Service lab/a-younger", "status.loadBalancer.ingress[0].ip"];
        let kept = ["203.0.113.251:80/TCP", "lab/z-older", "(older.yaml)", "the older Service has it"];
        says(lab, 1, &[&["error"][..], &claimed, &kept].concat())?;
        answered_by(lab, FREE, "p1-1")?;
        lab.manifests().remove("older.yaml")?;
        is_content(lab)?;
        answered_by(lab, FREE, "p2-1")
    });
    lab.manifests().remove("older.yaml")?;
    result
}

fn slice_without_service(lab: &mut Lab) -> Result<()> {
    let whole = service("late", FREE, &["p1-2"], lab)?;
    let (object, slice) = whole.split_once("---\n").context("a Service and its slice")?;
    let result = beside_a_steady_service(lab, "slice.yaml", slice, |lab| {
        says(lab, 0, &["warning", "slice.yaml", "EndpointSlice lab/late", "there is no Service lab/late"])?;
        lab.manifests().write("late.yaml", object)?;
        answered_by(lab, FREE, "p1-2")?;
        is_content(lab)?;
        // Beside another one, which must not be disturbed by what comes late.
        let other = service("other", OTHER_FREE, &["p1-1"], lab)?;
        lab.manifests().write("late.yaml", &format!("{object}---\n{other}"))?;
        answered_by(lab, OTHER_FREE, "p1-1")
    });
    lab.manifests().remove("late.yaml")?;
    result
}

fn removed_service(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("passing", &all_first_pods()))?;
    let to = frontend(lab, "passing", Family::V4, Protocol::Tcp)?;
    lab.remove_service("passing")?;
    wait::until_true(&format!("{to} to be gone"), CHANGE_LIMIT, || Ok(lab.client(1).tcp_who(to, None).is_err()))
}

/// Runs a case with a file that is removed after it, whatever happens; then the status must be content again.
fn beside_a_steady_service(
    lab: &mut Lab,
    file: &str,
    text: &str,
    case: impl FnOnce(&mut Lab) -> Result<()>,
) -> Result<()> {
    serve(lab, ServiceSpec::new(STEADY, &all_first_pods()))?;
    is_content(lab)?;
    lab.manifests().write(file, text)?;
    let outcome = case(lab).and_then(|()| steady(lab));
    lab.manifests().remove(file)?;
    outcome?;
    is_content(lab)?;
    steady(lab)
}

fn steady(lab: &Lab) -> Result<()> {
    let pods = all_first_pods();
    let to = frontend(lab, STEADY, Family::V4, Protocol::Tcp)?;
    let reached = who_answers(lab, Protocol::Tcp, to, pods.len() * pods.len() + 30)?;
    ensure!(reached.iter().eq(&pods), "of {STEADY} only {reached:?} answer");
    Ok(())
}

fn says(lab: &Lab, code: i32, parts: &[&str]) -> Result<()> {
    support::says(lab, INGRESS, code, parts)
}

fn is_content(lab: &Lab) -> Result<()> {
    support::is_content(lab, INGRESS)
}

/// Waits until a client's connections to port 80 of an address are answered by this Pod alone.
fn answered_by(lab: &Lab, address: &str, pod: &str) -> Result<()> {
    let to = SocketAddr::new(address.parse()?, 80);
    wait::until_true(&format!("{to} to be answered by Pod {pod}"), CHANGE_LIMIT, || {
        let reached = who_answers(lab, Protocol::Tcp, to, 5)?;
        ensure!(reached.iter().eq([pod]), "{reached:?} answer");
        Ok(true)
    })
}

/// A Service with one TCP port and one load-balancer IP, and its slice in a document after it, as people write them.
fn service(name: &str, address: &str, pods: &[&str], lab: &Lab) -> Result<String> {
    let endpoint = |pod: &&str| {
        let pod = lab.world().pod(pod)?;
        let (address, node, name) = (pod.address(Family::V4), pod.node(), pod.name());
        let target = format!("targetRef: {{kind: Pod, namespace: lab, name: {name}}}");
        Ok(format!("{{addresses: [{address}], nodeName: n{node}, {target}}}"))
    };
    let endpoints = pods.iter().map(endpoint).collect::<Result<Vec<_>>>()?.join(", ");
    Ok(format!(
        "apiVersion: v1\n\
         kind: Service\n\
         metadata: {{namespace: lab, name: {name}}}\n\
         spec: {{type: LoadBalancer, ports: [{{port: 80}}]}}\n\
         status: {{loadBalancer: {{ingress: [{{ip: {address}}}]}}}}\n\
         ---\n\
         apiVersion: discovery.k8s.io/v1\n\
         kind: EndpointSlice\n\
         metadata: {{namespace: lab, name: {name}, labels: {{kubernetes.io/service-name: {name}}}}}\n\
         addressType: IPv4\n\
         ports: [{{name: '', port: {POD_PORT}}}]\n\
         endpoints: [{endpoints}]\n"
    ))
}

fn aged(text: &str, name: &str, created: &str) -> String {
    text.replacen(&format!("name: {name}}}"), &format!("name: {name}, creationTimestamp: '{created}'}}"), 1)
}
