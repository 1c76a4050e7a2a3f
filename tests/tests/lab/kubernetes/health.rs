//! `healthCheckNodePort`: load balancers ask each node whether it has ready endpoints.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use limpet_lab::address::{self, Family, NODES};
use limpet_lab::world::{FrontendKind, PodState, ServiceSpec};
use limpet_lab::{Lab, wait};
use serde_json::{Value, json};

use super::fate::frontends;
use crate::support::{CHANGE_LIMIT, Test, serve, wait_until_reached_are};

const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_health_check_node_port_tells_each_nodes_ready_endpoints", tells),
        Test::new("a_health_check_node_port_is_closed_when_the_policy_is_not_local", closed),
        Test::new("a_health_check_node_port_that_another_program_has_is_named_and_tried_again", taken),
    ]
}

/// A Service with a health-check port of its own.
fn spec(service: &str, port: u16, pods: &[String]) -> ServiceSpec {
    ServiceSpec::new(service, pods).with_local_pods_only().with(json!({"spec": {"healthCheckNodePort": port}}))
}

/// What a node answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }
}

fn ask(lab: &Lab, family: Family, node: u8, port: u16, request: &str) -> Result<Answer> {
    let to = SocketAddr::new(address::node(family, node), port);
    let text = lab.client_namespace(1).run(|| {
        let mut stream =
            TcpStream::connect_timeout(&to, PATIENCE).with_context(|| format!("cannot connect to {to}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "{request} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").context("cannot ask")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).context("no whole answer")?;
        Ok(text)
    })?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("{text:?} is no answer"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("{head:?} has no status"))?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// Waits until a node says that it has so many endpoints of a Service, by status, header and body.
fn wait_until_told(lab: &Lab, service: &str, node: u8, port: u16, endpoints: usize) -> Result<()> {
    let what = format!("n{node} to say that {service} has {endpoints} endpoints there");
    wait::until_true(&what, CHANGE_LIMIT, || {
        for family in Family::BOTH {
            let answer = ask(lab, family, node, port, "GET /healthz")?;
            ensure!(answer.status == if endpoints > 0 { 200 } else { 503 }, "it answers {answer:?}");
            let weight = answer.header("x-load-balancing-endpoint-weight");
            ensure!(weight == Some(&endpoints.to_string()), "its weight is {weight:?}");
            ensure!(answer.header("content-type") == Some("application/json"), "it answers {answer:?}");
            ensure!(answer.header("x-content-type-options") == Some("nosniff"), "it answers {answer:?}");
            let body: Value = serde_json::from_str(&answer.body).context("its body is no JSON")?;
            let expected = json!({
                "service": {"namespace": "lab", "name": service},
                "localEndpoints": endpoints,
                "serviceProxyHealthy": true,
            });
            ensure!(body == expected, "it says {body}");
        }
        Ok(true)
    })
}

fn tells(lab: &mut Lab) -> Result<()> {
    let (service, port) = ("health", 32_101);
    let pods = lab.add_pods(&[1, 1, 2])?;
    serve(lab, spec(service, port, &pods))?;
    // Pods, whatever the number of ports.
    for (node, endpoints) in [(1, 2), (2, 1), (3, 0)] {
        wait_until_told(lab, service, node, port, endpoints)?;
    }
    // Any path, and no body where none is asked for.
    ensure!(ask(lab, Family::V4, 1, port, "GET /any/path?at=all")?.status == 200);
    let head = ask(lab, Family::V6, 1, port, "HEAD /")?;
    ensure!(head.status == 200 && head.body.is_empty(), "HEAD brings {head:?}");
    // While they terminate, they serve what comes, and nothing new should come.
    lab.set_pod_state(&pods[0], PodState::NotReady)?;
    wait_until_told(lab, service, 1, port, 1)?;
    lab.set_pod_state(&pods[1], PodState::Terminating)?;
    wait_until_told(lab, service, 1, port, 0)?;
    for (protocol, to) in frontends(lab, service, FrontendKind::NodePort, 1)? {
        wait_until_reached_are(lab, protocol, to, &pods[1..2])?;
    }
    lab.set_pod_state(&pods[0], PodState::Ready)?;
    wait_until_told(lab, service, 1, port, 1)
}

fn closed(lab: &mut Lab) -> Result<()> {
    let (service, port) = ("health-closed", 32_102);
    let pods = lab.add_pods(&[1, 2, 3])?;
    let local = spec(service, port, &pods);
    let cluster = ServiceSpec::new(service, &pods);
    serve(lab, local.clone())?;
    for _ in 0..2 {
        for node in 1..=NODES {
            wait_until_told(lab, service, node, port, 1)?;
        }
        lab.put_service(cluster.clone())?;
        for node in 1..=NODES {
            wait::until_true(&format!("n{node} to close port {port}"), CHANGE_LIMIT, || {
                Ok(ask(lab, Family::V4, node, port, "GET /").is_err())
            })?;
        }
        lab.put_service(local.clone())?;
    }
    lab.remove_service(service)?;
    wait::until_true(&format!("n1 to close port {port}"), CHANGE_LIMIT, || {
        Ok(ask(lab, Family::V6, 1, port, "GET /").is_err())
    })
}

/// As beside kube-proxy, which serves the same ports.
fn taken(lab: &mut Lab) -> Result<()> {
    let (service, port, node) = ("health-taken", 32_103, 2);
    let listen = || {
        let other = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port));
        other.with_context(|| format!("cannot listen on port {port}"))
    };
    // One socket for both families.
    let other = lab.node(node).run(listen)?;
    let pods = lab.add_pods(&[node])?;
    lab.put_service(spec(service, port, &pods))?;
    let says = |lab: &Lab, named: bool| {
        wait::until_true(&format!("the status of n{node} to name port {port}: {named}"), CHANGE_LIMIT, || {
            let problems = lab.status(node)?.problems;
            let about = |problem: &&Value| {
                let text = problem.to_string();
                text.contains(service) && text.contains(&port.to_string())
            };
            ensure!(problems.iter().any(|problem| about(&problem)) == named, "its problems are {problems:?}");
            Ok(true)
        })
    };
    says(lab, true)?;
    for (protocol, to) in frontends(lab, service, FrontendKind::NodePort, node)? {
        wait_until_reached_are(lab, protocol, to, &pods)?;
    }
    drop(other);
    // Any change makes it try again.
    lab.put_service(spec(service, port, &pods).with_annotation("example.org/again", "yes"))?;
    wait_until_told(lab, service, node, port, 1)?;
    says(lab, false)
}
