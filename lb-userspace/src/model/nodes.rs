//! Nodes: where tunnels end, where this node's ports are, and whether it is to get new connections.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;

use super::types::{Family, NodeAddresses, NodeEligibility, NodePortAddresses, Options};
use crate::source::{Problem, Snapshot};

/// The zone that a node is in, for topology hints.
const ZONE: &str = "topology.kubernetes.io/zone";
/// Key of the taint of a node that the cluster autoscaler is about to delete, whatever its value and effect.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// What the objects say of the nodes.
pub(super) struct Nodes<'a> {
    /// This node's name.
    pub(super) own: &'a str,
    /// This node's zone.
    pub(super) own_zone: Option<&'a str>,
    /// Every address that is this node's own, sorted.
    pub(super) own_addresses: Vec<IpAddr>,
    /// Those of them that have node ports, sorted.
    pub(super) node_port_addresses: Vec<IpAddr>,
    /// What this node's object says of it.
    pub(super) eligibility: NodeEligibility,
    /// Where nodes and their Pods are.
    pub(super) inside: BTreeSet<IpNet>,
    /// The tunnel addresses of all nodes.
    pub(super) addresses: BTreeMap<String, NodeAddresses>,
    /// The same, for 200,000 endpoints to ask.
    index: HashMap<&'a str, NodeAddresses>,
}

impl Nodes<'_> {
    /// Whether there is this node, and a tunnel can end there.
    pub(super) fn has(&self, node: Option<&str>, family: Family) -> bool {
        node.and_then(|node| self.index.get(node)).is_some_and(|addresses| addresses.has(family))
    }

    /// The address of this node's end of the tunnels.
    pub(super) fn own_tunnel(&self, family: Family) -> Option<IpAddr> {
        let addresses = self.index.get(self.own)?;
        match family {
            Family::V4 => addresses.v4.map(IpAddr::V4),
            Family::V6 => addresses.v6.map(IpAddr::V6),
        }
    }
}

pub(super) fn collect<'a>(snapshot: &'a Snapshot, options: &'a Options, problems: &mut BTreeSet<Problem>) -> Nodes<'a> {
    let mut index = HashMap::with_capacity(snapshot.nodes.len());
    let mut own_object = None;
    for sourced in &snapshot.nodes {
        let node = &*sourced.object;
        if let Some(name) = node.metadata.name.as_deref() {
            index.insert(name, tunnel_addresses(node));
            own_object = own_object.or(Some(node).filter(|_| name == options.node));
        }
    }
    if own_object.is_none() {
        problems.insert(
            Problem::error(
                "this node has no Node object: it has no node ports, follows no hints by zone, and nothing is taken away; add the object or give the node's name with --node",
            )
            .about(format!("Node {}", options.node)),
        );
    }
    let primary = own_object.map(all_addresses).unwrap_or_default();
    let mut node_port_addresses = match &options.node_port_addresses {
        NodePortAddresses::Primary => primary.clone(),
        NodePortAddresses::Within(nets) => within(nets, &options.local_addresses),
    };
    node_port_addresses.sort_unstable();
    node_port_addresses.dedup();
    let mut own_addresses = primary;
    own_addresses.extend(&options.local_addresses);
    own_addresses.sort_unstable();
    own_addresses.dedup();
    Nodes {
        own: &options.node,
        own_zone: own_object.and_then(zone),
        own_addresses,
        node_port_addresses,
        eligibility: own_object.map(eligibility).unwrap_or_default(),
        inside: snapshot.nodes.iter().flat_map(|sourced| inside(&sourced.object)).collect(),
        addresses: index.iter().map(|(name, addresses)| ((*name).to_owned(), *addresses)).collect(),
        index,
    }
}

/// The addresses that the object lists, of both kinds that can be reached, with whether they are internal.
fn listed(node: &Node) -> impl Iterator<Item = (bool, IpAddr)> {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    addresses.iter().filter_map(|entry| {
        let internal = match entry.type_.as_str() {
            "InternalIP" => true,
            "ExternalIP" => false,
            _ => return None,
        };
        Some((internal, entry.address.parse().ok()?))
    })
}

fn all_addresses(node: &Node) -> Vec<IpAddr> {
    listed(node).map(|(_, address)| address).collect()
}

/// The node's own addresses, and the networks that its Pods' are taken from. (Not every network plugin lets the Node say
/// these.)
fn inside(node: &Node) -> impl Iterator<Item = IpNet> {
    let spec = node.spec.as_ref();
    let networks = spec.and_then(|spec| spec.pod_cidrs.as_deref()).unwrap_or_default().iter();
    let networks = networks.chain(spec.and_then(|spec| spec.pod_cidr.as_ref())).filter_map(|text| text.parse().ok());
    // One that held everybody would leave nobody outside.
    let networks = networks.filter(|network: &IpNet| network.prefix_len() > 0).map(|network| network.trunc());
    listed(node).map(|(_, address)| IpNet::from(address)).chain(networks)
}

/// The first internal address of each family.
fn tunnel_addresses(node: &Node) -> NodeAddresses {
    let mut addresses = NodeAddresses::default();
    for (_, address) in listed(node).filter(|(internal, _)| *internal) {
        match address {
            IpAddr::V4(v4) => addresses.v4 = addresses.v4.or(Some(v4)),
            IpAddr::V6(v6) => addresses.v6 = addresses.v6.or(Some(v6)),
        }
    }
    addresses
}

/// The addresses that lie within one of these; of a family that none of these is of, all (A.8).
fn within(nets: &[IpNet], addresses: &[IpAddr]) -> Vec<IpAddr> {
    let allowed = |address: &IpAddr| {
        let mut same_family = nets.iter().filter(|net| net.addr().is_ipv4() == address.is_ipv4()).peekable();
        same_family.peek().is_none() || same_family.any(|net| net.contains(address))
    };
    addresses.iter().copied().filter(allowed).collect()
}

/// The node's zone; an empty label is none.
fn zone(node: &Node) -> Option<&str> {
    let zone = node.metadata.labels.as_ref()?.get(ZONE)?;
    Some(zone.as_str()).filter(|zone| !zone.is_empty())
}

fn eligibility(node: &Node) -> NodeEligibility {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    NodeEligibility {
        known: true,
        deleting: node.metadata.deletion_timestamp.is_some(),
        tainted: taints.iter().any(|taint| taint.key == TO_BE_DELETED),
    }
}
