//! Datagrams: affinity by source address, and sockets that never connect.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::Family;
use limpet_lab::client::Answer;
use limpet_lab::world::{FrontendKind, Protocol, ServiceSpec};

use super::LONG_SECONDS;
use super::service::{join, put};
use super::visitors::{Door, arrive, stay};
use crate::support::{Test, all_first_pods};

/// Sockets of a client.
const SOCKETS: usize = 10;
/// Datagrams of a socket.
const DATAGRAMS: usize = 30;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("datagrams_from_ten_ports_of_one_client_reach_one_pod", ten_ports),
        Test::new("a_socket_that_is_not_connected_reaches_one_pod", unconnected),
    ]
}

fn ten_ports(lab: &mut Lab) -> Result<()> {
    let service = "udp-ports";
    let pods = all_first_pods();
    let (first, others) = pods.split_at(2);
    put(lab, ServiceSpec::new(service, first).with_affinity(LONG_SECONDS))?;
    let door = Door::of_kind(lab, service, FrontendKind::LoadBalancerIp, Protocol::Udp)?;
    let visitors = arrive(lab, 2..=6, door)?;
    // Each asks from another port.
    for socket in 2..=SOCKETS {
        stay(&visitors, door, &format!("from socket {socket}"))?;
    }
    // The second packet of a flow is what makes a client of the sender that is remembered for long. Some never send
    // one, and must stay as well.
    join(lab, service, others)?;
    stay(&visitors, door, "after Pods joined")?;
    Ok(())
}

/// Also without affinity: a flow stays where it is.
fn unconnected(lab: &mut Lab) -> Result<()> {
    let service = "udp-unconnected";
    let pods = all_first_pods();
    let (first, others) = pods.split_at(3);
    let spec = ServiceSpec::new(service, first);
    for spec in [spec.clone(), spec.with_affinity(LONG_SECONDS)] {
        put(lab, spec)?;
        let door = Door::of_kind(lab, service, FrontendKind::LoadBalancerIp, Protocol::Udp)?;
        let mut sockets = Vec::new();
        for family in Family::BOTH {
            sockets.push((Unconnected::bind(lab, family)?, door.to(family)));
        }
        let reached = |(socket, to): &(Unconnected, SocketAddr)| {
            (0..DATAGRAMS).map(|_| socket.ask(*to)).collect::<Result<BTreeSet<String>>>()
        };
        let before = sockets.iter().map(reached).collect::<Result<Vec<_>>>()?;
        ensure!(before.iter().all(|pods| pods.len() == 1), "one socket reached {before:?}");
        join(lab, service, others)?;
        let after = sockets.iter().map(reached).collect::<Result<Vec<_>>>()?;
        ensure!(before == after, "sockets that had {before:?} reached {after:?} after Pods joined");
    }
    Ok(())
}

/// A socket that may send anywhere and hears everybody.
struct Unconnected(UdpSocket);

impl Unconnected {
    fn bind(lab: &Lab, family: Family) -> Result<Self> {
        let from = SocketAddr::new(lab.client(1).address(family, 2), 0);
        let socket = lab.client_namespace(1).run(|| UdpSocket::bind(from).context("cannot bind"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    fn ask(&self, to: SocketAddr) -> Result<String> {
        self.0.send_to(b"who\n", to).with_context(|| format!("cannot send to {to}"))?;
        let mut buffer = [0; 1024];
        let (length, from) = self.0.recv_from(&mut buffer).with_context(|| format!("no answer from {to}"))?;
        ensure!(from == to, "{from} answers what was sent to {to}");
        let answer: Answer = serde_json::from_slice(&buffer[..length]).context("that is no answer")?;
        Ok(answer.pod)
    }
}
