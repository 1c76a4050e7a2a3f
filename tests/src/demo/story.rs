//! What the demo shows, one chapter after the other.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::clients;
use super::print::Printer;
use super::tally::Tally;
use crate::address::{CLIENTS, Family, NODES};
use crate::world::{FrontendKind, PodState, Protocol, ServiceSpec};
use crate::{Lab, wait};

/// The node that load-balancer IPs and external IPs come in at, where nothing else is said.
const INGRESS: u8 = 1;
/// New connections in each chapter.
const NEW: usize = 60;
/// Connections that each client holds.
const HELD: usize = 50;
/// How long a change may take until clients notice.
const CHANGE_LIMIT: Duration = Duration::from_secs(10);
/// Connections in a row that must avoid or reach a Pod before that is believed.
const ENOUGH: usize = 40;
const AFFINITY_SECONDS: u32 = 10_800;

const WEB: &str = "web";
const CART: &str = "cart";

/// Tells the whole story. Fails when something could not be done; what was not answered is in the
/// tally.
pub(super) fn tell(lab: &mut Lab, out: &Printer, tally: &mut Tally) -> Result<()> {
    picture(lab, out);
    every_frontend(lab, out, tally)?;
    affinity(lab, out, tally)?;
    held(lab, out, tally)?;
    a_pod_goes(lab, out, tally)?;
    three_come(lab, out, tally)?;
    clients::tell(lab, out, tally, CART)?;
    an_agent_dies(lab, out, tally)
}

fn picture(lab: &Lab, out: &Printer) {
    out.title("Who is there");
    println!("           c1          c2           clients, 198.18.1.1 and 198.18.2.1");
    println!("             \\        /");
    println!("               router               sends 203.0.113.0/24 to a node of our choice");
    println!("             /   |    \\");
    println!("          n1     n2     n3          nodes: a limpet agent each, XDP and tcx on eth0");
    let rows = (1..=NODES).map(|node| lab.world().pods_on(node).len()).max().unwrap_or(0);
    for row in 0..rows {
        let cell = |node| lab.world().pods_on(node).get(row).cloned().unwrap_or_default();
        let note = if row == 0 { "Pods: a TCP and a UDP server each" } else { "" };
        let line = format!("         {:<7}{:<7}{:<7}     {note}", cell(1), cell(2), cell(3));
        println!("{}", line.trim_end());
    }
}

fn every_frontend(lab: &mut Lab, out: &Printer, tally: &mut Tally) -> Result<()> {
    out.title("Service web: six Pods, no affinity; reached every way there is");
    let pods: Vec<String> = lab.world().pods().map(|pod| pod.name().to_owned()).collect();
    lab.put_service(ServiceSpec::new(WEB, &pods))?;
    wait_until_answered(lab, WEB)?;
    let mut rows = Vec::new();
    let mut number = 1;
    for kind in FrontendKind::ALL {
        for family in Family::BOTH {
            for protocol in Protocol::BOTH {
                // Load-balancer and external IPs come in where the router sends them; with a node
                // port the client chooses.
                let node = if kind == FrontendKind::NodePort { 1 + number % NODES } else { INGRESS };
                let client = 1 + number % CLIENTS;
                number += 1;
                let to = lab.world().service(WEB)?.frontend(kind, family, protocol, node)?;
                let row = ask(lab, tally, client, protocol, to, node)?;
                rows.push(with_kind(kind, row));
            }
        }
    }
    out.table(["kind", "client", "asks", "over", "comes in at", "answered by", "on", "which saw"], &rows);
    let share = tally.ask_often(&lab.client(1), Protocol::Tcp, web(lab)?, NEW)?;
    out.result(share.total() == NEW, &format!("{NEW} connections of c1: {}", share.text()));
    Ok(())
}

fn affinity(lab: &mut Lab, out: &Printer, tally: &mut Tally) -> Result<()> {
    out.title("Service cart: sessionAffinity ClientIP; the router moves its clients from node to node");
    let pods: Vec<String> = lab.world().pods().map(|pod| pod.name().to_owned()).collect();
    lab.put_service(ServiceSpec::new(CART, &pods).with_affinity(AFFINITY_SECONDS))?;
    let mut rows = Vec::new();
    for node in 1..=NODES {
        lab.route_frontends_via(node)?;
        wait_until_answered(lab, CART)?;
        let to = frontend(lab, CART, Protocol::Tcp)?;
        for client in 1..=CLIENTS {
            rows.push(ask(lab, tally, client, Protocol::Tcp, to, node)?);
        }
    }
    lab.route_frontends_via(INGRESS)?;
    rows.sort();
    out.table(["client", "asks", "over", "comes in at", "answered by", "on", "which saw"], &rows);
    let mut pairs: Vec<(&String, &String)> = rows.iter().map(|row| (&row[0], &row[4])).collect();
    pairs.dedup();
    let stays = pairs.len() == usize::from(CLIENTS);
    out.result(stays, if stays { "each client has one Pod at every node" } else { "a client was moved" });
    Ok(())
}

fn held(lab: &mut Lab, out: &Printer, tally: &mut Tally) -> Result<()> {
    let all = HELD * usize::from(CLIENTS);
    out.title(&format!("{all} connections to web are opened and held"));
    for client in 1..=CLIENTS {
        tally.hold(&lab.client(client), web(lab)?, HELD)?;
    }
    show_held(out, tally)
}

fn a_pod_goes(lab: &mut Lab, out: &Printer, tally: &mut Tally) -> Result<()> {
    let gone = "p2-1";
    out.title(&format!("Pod {gone} terminates: it finishes what it has and gets nothing new"));
    lab.set_pod_state(gone, PodState::Terminating)?;
    wait_for_pod(lab, gone, false)?;
    let share = tally.ask_often(&lab.client(1), Protocol::Tcp, web(lab)?, NEW)?;
    let good = share.total() == NEW && share.of(gone) == 0;
    out.result(good, &format!("{NEW} new connections: {}", share.text()));
    show_held(out, tally)?;
    let finished = tally.finish(gone);
    lab.remove_pod(gone)?;
    out.note(&format!("the {finished} connections of {gone} finish, and {gone} is removed"));
    show_held(out, tally)
}

fn three_come(lab: &mut Lab, out: &Printer, tally: &mut Tally) -> Result<()> {
    let pods = lab.add_pods(&[1, 2, 3])?;
    out.title(&format!("Three Pods come: {}", pods.join(", ")));
    let mut spec = lab.world().service(WEB)?.spec().clone();
    spec.pods.extend(pods.clone());
    lab.put_service(spec)?;
    for pod in &pods {
        wait_for_pod(lab, pod, true)?;
    }
    let share = tally.ask_often(&lab.client(2), Protocol::Tcp, web(lab)?, NEW)?;
    out.result(share.total() == NEW, &format!("{NEW} new connections: {}", share.text()));
    show_held(out, tally)
}

fn an_agent_dies(lab: &mut Lab, out: &Printer, tally: &mut Tally) -> Result<()> {
    out.title("The agent on n1, where everything comes in, is killed (SIGKILL)");
    lab.kill_agent(INGRESS)?;
    let alive = lab.status(INGRESS)?.agent.alive;
    out.result(!alive, &format!("limpet status on n1: the agent is {}", if alive { "alive" } else { "dead" }));
    new_and_held(lab, out, tally)?;
    out.title("It is started again");
    lab.start_agent(INGRESS)?;
    let alive = lab.status(INGRESS)?.agent.alive;
    out.result(alive, &format!("limpet status on n1: the agent is {}", if alive { "alive" } else { "dead" }));
    new_and_held(lab, out, tally)
}

fn new_and_held(lab: &Lab, out: &Printer, tally: &mut Tally) -> Result<()> {
    for protocol in Protocol::BOTH {
        let share = tally.ask_often(&lab.client(1), protocol, frontend(lab, WEB, protocol)?, NEW / 2)?;
        let name = protocol.name();
        out.result(share.total() == NEW / 2, &format!("{} new over {name}: {}", NEW / 2, share.text()));
    }
    show_held(out, tally)
}

fn show_held(out: &Printer, tally: &mut Tally) -> Result<()> {
    let before = tally.held();
    let share = tally.ask_held()?;
    let good = tally.held() == before;
    out.result(good, &format!("{} of {before} held connections answer: {}", tally.held(), share.text()));
    Ok(())
}

/// One request as a row: client, frontend, protocol, node, Pod, its node, the client it saw.
fn ask(lab: &Lab, tally: &mut Tally, client: u8, protocol: Protocol, to: SocketAddr, node: u8) -> Result<[String; 7]> {
    let answer = tally.ask(&lab.client(client), protocol, to)?;
    let (pod, on, saw) = match answer {
        Some(answer) => {
            let on = format!("n{}", lab.world().pod(&answer.pod)?.node());
            (answer.pod, on, answer.client.ip().to_string())
        }
        None => ("nobody".to_owned(), String::new(), String::new()),
    };
    let (client, node) = (format!("c{client}"), format!("n{node}"));
    Ok([client, to.to_string(), protocol.name().to_owned(), node, pod, on, saw])
}

fn with_kind(kind: FrontendKind, row: [String; 7]) -> [String; 8] {
    let [client, to, protocol, node, pod, on, saw] = row;
    [kind.name().to_owned(), client, to, protocol, node, pod, on, saw]
}

fn web(lab: &Lab) -> Result<SocketAddr> {
    frontend(lab, WEB, Protocol::Tcp)
}

fn frontend(lab: &Lab, service: &str, protocol: Protocol) -> Result<SocketAddr> {
    let service = lab.world().service(service)?;
    service.frontend(FrontendKind::LoadBalancerIp, Family::V4, protocol, INGRESS)
}

/// Waits until every node has the Service as well as the ingress node, whose answer is not counted:
/// what the demo counts are requests to Services that are there.
fn wait_until_answered(lab: &Lab, service: &str) -> Result<()> {
    for kind in FrontendKind::ALL {
        for family in Family::BOTH {
            for node in 1..=NODES {
                let to = lab.world().service(service)?.frontend(kind, family, Protocol::Tcp, node)?;
                wait::until(&format!("an answer from {to}"), CHANGE_LIMIT, || {
                    lab.client(1).tcp_who(to, None).map(Some)
                })?;
            }
        }
    }
    Ok(())
}

/// Waits until new connections reach a Pod, or do not any more; these are not counted either.
fn wait_for_pod(lab: &Lab, pod: &str, reached: bool) -> Result<()> {
    let to = web(lab)?;
    let verb = if reached { "reach" } else { "avoid" };
    wait::until_true(&format!("new connections to {verb} Pod {pod}"), CHANGE_LIMIT, || {
        for _ in 0..ENOUGH {
            if lab.client(1).tcp_who(to, None)?.pod == pod {
                return Ok(reached);
            }
        }
        Ok(!reached)
    })
}
