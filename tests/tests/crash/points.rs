//! Agents that die at one point of their work, each point in its turn.

use std::os::unix::process::ExitStatusExt;
use std::time::Instant;

use anyhow::{Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::{self, CLIENTS, Family};
use limpet_lab::world::{Port, Protocol, ServiceSpec};
use serde_json::{Value, json};

use crate::endurance::{nodes, verified};
use crate::support::{Held, Test, all_first_pods, ask_all, frontend, hold, serve};

/// By which a debug build of the agent is told where to die.
const FAIL_POINT: &str = "LIMPET_FAIL_POINT";
/// What SIGKILL is called where a process says how it ended.
const SIGKILL: i32 = 9;
/// Connections that must live through all of it.
const HELD: u8 = 20;
/// A change that writes every kind of map has at least so many writes.
const LEAST_WRITES: usize = 40;
/// File of the node that comes and goes.
const GUEST_FILE: &str = "node-guest.yaml";

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("an_agent_that_dies_at_any_write_leaves_what_the_next_one_finishes", every_write),
        Test::new("an_agent_that_dies_at_any_point_of_a_takeover_is_followed_by_one_that_works", taking_over),
        Test::new("an_agent_that_dies_at_any_point_of_a_first_start_is_followed_by_one_that_works", first_start),
    ]
}

/// One of two things to ask for. From each of them to the other everything is written that an agent can write: a Service
/// with shared affinity over two ports and source ranges comes with its Pod, another goes, and so does a node.
#[derive(Clone, Copy, Debug)]
enum Side {
    Left,
    Right,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }

    /// One alone: each of a plan's writes costs an agent's whole start, which has the kernel check the programs.
    fn pod(self) -> String {
        match self {
            Self::Left => "p1-1".to_owned(),
            Self::Right => "p2-1".to_owned(),
        }
    }

    /// Asks for it, in place of the other.
    fn apply(self, lab: &mut Lab) -> Result<()> {
        let port = |number| Port { protocol: Protocol::Tcp, number };
        let ranges: Vec<String> = Family::BOTH.map(|family| address::client_range(family, CLIENTS)).into();
        let spec = ServiceSpec::new(self.name(), &[self.pod()])
            .with_ports(&[port(80), port(81)])
            .with_affinity(600)
            .with_annotation("limpet.dev/affinity-key", "service")
            .without_node_ports()
            .with(json!({"spec": {"loadBalancerSourceRanges": ranges}}));
        lab.put_service(spec)?;
        if lab.world().services().any(|service| service.spec().name == self.other().name()) {
            lab.remove_service(self.other().name())?;
        }
        match self {
            Self::Left => lab.manifests().write_objects(GUEST_FILE, &[guest()]),
            Self::Right => lab.manifests().remove(GUEST_FILE),
        }
    }
}

/// A node that nobody has ever seen.
fn guest() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "guest"}, "spec": {"podCIDRs": ["10.99.0.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "198.51.100.99"}]}
    })
}

fn held(lab: &mut Lab) -> Result<Vec<Held>> {
    serve(lab, ServiceSpec::new("lasting", &all_first_pods()))?;
    let to = frontend(lab, "lasting", Family::V4, Protocol::Tcp)?;
    hold(lab, to, HELD)
}

/// The Nth write is deadly on one of the nodes, the next one on another, for all N until none of them comes so far.
fn every_write(lab: &mut Lab) -> Result<()> {
    let mut held = held(lab)?;
    let start = Instant::now();
    let (mut side, mut writes, mut deaths) = (Side::Left, 0, 0);
    loop {
        let fatal: Vec<(u8, String)> =
            nodes().into_iter().zip(writes + 1..).map(|(node, n)| (node, format!("write:{n}"))).collect();
        writes += fatal.len();
        stop(lab)?;
        side.apply(lab)?;
        let died = die_and_recover(lab, &fatal)?;
        deaths += died;
        ask_all(&mut held, &format!("after agents died at {fatal:?}"))?;
        side = side.other();
        if died == 0 {
            break;
        }
    }
    lab.manifests().remove(GUEST_FILE)?;
    println!("{deaths} agents died at a write of their own, in {:.1} s", start.elapsed().as_secs_f64());
    ensure!(deaths >= LEAST_WRITES, "a plan has only {deaths} writes: it does not write everything");
    Ok(())
}

/// An agent that takes a datapath over dies at each point that it comes to.
fn taking_over(lab: &mut Lab) -> Result<()> {
    let points =
        ["load", "load:2", "configure", "socket", "ways", "attach-tcx", "attach-tcx:2", "attach-xdp", "attach-xdp:2"];
    let mut held = held(lab)?;
    for three in points.chunks(nodes().len()) {
        let fatal: Vec<(u8, String)> = nodes().into_iter().zip(three.iter().map(|point| (*point).to_owned())).collect();
        stop(lab)?;
        let died = die_and_recover(lab, &fatal)?;
        ensure!(died == fatal.len(), "of {fatal:?}, only {died} came to their points");
        ask_all(&mut held, &format!("after agents died at {fatal:?}"))?;
    }
    Ok(())
}

/// On a node where nothing is pinned, an agent dies at each point in its turn, and finds what those before it left.
fn first_start(lab: &mut Lab) -> Result<()> {
    const NODE: u8 = 3;
    let points = [
        "pins",
        "pins:2",
        "load",
        "load:2",
        "configure",
        "socket",
        "write",
        "write:9",
        "ways",
        "attach-tcx",
        "attach-tcx:2",
        "attach-xdp",
        "attach-xdp:2",
    ];
    serve(lab, ServiceSpec::new("lasting", &all_first_pods()))?;
    lab.detach(&[NODE])?;
    for point in points {
        ensure!(dies(lab, &[(NODE, point.to_owned())])? == [NODE], "the agent does not come to {point}");
    }
    lab.launch_agent_with(NODE, &[], &[])?;
    lab.wait_until_in_step(NODE)?;
    verified(lab, &[NODE])
}

fn stop(lab: &mut Lab) -> Result<()> {
    nodes().into_iter().try_for_each(|node| lab.stop_agent(node))
}

/// Lets agents die at these points, one on each node; returns how many did. Then all run, are in step, and nothing is
/// different.
fn die_and_recover(lab: &mut Lab, fatal: &[(u8, String)]) -> Result<usize> {
    let dead = dies(lab, fatal)?;
    for node in nodes() {
        // Those that did not come to their point would come there later.
        if !dead.contains(&node) {
            lab.stop_agent(node)?;
        }
        lab.launch_agent_with(node, &[], &[])?;
    }
    nodes().into_iter().try_for_each(|node| lab.wait_until_in_step(node))?;
    verified(lab, &nodes())?;
    Ok(dead.len())
}

/// Starts agents that die at these points, and returns those that did; the others are in step.
fn dies(lab: &mut Lab, fatal: &[(u8, String)]) -> Result<Vec<u8>> {
    for (node, point) in fatal {
        lab.launch_agent_with(*node, &[], &[(FAIL_POINT, point)])?;
    }
    let mut dead = Vec::new();
    for (node, point) in fatal {
        if let Some(status) = lab.wait_until_in_step_or_ended(*node)? {
            ensure!(status.signal() == Some(SIGKILL), "the agent on n{node} was to die at {point} and {status}");
            dead.push(*node);
        }
    }
    Ok(dead)
}
