//! What the maps should hold, by what the agent knows that it has programmed. Pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use lb_common::layout::{Config, THIS_NODE, Way, name_kind};

use crate::{
    agent::hops::Written,
    dataplane::{self, Elements, Endpoint, NextHop, TUNNEL_END, names, values},
    model::{Family, NodeAddresses},
    netlink::Ends,
    plan::{Applied, FrontendKey},
};

/// What the agent knows.
pub(super) struct Known<'a> {
    /// What it has programmed, or is about to.
    pub(super) applied: &'a Applied,
    /// What was written of the ways, by node and family.
    pub(super) ways: &'a BTreeMap<(u32, Family), (Ends, Written<'a>)>,
    /// What goes through the tunnel in one packet, of IPv4 and IPv6; none while that is not known.
    pub(super) mtus: Option<[u32; 2]>,
    /// The tunnel's port.
    pub(super) tunnel_port: u16,
}

/// What the maps should hold. Where the agent does not know it, or where several things will do, it is what is
/// `programmed`, if that makes sense.
pub(super) fn elements(known: &Known<'_>, programmed: &Elements) -> Elements {
    let applied = known.applied;
    Elements {
        config: config(known, programmed.config),
        names: names(applied, programmed),
        backends: applied.backends.iter().map(|(id, backend)| (*id, values::backend(&backend.record))).collect(),
        locals: applied
            .local_backends
            .iter()
            .map(|((address, protocol), id)| (Endpoint::new(address.ip(), address.port(), *protocol), *id))
            .collect(),
        siblings: applied.siblings.clone(),
        source_ranges: applied.source_ranges.clone(),
        frontends: frontends(known),
        peers: peers(applied, programmed),
        next_hops: next_hops(known, programmed),
    }
}

fn config(known: &Known<'_>, programmed: Config) -> Config {
    let config = Config { tunnel_port: known.tunnel_port, pad: 0, ..programmed };
    known.mtus.map_or(config, |[v4, v6]| dataplane::fitting_mss(config, v4, v6))
}

fn names(applied: &Applied, programmed: &Elements) -> BTreeMap<(u32, u32), String> {
    let services = applied.services.iter().map(|(id, name)| {
        let name = names::service(&name.namespace, &name.name, &name.port, name.protocol);
        ((name_kind::SERVICE, *id), names::text(&name).to_owned())
    });
    let backends = applied.backend_names.iter().map(|(id, identity)| {
        let key = (name_kind::BACKEND, *id);
        // The node's name in it is for people alone, and may be that of a node which is gone.
        let is_it = |text: &&String| names::parse_backend(text).is_some_and(|name| name.identity == identity);
        let new = || {
            let node = applied.backends.get(id).and_then(|backend| applied.nodes.get(&backend.record.node));
            names::text(&names::backend(identity, node.map_or("", |node| &node.name))).to_owned()
        };
        (key, programmed.names.get(&key).filter(is_it).cloned().unwrap_or_else(new))
    });
    let nodes = applied.nodes.iter().map(|(id, node)| {
        let name = names::node(&node.name);
        ((name_kind::NODE, *id), names::text(&name).to_owned())
    });
    services.chain(backends).chain(nodes).collect()
}

fn frontends(known: &Known<'_>) -> BTreeMap<Endpoint, lb_common::layout::Frontend> {
    let applied = known.applied;
    let own = applied.nodes.get(&THIS_NODE).map(|node| addresses(node.addresses)).unwrap_or_default();
    let ends = own.into_iter().map(|address| {
        let at = Endpoint::new(address, known.tunnel_port, crate::model::Protocol::Udp);
        (at, TUNNEL_END)
    });
    let frontends = applied.frontends.iter().map(|(key, value)| {
        let FrontendKey { address, port, protocol } = *key;
        (Endpoint::new(address, port, protocol), values::frontend(value, applied.services.get(&value.service)))
    });
    ends.chain(frontends).collect()
}

/// Of several nodes that say that an address is theirs, any will do: the programs ask whether somebody's it is.
fn peers(applied: &Applied, programmed: &Elements) -> BTreeMap<IpAddr, u32> {
    let mut peers = BTreeMap::new();
    for (id, node) in applied.nodes.iter().filter(|(id, _)| **id != THIS_NODE) {
        for address in addresses(node.addresses) {
            if programmed.peers.get(&address) == Some(id) {
                peers.insert(address, *id);
            } else {
                peers.entry(address).or_insert(*id);
            }
        }
    }
    peers
}

fn next_hops(known: &Known<'_>, programmed: &Elements) -> BTreeMap<(u32, Family), NextHop> {
    let nodes = known.applied.nodes.iter();
    let all = nodes.flat_map(|(id, node)| addresses(node.addresses).into_iter().map(move |address| (*id, address)));
    let hops = all.map(|(node, address)| {
        let key = (node, Family::of(address));
        let way = known.ways.get(&key).filter(|(ends, _)| destination(*ends) == address);
        (key, next_hop(address, way, programmed.next_hops.get(&key).copied(), known.tunnel_port))
    });
    hops.collect()
}

fn next_hop(
    address: IpAddr,
    way: Option<&(Ends, Written<'_>)>,
    programmed: Option<NextHop>,
    tunnel_port: u16,
) -> NextHop {
    let unspecified = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let unknown = NextHop { source: unspecified, destination: address, way: Way::default() };
    let programmed = programmed.filter(|hop| hop.destination == address);
    match way {
        Some((ends, Written::Way(hop))) => {
            NextHop { source: source(*ends), destination: address, way: dataplane::way(hop, tunnel_port) }
        }
        Some((_, Written::Kept)) => programmed.filter(|hop| hop.way.tunnel_port == tunnel_port).unwrap_or(unknown),
        // The source is only looked at with a way.
        Some((_, Written::None)) => programmed.filter(|hop| hop.way == Way::default()).unwrap_or(unknown),
        None => programmed.unwrap_or(unknown),
    }
}

fn addresses(of: NodeAddresses) -> Vec<IpAddr> {
    of.v4.map(IpAddr::V4).into_iter().chain(of.v6.map(IpAddr::V6)).collect()
}

fn source(ends: Ends) -> IpAddr {
    match ends {
        Ends::V4 { source, .. } => source.into(),
        Ends::V6 { source, .. } => source.into(),
    }
}

fn destination(ends: Ends) -> IpAddr {
    match ends {
        Ends::V4 { address, .. } => address.into(),
        Ends::V6 { address, .. } => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{netlink::Hop, plan::AppliedNode};

    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    const ENDS: Ends = Ends::V4 { source: Ipv4Addr::new(192, 0, 2, 1), address: Ipv4Addr::new(192, 0, 2, 2) };

    fn hop(mtu: u16) -> Hop {
        Hop { device: 3, route_device: 3, mtu, ethernet: [2; 12], tags: [0; 2], tag_count: 0 }
    }

    fn written(destination: IpAddr, mtu: u16) -> NextHop {
        NextHop { source: source(ENDS), destination, way: dataplane::way(&hop(mtu), 6181) }
    }

    #[test]
    fn a_way_is_what_was_written_or_what_makes_sense() {
        let (right, wrong, elsewhere) =
            (written(OTHER, 1500), written(OTHER, 1400), written(IpAddr::from([192, 0, 2, 9]), 1500));
        let unknown = NextHop { source: IpAddr::V4(Ipv4Addr::UNSPECIFIED), destination: OTHER, way: Way::default() };
        let known = hop(1500);
        let cases = [
            ("as it was written", Some(Written::Way(&known)), Some(right), right),
            ("another", Some(Written::Way(&known)), Some(wrong), right),
            ("none", Some(Written::Way(&known)), None, right),
            ("kept, whichever it is", Some(Written::Kept), Some(wrong), wrong),
            ("kept, but to elsewhere", Some(Written::Kept), Some(elsewhere), unknown),
            ("there must be none", Some(Written::None), Some(right), unknown),
            ("there is none", Some(Written::None), Some(unknown), unknown),
            ("nobody has asked yet", None, Some(right), right),
            ("nobody has asked yet, and it leads elsewhere", None, Some(elsewhere), unknown),
        ];
        for (description, written, programmed, expected) in cases {
            let way = written.map(|written| (ENDS, written));
            assert_eq!(next_hop(OTHER, way.as_ref(), programmed, 6181), expected, "{description}");
        }
    }

    #[test]
    fn of_several_nodes_at_an_address_any_may_have_it() {
        let at = |v4| NodeAddresses { v4: Some(v4), v6: None };
        let node = |name: &str, last| {
            let addresses = at(Ipv4Addr::new(192, 0, 2, last));
            AppliedNode { name: name.to_owned(), addresses }
        };
        let applied = Applied {
            nodes: BTreeMap::from([(0, node("own", 1)), (1, node("a", 2)), (2, node("b", 2))]),
            ..Applied::default()
        };
        for (programmed, expected) in [(Some(1), 1), (Some(2), 2), (Some(7), 1), (None, 1)] {
            let programmed = programmed.map(|id| (OTHER, id)).into_iter().collect();
            let elements = Elements { peers: programmed, ..Elements::default() };
            assert_eq!(peers(&applied, &elements), BTreeMap::from([(OTHER, expected)]));
        }
    }

    #[test]
    fn a_backends_name_may_say_another_node_but_no_other_pod() {
        let applied =
            Applied { backend_names: BTreeMap::from([(7, "default/web-0".to_owned())]), ..Applied::default() };
        let key = (name_kind::BACKEND, 7);
        for (programmed, expected) in [
            ("default/web-0 gone-node", "default/web-0 gone-node"),
            ("default/web-1 n1", "default/web-0 "),
            ("nonsense", "default/web-0 "),
        ] {
            let programmed = Elements { names: BTreeMap::from([(key, programmed.to_owned())]), ..Elements::default() };
            assert_eq!(names(&applied, &programmed), BTreeMap::from([(key, expected.to_owned())]));
        }
    }
}
