//! What the kernel's routes say: which devices lead outside, and which way a packet takes.

use std::net::IpAddr;

use rtnetlink::packet_route::{
    AddressFamily,
    route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteLwEnCapType, RouteMessage, RouteMetric, RouteType, RouteVia,
    },
};

use super::{
    hop::{Ends, Target, Unresolved},
    neighbour::NeighbourKey,
};

/// The way that the kernel's routes give to an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Way {
    /// Index of the device that it leaves by.
    pub(super) device: u32,
    /// Who gets the frame: the gateway, or the address itself.
    pub(super) neighbour: IpAddr,
    /// The route's own limit, configured or learned from the path, in bytes of layer 3.
    pub(super) mtu: Option<u32>,
}

impl Way {
    /// Where the layer-2 address of the next hop is found.
    pub(super) fn neighbour_key(&self) -> NeighbourKey {
        NeighbourKey { device: self.device, address: self.neighbour }
    }
}

/// The question for the way to a target, from its source, as rules may route by source.
pub(super) fn look_up(target: &Target) -> RouteMessage {
    let (family, bits) = match target.ends {
        Ends::V4 { .. } => (AddressFamily::Inet, 32),
        Ends::V6 { .. } => (AddressFamily::Inet6, 128),
    };
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.source_prefix_length = bits;
    message.header.destination_prefix_length = bits;
    message.attributes =
        vec![RouteAttribute::Source(target.source().into()), RouteAttribute::Destination(target.address().into())];
    message
}

/// What the kernel's answer for `address` means.
pub(super) fn way(route: &RouteMessage, address: IpAddr) -> Result<Way, Unresolved> {
    match route.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Err(Unresolved::OwnAddress),
        _ => return Err(Unresolved::NoRoute),
    }
    let mut device = None;
    let mut neighbour = address;
    let mut mtu = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => neighbour = (*gateway).into(),
            RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) => neighbour = (*gateway).into(),
            RouteAttribute::Via(RouteVia::Inet(gateway)) => neighbour = (*gateway).into(),
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => neighbour = (*gateway).into(),
            RouteAttribute::Metrics(metrics) => mtu = metrics.iter().find_map(mtu_of),
            // The kernel would put another header in front, which XDP does not.
            RouteAttribute::EncapType(kind) if *kind != RouteLwEnCapType::None => {
                return Err(Unresolved::NotEthernet);
            }
            _ => {}
        }
    }
    let device = device.ok_or(Unresolved::NoRoute)?;
    Ok(Way { device, neighbour, mtu })
}

/// Devices of the default routes in the main table, all next hops of each, every device once.
pub(super) fn default_devices(routes: &[RouteMessage]) -> Vec<u32> {
    let mut devices = Vec::new();
    for device in routes.iter().filter(|route| is_default(route)).flat_map(devices_of) {
        if !devices.contains(&device) {
            devices.push(device);
        }
    }
    devices
}

fn is_default(route: &RouteMessage) -> bool {
    let table = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    route.header.kind == RouteType::Unicast
        && route.header.destination_prefix_length == 0
        && route.header.source_prefix_length == 0
        && table.unwrap_or(route.header.table.into()) == u32::from(RouteHeader::RT_TABLE_MAIN)
}

fn devices_of(route: &RouteMessage) -> Vec<u32> {
    route
        .attributes
        .iter()
        .flat_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => vec![*index],
            RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
            _ => vec![],
        })
        .collect()
}

fn mtu_of(metric: &RouteMetric) -> Option<u32> {
    match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::route::RouteNextHop;

    use super::*;

    const ADDRESS: &str = "192.0.2.9";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn route(kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut route = RouteMessage::default();
        route.header.kind = kind;
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        route.attributes = attributes;
        route
    }

    #[test]
    fn ways_are_read() {
        let oif = || RouteAttribute::Oif(3);
        let way_by = |neighbour, mtu| Ok(Way { device: 3, neighbour: ip(neighbour), mtu });
        let cases = [
            ("on the link", route(RouteType::Unicast, vec![oif()]), way_by(ADDRESS, None)),
            (
                "by a gateway",
                route(RouteType::Unicast, vec![oif(), RouteAttribute::Gateway(ip("198.51.100.1").into())]),
                way_by("198.51.100.1", None),
            ),
            (
                "IPv4 by an IPv6 gateway",
                route(RouteType::Unicast, vec![oif(), RouteAttribute::Via(ip("fe80::1").into())]),
                way_by("fe80::1", None),
            ),
            (
                "with its own MTU",
                route(
                    RouteType::Unicast,
                    vec![oif(), RouteAttribute::Metrics(vec![RouteMetric::Hoplimit(3), RouteMetric::Mtu(1400)])],
                ),
                way_by(ADDRESS, Some(1400)),
            ),
            (
                "with an encapsulation",
                route(RouteType::Unicast, vec![oif(), RouteAttribute::EncapType(RouteLwEnCapType::Mpls)]),
                Err(Unresolved::NotEthernet),
            ),
            ("of this node", route(RouteType::Local, vec![RouteAttribute::Oif(1)]), Err(Unresolved::OwnAddress)),
            ("unreachable", route(RouteType::Unreachable, vec![RouteAttribute::Oif(1)]), Err(Unresolved::NoRoute)),
            ("a blackhole", route(RouteType::BlackHole, vec![]), Err(Unresolved::NoRoute)),
            ("without a device", route(RouteType::Unicast, vec![]), Err(Unresolved::NoRoute)),
        ];
        for (description, route, expected) in cases {
            assert_eq!(way(&route, ip(ADDRESS)), expected, "{description}");
        }
    }

    #[test]
    fn default_routes_are_those_of_the_main_table() {
        let hop = |index| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = index;
            hop
        };
        let mut narrower = route(RouteType::Unicast, vec![RouteAttribute::Oif(10)]);
        narrower.header.destination_prefix_length = 24;
        let mut by_source = route(RouteType::Unicast, vec![RouteAttribute::Oif(11)]);
        by_source.header.source_prefix_length = 64;
        let routes = [
            route(RouteType::Unicast, vec![RouteAttribute::Oif(3)]),
            route(RouteType::Unicast, vec![RouteAttribute::MultiPath(vec![hop(4), hop(3), hop(5)])]),
            route(RouteType::Unicast, vec![RouteAttribute::Table(100), RouteAttribute::Oif(12)]),
            route(RouteType::Unreachable, vec![RouteAttribute::Oif(1)]),
            narrower,
            by_source,
        ];
        assert_eq!(default_devices(&routes), [3, 4, 5]);
    }
}
