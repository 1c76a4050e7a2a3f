//! What becomes of a client's first packet, as the wire shows it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use limpet_lab::address::Family;
use limpet_lab::capture::{Capture, Packet, Payload};
use limpet_lab::client::Outcome;
use limpet_lab::world::{FrontendKind, Protocol};
use limpet_lab::{Lab, wait};

use crate::support::{CHANGE_LIMIT, INGRESS};

/// How long nothing has to come for it to be silence. Everything else comes within a millisecond.
pub(super) const SILENCE: Duration = Duration::from_millis(100);

/// What becomes of a client's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A Pod answers.
    Answered,
    /// An ICMP message says that the port is unreachable, which kube-proxy's REJECT says as well.
    Rejected,
    /// Nothing comes back.
    Dropped,
    /// A reset, as a node's own network stack answers for a port that nobody listens on.
    Reset,
    /// An ICMP message says that there is no way: the node's network stack has found nobody who takes the address over.
    NoRoute,
}

/// Sends one new connection's first packet, or one datagram, and sees what comes back.
pub(super) fn fate(lab: &Lab, protocol: Protocol, to: SocketAddr) -> Result<Fate> {
    let capture = Capture::at(&lab.client_namespace(1))?;
    let outcome = lab.client(1).attempt(protocol, to, None, SILENCE)?;
    let packets = capture.arrived()?;
    if let Outcome::Answered(_) = outcome {
        return Ok(Fate::Answered);
    }
    let fates = packets.iter().filter_map(|packet| fate_by(packet, to)).collect::<Vec<_>>();
    match fates.as_slice() {
        [] => {
            ensure!(outcome == Outcome::Silence, "{to} brought {outcome:?} by {packets:?}");
            Ok(Fate::Dropped)
        }
        [fate, others @ ..] if others.iter().all(|other| other == fate) => Ok(*fate),
        several => bail!("{to} brought {several:?}"),
    }
}

/// What a packet says of the attempt; none if it is about something else.
fn fate_by(packet: &Packet, to: SocketAddr) -> Option<Fate> {
    match packet.payload {
        Payload::Icmp { kind, code, about: Some((_, asked)) } if asked == to => match (to, kind, code) {
            // Destination unreachable, the port (RFC 792 and RFC 4443).
            (SocketAddr::V4(_), 3, 3) | (SocketAddr::V6(_), 1, 4) => Some(Fate::Rejected),
            (SocketAddr::V4(_), 3, _) | (SocketAddr::V6(_), 1, _) => Some(Fate::NoRoute),
            _ => None,
        },
        Payload::Tcp { source, flags, .. } if packet.source == to.ip() && source == to.port() => {
            flags.is_reset().then_some(Fate::Reset)
        }
        _ => None,
    }
}

/// Waits until a first packet's fate is this one.
pub(super) fn wait_for(lab: &Lab, protocol: Protocol, to: SocketAddr, expected: Fate) -> Result<()> {
    wait::until_true(&format!("{to} over {} to be {expected:?}", protocol.name()), CHANGE_LIMIT, || {
        let fate = fate(lab, protocol, to)?;
        ensure!(fate == expected, "it is {fate:?}");
        Ok(true)
    })
}

/// The same for every frontend of a kind of a Service, at the ingress node.
pub(super) fn wait_for_kind(lab: &Lab, service: &str, kind: FrontendKind, expected: Fate) -> Result<()> {
    for to in frontends(lab, service, kind, INGRESS)? {
        wait_for(lab, to.0, to.1, expected)?;
    }
    Ok(())
}

/// The frontends of a kind in both families, for each protocol that the Service has.
pub(super) fn frontends(
    lab: &Lab,
    service: &str,
    kind: FrontendKind,
    ingress: u8,
) -> Result<Vec<(Protocol, SocketAddr)>> {
    let service = lab.world().service(service)?;
    let protocols: BTreeSet<usize> = service.spec().ports.iter().map(|port| port.protocol as usize).collect();
    let protocols = Protocol::BOTH.into_iter().filter(|protocol| protocols.contains(&(*protocol as usize)));
    let mut frontends = Vec::new();
    for protocol in protocols {
        for family in Family::BOTH {
            frontends.push((protocol, service.frontend(kind, family, protocol, ingress)?));
        }
    }
    Ok(frontends)
}

/// How many packets a node has counted for a reason.
pub(super) fn packets_of(lab: &Lab, node: u8, reason: &str) -> Result<u64> {
    let rows = lab.limpet(node, &["get", "counters", "-o", "json"])?.json()?;
    let rows = rows.as_array().context("`limpet get counters` has another form")?;
    let row = rows.iter().find(|row| row["reason"] == reason);
    let row = row.with_context(|| format!("there is no reason {reason}"))?;
    row["packets"].as_u64().context("`limpet get counters` has another form")
}
