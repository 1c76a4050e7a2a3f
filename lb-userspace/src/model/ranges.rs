//! Who may reach a Service's load-balancer IPs: `spec.loadBalancerSourceRanges` (A.8).

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::nodes::Nodes;
use super::types::Family;
use super::{frontends, service};
use crate::source::{Problem, Sourced, quoted};

const FIELD: &str = "spec.loadBalancerSourceRanges";

/// The ranges, sorted, each once; none where everybody may.
///
/// What is wrong never opens a Service: an entry that is no range is told and allows nobody, though it may be the only
/// one. Nor does silence: ranges of one family keep everybody of the other out, who would be let in by kube-proxy.
pub(super) fn of(
    sourced: &Sourced<Service>,
    spec: &ServiceSpec,
    nodes: &Nodes<'_>,
    problems: &mut BTreeSet<Problem>,
) -> Option<Vec<IpNet>> {
    let entries = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    if entries.is_empty() || spec.type_.as_deref() != Some("LoadBalancer") {
        return None;
    }
    let parsed: Vec<Option<IpNet>> = entries.iter().map(|entry| range(entry)).collect();
    if parsed.iter().all(|range| range.is_some_and(|range| range.prefix_len() == 0)) {
        return None;
    }
    let mut ranges: Vec<IpNet> = parsed.iter().copied().flatten().collect();
    for (index, entry) in entries.iter().enumerate().filter(|(index, _)| parsed[*index].is_none()) {
        let message = format!("{} is no CIDR; it is ignored and lets nobody in", quoted(entry));
        problems.insert(about(sourced, Problem::error(message)).at(format!("{FIELD}[{index}]")));
    }
    let balanced = frontends::load_balancer_ips(sourced, spec);
    for family in Family::ALL {
        let shut_out = balanced.iter().find(|address| Family::of(**address) == family);
        if let Some(address) = shut_out
            && !ranges.iter().any(|range| Family::of(range.addr()) == family)
        {
            let message = format!("no range of {family} is there: nobody reaches the load-balancer IP {address}");
            problems.insert(about(sourced, Problem::warning(message)).at(FIELD));
        }
    }
    // Where a load-balancer IP is also an address of the node, what the node itself sends there has it as its source.
    let holds = |address: IpAddr| ranges.iter().any(|range| range.contains(&address));
    let lets_node_in = |address: &IpAddr| nodes.own_tunnel(Family::of(*address)).is_some_and(holds);
    let added: Vec<IpAddr> = balanced.into_iter().filter(|ip| lets_node_in(ip) && !holds(*ip)).collect();
    ranges.extend(added.into_iter().map(IpNet::from));
    ranges.sort_unstable();
    ranges.dedup();
    Some(ranges)
}

fn range(entry: &str) -> Option<IpNet> {
    entry.trim().parse::<IpNet>().ok().map(|range| range.trunc())
}

fn about(sourced: &Sourced<Service>, problem: Problem) -> Problem {
    let (namespace, name) = service::name(&sourced.object);
    problem.in_file(sourced.origin.file.as_deref()).about(format!("Service {namespace}/{name}"))
}
