//! Services without an endpoint: clients are refused at once, by ICMP, as kube-proxy's REJECT does it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::Family;
use limpet_lab::capture::{Capture, Payload};
use limpet_lab::client::Outcome;
use limpet_lab::world::{FrontendKind, PodState, Protocol, ServiceSpec};

use super::fate::{Fate, frontends, wait_for, wait_for_kind};
use crate::support::{INGRESS, Test, frontend, serve};

/// How long a refusal may take to arrive.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long a TCP client may take to believe it. On a wire without latency the first message comes while `connect` still
/// holds the socket, which then does not hear it (net/ipv4/tcp_ipv4.c, `tcp_v4_err`); the next SYN follows after a second.
const BELIEVED: Duration = Duration::from_secs(3);

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("without_endpoints_clients_are_refused_at_once_by_an_icmp_message_about_the_port", refused),
        Test::new("the_first_endpoint_opens_a_service_and_the_last_one_closes_it", first_and_last),
        Test::new("what_is_refused_is_counted_and_the_rate_is_limited", counted),
    ]
}

fn refused(lab: &mut Lab) -> Result<()> {
    let service = "nobody";
    lab.put_service(ServiceSpec::new(service, &[]))?;
    for kind in FrontendKind::ALL {
        wait_for_kind(lab, service, kind, Fate::Rejected)?;
    }
    // For a client that waits for the end of it.
    for (protocol, to) in frontends(lab, service, FrontendKind::LoadBalancerIp, INGRESS)? {
        let start = Instant::now();
        let capture = Capture::at(&lab.client_namespace(1))?;
        let outcome = lab.client(1).attempt(protocol, to, None, BELIEVED)?;
        let took = start.elapsed();
        ensure!(outcome == Outcome::Refused, "{to} over {} brought {outcome:?}", protocol.name());
        let limit = if protocol == Protocol::Udp { AT_ONCE } else { BELIEVED };
        ensure!(took < limit, "{to} over {} took {took:?} to refuse", protocol.name());

        let arrived = capture.arrived()?;
        let about = |payload| matches!(payload, Payload::Icmp { about: Some((_, asked)), .. } if asked == to);
        let message = arrived.iter().find(|packet| about(packet.payload));
        let message = message.with_context(|| format!("no message about {to} came, but {arrived:?}"))?;
        let expected = lab.client(1).address(Family::of(to.ip()), 1);
        ensure!(message.destination == expected, "a message about {to} went to {}", message.destination);
    }
    Ok(())
}

fn first_and_last(lab: &mut Lab) -> Result<()> {
    let service = "first-and-last";
    let pod = lab.add_pod(2)?;
    lab.put_service(ServiceSpec::new(service, &[]))?;
    let everywhere = |lab: &Lab, expected| {
        let mut kinds = FrontendKind::ALL.into_iter();
        kinds.try_for_each(|kind| wait_for_kind(lab, service, kind, expected))
    };
    everywhere(lab, Fate::Rejected)?;
    serve(lab, ServiceSpec::new(service, std::slice::from_ref(&pod)))?;
    everywhere(lab, Fate::Answered)?;
    let to = frontend(lab, service, Family::V4, Protocol::Tcp)?;
    let mut held = lab.client(2).tcp(to, None)?;
    lab.set_pod_state(&pod, PodState::NotReady)?;
    everywhere(lab, Fate::Rejected)?;
    // Only what is new is refused.
    held.who().context("an established connection broke when the last endpoint went")?;
    lab.set_pod_state(&pod, PodState::Ready)?;
    everywhere(lab, Fate::Answered)
}

/// A flood gets some answers, not one each, and no packet is counted twice.
fn counted(lab: &mut Lab) -> Result<()> {
    /// More than one CPU may answer within a second.
    const FLOOD: u64 = 20_000;

    let service = "flooded";
    lab.put_service(ServiceSpec::new(service, &[]))?;
    let to = frontend(lab, service, Family::V4, Protocol::Udp)?;
    wait_for(lab, Protocol::Udp, to, Fate::Rejected)?;
    let before = counters(lab)?;
    let socket = lab.client_namespace(2).run(|| Ok(std::net::UdpSocket::bind("0.0.0.0:0")?))?;
    for _ in 0..FLOOD {
        socket.send_to(b"?", to).context("cannot send a datagram")?;
    }
    let after = counters(lab)?;
    let (rejected, silent) = (after.0 - before.0, after.1 - before.1);
    // Some may be lost in a queue on the way to the node, or still be in it.
    let counted = FLOOD / 2..=FLOOD;
    ensure!(counted.contains(&(rejected + silent)), "of {FLOOD} packets {rejected} were refused, {silent} dropped");
    ensure!(rejected > 0 && silent > 0, "of {FLOOD} packets {rejected} were refused, {silent} dropped");
    Ok(())
}

/// Packets of the reasons `rejected` and `no-backend` at the ingress node.
fn counters(lab: &Lab) -> Result<(u64, u64)> {
    let packets = |reason| super::fate::packets_of(lab, INGRESS, reason);
    Ok((packets("rejected")?, packets("no-backend")?))
}
