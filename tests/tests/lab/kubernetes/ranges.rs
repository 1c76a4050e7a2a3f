//! `loadBalancerSourceRanges`: who may reach the load-balancer IPs, and nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use limpet_lab::address::{self, Family};
use limpet_lab::client::Outcome;
use limpet_lab::world::{FrontendKind, Protocol, ServiceSpec};
use limpet_lab::{Lab, wait};
use serde_json::json;

use super::fate::{SILENCE, frontends, packets_of};
use crate::support::{CHANGE_LIMIT, INGRESS, LOOK, Test, all_first_pods, frontend, serve};

/// Client 1 may, client 2 may not, but for one of its addresses.
const ALLOWED: u8 = 1;
const OTHER: u8 = 2;
const EXCEPTION: u8 = 77;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("source_ranges_keep_others_from_the_load_balancer_ips_without_a_word", kept_out),
        Test::new("source_ranges_leave_node_ports_and_external_ips_alone", other_kinds),
        Test::new("a_source_range_of_everybody_is_none", everybody),
        Test::new("a_changed_source_range_counts_for_new_connections_alone", changed),
        Test::new("source_ranges_come_before_no_endpoints", before_empty),
    ]
}

fn spec(service: &str, ranges: &[String]) -> ServiceSpec {
    ServiceSpec::new(service, &all_first_pods()).with(json!({"spec": {"loadBalancerSourceRanges": ranges}}))
}

/// The first client's addresses, and one of the second's. Blanks are no part of them.
fn some() -> Vec<String> {
    let exception = |family| {
        let address = address::client(family, OTHER, EXCEPTION);
        format!("{address}/{}", if family == Family::V4 { 32 } else { 128 })
    };
    let ranges = Family::BOTH
        .into_iter()
        .flat_map(|family| [format!(" {} ", address::client_range(family, ALLOWED)), exception(family)]);
    ranges.collect()
}

fn kept_out(lab: &mut Lab) -> Result<()> {
    let service = "ranges";
    serve(lab, spec(service, &some()))?;
    for family in Family::BOTH {
        for protocol in Protocol::BOTH {
            let to = frontend(lab, service, family, protocol)?;
            is(lab, ALLOWED, 9, protocol, to, true)?;
            is(lab, OTHER, EXCEPTION, protocol, to, true)?;
            let before = packets_of(lab, INGRESS, "source-range")?;
            is(lab, OTHER, EXCEPTION + 1, protocol, to, false)?;
            let dropped = packets_of(lab, INGRESS, "source-range")? - before;
            ensure!(dropped > 0, "{to} over {}: what is dropped is not counted", protocol.name());
        }
    }
    // Only ranges of the other family: nobody of this one.
    let of_v6 = some().split_off(2);
    lab.put_service(spec(service, &of_v6))?;
    for (protocol, to) in frontends(lab, service, FrontendKind::LoadBalancerIp, INGRESS)? {
        becomes(lab, ALLOWED, protocol, to, to.is_ipv6())?;
    }
    Ok(())
}

fn other_kinds(lab: &mut Lab) -> Result<()> {
    let service = "ranges-kinds";
    serve(lab, spec(service, &some()))?;
    for kind in [FrontendKind::NodePort, FrontendKind::ExternalIp] {
        for (protocol, to) in frontends(lab, service, kind, INGRESS)? {
            becomes(lab, OTHER, protocol, to, true)?;
        }
    }
    Ok(())
}

fn everybody(lab: &mut Lab) -> Result<()> {
    let service = "ranges-all";
    // One that lets everybody in makes the others say nothing.
    let ranges = ["0.0.0.0/0", "192.0.2.0/24", "::/0", "2001:db8:ffff::/64"].map(str::to_owned);
    serve(lab, spec(service, &ranges))?;
    for (protocol, to) in frontends(lab, service, FrontendKind::LoadBalancerIp, INGRESS)? {
        for client in [ALLOWED, OTHER] {
            becomes(lab, client, protocol, to, true)?;
        }
    }
    Ok(())
}

fn changed(lab: &mut Lab) -> Result<()> {
    let service = "ranges-changed";
    serve(lab, ServiceSpec::new(service, &all_first_pods()))?;
    let frontends = frontends(lab, service, FrontendKind::LoadBalancerIp, INGRESS)?;
    let mut held = Vec::new();
    for family in Family::BOTH {
        let to = frontend(lab, service, family, Protocol::Tcp)?;
        held.push(lab.client(OTHER).tcp(to, None)?);
    }
    let mut still_there = |when: &str| {
        held.iter_mut()
            .try_for_each(|connection| connection.who().map(drop))
            .context(format!("a connection broke {when}"))
    };
    lab.put_service(spec(service, &some()))?;
    for (protocol, to) in &frontends {
        becomes(lab, OTHER, *protocol, *to, false)?;
        becomes(lab, ALLOWED, *protocol, *to, true)?;
    }
    still_there("when its client was kept out")?;
    lab.put_service(ServiceSpec::new(service, &all_first_pods()))?;
    for (protocol, to) in &frontends {
        becomes(lab, OTHER, *protocol, *to, true)?;
    }
    still_there("when its client was let in again")
}

/// Who is kept out is not even told that nobody is there.
fn before_empty(lab: &mut Lab) -> Result<()> {
    let service = "ranges-empty";
    serve(lab, spec(service, &some()))?;
    let empty = ServiceSpec { pods: Vec::new(), ..spec(service, &some()) };
    lab.put_service(empty)?;
    let to = frontend(lab, service, Family::V4, Protocol::Udp)?;
    let ask = |client| attempt(lab, client, 9, Protocol::Udp, to, SILENCE);
    wait::until_true("the Service to be empty", CHANGE_LIMIT, || Ok(ask(ALLOWED)? == Outcome::Refused))?;
    let outcome = ask(OTHER)?;
    ensure!(outcome == Outcome::Silence, "who is kept out gets {outcome:?}");
    Ok(())
}

fn attempt(
    lab: &Lab,
    client: u8,
    index: u8,
    protocol: Protocol,
    to: SocketAddr,
    patience: Duration,
) -> Result<Outcome> {
    let client = lab.client(client);
    let family = Family::of(to.ip());
    let from = SocketAddr::new(client.address(family, index), 0);
    client.attempt(protocol, to, Some(from), patience)
}

/// A client's address is answered, or hears nothing.
fn is(lab: &Lab, client: u8, index: u8, protocol: Protocol, to: SocketAddr, answered: bool) -> Result<()> {
    let name = protocol.name();
    let patience = if answered { LOOK } else { SILENCE };
    match (attempt(lab, client, index, protocol, to, patience)?, answered) {
        (Outcome::Answered(_), true) | (Outcome::Silence, false) => Ok(()),
        (outcome, _) => bail!("address {index} of c{client} gets {outcome:?} of {to} over {name}"),
    }
}

/// Waits until a client's own address is answered, or hears nothing.
fn becomes(lab: &Lab, client: u8, protocol: Protocol, to: SocketAddr, answered: bool) -> Result<()> {
    let what = format!("{to} over {} to be {answered} for c{client}", protocol.name());
    wait::until_true(&what, CHANGE_LIMIT, || is(lab, client, 1, protocol, to, answered).map(|()| true))
}
