//! Small worlds, and what the model would say of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use lb_userspace::model::{
    Affinity, AffinityExpiry, AffinityKey, Backend, BackendState, ClientAffinity, Desired, Frontend, FrontendKind,
    IfEmpty, IfEmptyPools, NodeAddresses, Pools, Protocol, ServicePort, ServicePortName,
};
use proptest::prelude::*;

/// Where this node's tunnel ends.
pub(crate) const OWN: NodeAddresses = addresses(1);
/// Number of nodes, this one included.
const NODES: u8 = 4;

/// Service ports by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    services: BTreeMap<u8, Spec>,
}

/// A Service port.
#[derive(Clone, Debug)]
struct Spec {
    /// Last octet of the frontends' addresses, and whether it is IPv6.
    frontends: BTreeSet<(u8, bool)>,
    is_udp: bool,
    has_affinity: bool,
    /// Last octets of the networks that may come, and whether they are IPv6; none: everybody.
    ranges: Option<BTreeSet<(u8, bool)>>,
    /// Pods and whether they take new flows.
    pods: BTreeMap<u8, bool>,
}

impl World {
    /// One Service port with a Pod on each node.
    pub(crate) fn example() -> Self {
        let frontends = BTreeSet::from([(1, false), (1, true)]);
        let pods = (0..NODES).map(|pod| (pod, pod != 1)).collect();
        let ranges = Some(BTreeSet::from([(0, false), (9, true)]));
        Self { services: BTreeMap::from([(1, Spec { frontends, is_udp: false, has_affinity: true, ranges, pods })]) }
    }
}

impl World {
    /// The same, but the Service port has another name.
    pub(crate) fn of_another_service() -> Self {
        Self { services: Self::example().services.into_values().map(|spec| (3, spec)).collect() }
    }
}

prop_compose! {
    fn specs()(
        frontends in proptest::collection::btree_set((1..6_u8, any::<bool>()), 0..4),
        is_udp in any::<bool>(),
        has_affinity in any::<bool>(),
        ranges in proptest::option::of(proptest::collection::btree_set((0..6_u8, any::<bool>()), 0..4)),
        pods in proptest::collection::btree_map(0..8_u8, any::<bool>(), 0..5),
    ) -> Spec {
        Spec { frontends, is_udp, has_affinity, ranges, pods }
    }
}

prop_compose! {
    /// Any world.
    pub(crate) fn worlds()(services in proptest::collection::btree_map(0..5_u8, specs(), 0..5)) -> World {
        World { services }
    }
}

const fn addresses(last: u8) -> NodeAddresses {
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last as u16);
    NodeAddresses { v4: Some(Ipv4Addr::new(192, 0, 2, last)), v6: Some(v6) }
}

/// An address of a frontend (0) or a Pod (1).
fn address(kind: u8, last: u8, v6: bool) -> IpAddr {
    if v6 {
        IpAddr::from([0xfd00, u16::from(kind), 0, 0, 0, 0, 0, u16::from(last)])
    } else {
        IpAddr::from([10, kind, 0, last])
    }
}

/// The model's output for a world. A frontend that several ask for goes to the first.
pub(crate) fn desired(world: &World) -> Desired {
    let mut taken = BTreeSet::new();
    let services = world.services.iter().map(|(number, spec)| {
        let protocol = if spec.is_udp { Protocol::Udp } else { Protocol::Tcp };
        // Two ports a Service.
        let (namespace, name) = ("default".to_owned(), format!("s{}", number / 2));
        let port = if number % 2 == 0 { String::new() } else { "http".to_owned() };
        (ServicePortName { namespace, name, port, protocol }, Arc::new(service_port(spec, protocol, &mut taken)))
    });
    Desired {
        services: services.collect(),
        nodes: (0..NODES).map(|node| (format!("n{node}"), addresses(node + 1))).collect(),
        node: "n0".to_owned(),
        complete: true,
        ..Desired::default()
    }
}

/// A network of its own for each number, everything for 0.
fn network((number, v6): (u8, bool)) -> IpNet {
    let bits = match (number, v6) {
        (0, _) => 0,
        (_, false) => 20 + number,
        (_, true) => 100 + number,
    };
    IpNet::new(address(2, number, v6), bits).unwrap().trunc()
}

/// All of it, so that all of it has to be read back.
fn affinity(spec: &Spec) -> ClientAffinity {
    let key = if spec.is_udp { AffinityKey::Service } else { AffinityKey::Port };
    let expiry = if spec.pods.len() > 2 { AffinityExpiry::Stable } else { AffinityExpiry::Real };
    ClientAffinity { timeout_seconds: 60, key, prefix_v4: 24, prefix_v6: 64, expiry }
}

fn service_port(spec: &Spec, protocol: Protocol, taken: &mut BTreeSet<(IpAddr, Protocol)>) -> ServicePort {
    let frontends = spec.frontends.iter().map(|(last, v6)| address(0, *last, *v6));
    let frontends = frontends.filter(|address| taken.insert((*address, protocol)));
    let kinds = [FrontendKind::LoadBalancerIp, FrontendKind::ExternalIp, FrontendKind::NodePort];
    let frontends = frontends.zip(kinds.into_iter().cycle());
    let mut port = ServicePort {
        affinity: if spec.has_affinity { Affinity::ClientIp(affinity(spec)) } else { Affinity::None },
        frontends: frontends.map(|(address, kind)| Frontend { address, port: 80, kind }).collect(),
        // Also without any Pod, both ways.
        if_empty: if spec.is_udp {
            IfEmptyPools { v4: IfEmpty::Drop, v6: IfEmpty::Drop }
        } else {
            IfEmptyPools::default()
        },
        source_ranges: spec.ranges.as_ref().map(|ranges| ranges.iter().map(|range| network(*range)).collect()),
        ..ServicePort::default()
    };
    let pools = [false, true].map(|v6| {
        let mut pool = Vec::new();
        let mut addresses = BTreeSet::new();
        for (pod, is_active) in &spec.pods {
            // Pods 6 and 7 are the old one and the new one at an address: of different Service ports only.
            let last = (*pod).min(6);
            if !addresses.insert(last) {
                continue;
            }
            pool.extend(is_active.then_some(port.backends.len()));
            port.backends.push(Backend {
                identity: format!("default/p{pod}"),
                address: SocketAddr::new(address(1, last, v6), 8080),
                protocol,
                node: Some(format!("n{}", last % NODES)),
                state: if *is_active { BackendState::Active } else { BackendState::Draining },
            });
        }
        pool
    });
    let [v4, v6] = pools;
    port.pools = Pools { v4, v6 };
    port
}
