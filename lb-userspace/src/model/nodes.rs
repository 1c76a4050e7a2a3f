//! Nodes: where tunnels end, and where this node's ports are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::types::{NodeAddresses, Options};
use crate::source::{Problem, Snapshot};

/// What the objects say of the nodes.
pub(super) struct Nodes<'a> {
    /// This node's name.
    pub(super) own: &'a str,
    pub(super) own_is_known: bool,
    /// This node's addresses of both kinds, sorted: where its node ports are.
    pub(super) own_addresses: Vec<IpAddr>,
    /// The tunnel addresses of all nodes.
    pub(super) addresses: BTreeMap<String, NodeAddresses>,
}

pub(super) fn collect<'a>(snapshot: &Snapshot, options: &'a Options, problems: &mut BTreeSet<Problem>) -> Nodes<'a> {
    let mut nodes =
        Nodes { own: &options.node, own_is_known: false, own_addresses: Vec::new(), addresses: BTreeMap::new() };
    for node in &snapshot.nodes {
        let name = node.object.metadata.name.clone().unwrap_or_default();
        let mut addresses = NodeAddresses::default();
        let listed = node.object.status.as_ref().and_then(|s| s.addresses.as_deref());
        for entry in listed.unwrap_or_default() {
            let Ok(address) = entry.address.parse::<IpAddr>() else {
                continue;
            };
            if name == options.node && ["InternalIP", "ExternalIP"].contains(&entry.type_.as_str()) {
                nodes.own_addresses.push(address);
            }
            if entry.type_ == "InternalIP" {
                match address {
                    IpAddr::V4(v4) => drop(addresses.v4.get_or_insert(v4)),
                    IpAddr::V6(v6) => drop(addresses.v6.get_or_insert(v6)),
                }
            }
        }
        nodes.own_is_known |= name == options.node;
        nodes.addresses.insert(name, addresses);
    }
    nodes.own_addresses.sort_unstable();
    nodes.own_addresses.dedup();
    if !nodes.own_is_known {
        problems.insert(
            Problem::error(
                "this node has no Node object: it has no node ports, every Pod counts as remote and nothing is taken away; add the object or give the node's name with --node",
            )
            .about(format!("Node {}", options.node)),
        );
    }
    nodes
}
