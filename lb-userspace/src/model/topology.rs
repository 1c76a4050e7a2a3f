//! Topology hints: which ready endpoints a node with policy Cluster keeps to (A.7).
//!
//! The EndpointSlice controller decides and writes the hints; `trafficDistribution` and the topology
//! annotation are its business alone.

use k8s_openapi::api::discovery::v1::Endpoint;

/// The hints that count on this node for one Service port and family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hints<'a> {
    /// None: every ready endpoint is as good as another.
    Ignored,
    /// Only endpoints for this node.
    Node(&'a str),
    /// Only endpoints for this zone.
    Zone(&'a str),
}

impl<'a> Hints<'a> {
    /// What the ready endpoints' hints come to: by node if all have hints by node and one of them is for this node; else
    /// the same by zone; else nothing.
    pub(super) fn of<'e>(ready: impl Iterator<Item = &'e Endpoint>, node: &'a str, zone: Option<&'a str>) -> Self {
        let (mut all_by_node, mut one_for_node) = (true, false);
        let (mut all_by_zone, mut one_for_zone) = (true, false);
        for endpoint in ready {
            all_by_node &= has_nodes(endpoint);
            one_for_node |= is_for_node(endpoint, node);
            all_by_zone &= has_zones(endpoint);
            one_for_zone |= zone.is_some_and(|zone| is_for_zone(endpoint, zone));
            if !all_by_node && !all_by_zone {
                return Self::Ignored;
            }
        }
        match zone {
            _ if all_by_node && one_for_node => Self::Node(node),
            Some(zone) if all_by_zone && one_for_zone => Self::Zone(zone),
            Some(_) | None => Self::Ignored,
        }
    }

    /// Whether this node uses the ready endpoint.
    pub(super) fn accept(self, endpoint: &Endpoint) -> bool {
        match self {
            Self::Ignored => true,
            Self::Node(node) => is_for_node(endpoint, node),
            Self::Zone(zone) => is_for_zone(endpoint, zone),
        }
    }
}

fn has_nodes(endpoint: &Endpoint) -> bool {
    let nodes = endpoint.hints.as_ref().and_then(|hints| hints.for_nodes.as_ref());
    nodes.is_some_and(|nodes| !nodes.is_empty())
}

fn is_for_node(endpoint: &Endpoint, node: &str) -> bool {
    let nodes = endpoint.hints.as_ref().and_then(|hints| hints.for_nodes.as_ref());
    nodes.is_some_and(|nodes| nodes.iter().any(|hint| hint.name == node))
}

fn has_zones(endpoint: &Endpoint) -> bool {
    let zones = endpoint.hints.as_ref().and_then(|hints| hints.for_zones.as_ref());
    zones.is_some_and(|zones| !zones.is_empty())
}

fn is_for_zone(endpoint: &Endpoint, zone: &str) -> bool {
    let zones = endpoint.hints.as_ref().and_then(|hints| hints.for_zones.as_ref());
    zones.is_some_and(|zones| zones.iter().any(|hint| hint.name == zone))
}
