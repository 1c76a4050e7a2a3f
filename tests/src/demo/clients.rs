//! The chapter on clients: who is held stays, and who has to move is counted.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::Result;

use super::print::Printer;
use super::tally::{Share, Tally};
use crate::Lab;
use crate::address::Family;
use crate::world::{FrontendKind, PodState, Protocol};

/// Clients, each with an address of its own.
const CLIENTS: u8 = 100;
/// The node that they come in at.
const INGRESS: u8 = 1;

/// Most lines of a command's output: the rest would hide the story.
const SHOWN_LINES: usize = 11;

/// The Pod that each client was answered by.
type Homes = BTreeMap<IpAddr, String>;

/// Shows that clients of a Service with affinity stay when Pods join, and that those of a Pod that goes move, and no
/// others.
pub(super) fn tell(lab: &mut Lab, out: &Printer, tally: &mut Tally, service: &str) -> Result<()> {
    out.title(&format!("{CLIENTS} clients of {service}, each with an address of its own"));
    let before = ask_all(lab, tally, service)?;
    out.result(before.len() == usize::from(CLIENTS), &format!("they are held at {}", share(&before).text()));

    let joined = lab.add_pods(&[1, 2, 3])?;
    let mut spec = lab.world().service(service)?.spec().clone();
    spec.pods.extend(joined.clone());
    lab.put_service(spec)?;
    lab.wait_until_programmed(service, &[INGRESS])?;
    let after = ask_all(lab, tally, service)?;
    let stayed = after.iter().filter(|(client, pod)| before.get(*client) == Some(*pod)).count();
    let text = format!("{} join: {stayed} of {CLIENTS} clients stay where they are", joined.join(", "));
    out.result(stayed == before.len(), &text);

    let clients_of = share(&after);
    let Some(gone) = clients_of.largest() else {
        out.bad("nobody was answered");
        return Ok(());
    };
    lab.set_pod_state(gone, PodState::Terminating)?;
    lab.wait_until_programmed(service, &[INGRESS])?;
    let last = ask_all(lab, tally, service)?;
    let moved: Vec<IpAddr> = last.iter().filter(|(c, pod)| after.get(*c) != Some(*pod)).map(|(c, _)| *c).collect();
    let its_own = moved.iter().all(|client| after.get(client).is_some_and(|pod| pod == gone));
    let text = format!("{gone} terminates: its {} clients move, all others stay", moved.len());
    out.result(its_own && moved.len() == clients_of.of(gone), &text);

    let service = format!("lab/{service}");
    show(lab, &["breaks", &service, "--since", "1s"])?;
    match moved.first() {
        Some(client) => show(lab, &["why", &client.to_string(), &service]),
        None => Ok(()),
    }
}

fn ask_all(lab: &Lab, tally: &mut Tally, service: &str) -> Result<Homes> {
    let to =
        lab.world().service(service)?.frontend(FrontendKind::LoadBalancerIp, Family::V4, Protocol::Tcp, INGRESS)?;
    let client = lab.client(1);
    let mut homes = Homes::new();
    for index in 1..=CLIENTS {
        let address = client.address(Family::V4, index);
        if let Some(answer) = tally.ask_from(&client, Protocol::Tcp, to, Some(SocketAddr::new(address, 0)))? {
            homes.insert(address, answer.pod);
        }
    }
    Ok(homes)
}

fn share(homes: &Homes) -> Share {
    homes.values().cloned().collect()
}

/// A command and the beginning of what it says on the ingress node.
fn show(lab: &Lab, command: &[&str]) -> Result<()> {
    let said = lab.limpet(INGRESS, command)?;
    println!("\n$ limpet {}", command.join(" "));
    let text = format!("{}{}", said.stdout, said.stderr);
    for line in text.lines().take(SHOWN_LINES) {
        println!("{line}");
    }
    if text.lines().count() > SHOWN_LINES {
        println!("…");
    }
    Ok(())
}
