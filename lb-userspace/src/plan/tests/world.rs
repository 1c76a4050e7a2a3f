//! Worlds in a few bytes, and what the model would say of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use proptest::prelude::*;

use crate::model::{
    Affinity, AffinityKey, Backend, BackendState, ClientAffinity, Desired, Frontend, FrontendKind, IfEmpty,
    IfEmptyPools, NodeAddresses, Protocol, ServicePort, ServicePortName,
};
use crate::plan::Limits;

pub(super) const ROOMY: Limits = Limits {
    slots: 4_000_000,
    backends: 10_000,
    services: 1_000,
    frontends: 1_000,
    source_ranges: 1_000,
    siblings: 40_000,
    nodes: 100,
};

/// A Service port in a few words.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) name: u8,
    /// Last byte of the frontends' addresses, and whether it is IPv6.
    pub(super) frontends: BTreeSet<(u8, bool)>,
    pub(super) affinity: bool,
    /// Networks that may come, by number, and whether they are IPv6; none: everybody.
    pub(super) ranges: Option<BTreeSet<(u8, bool)>>,
    /// Pod, last byte of its address, node, whether it takes new flows.
    pub(super) backends: BTreeMap<u8, (u8, u8, bool)>,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) services: BTreeMap<u8, Spec>,
    /// Nodes besides this one, with the last byte of their addresses.
    pub(super) nodes: BTreeMap<u8, u8>,
    pub(super) complete: bool,
}

pub(super) fn address(kind: u8, last: u8, v6: bool) -> IpAddr {
    if v6 {
        IpAddr::from([0xfd00, u16::from(kind), 0, 0, 0, 0, 0, u16::from(last)])
    } else {
        IpAddr::from([10, kind, 0, last])
    }
}

/// The model's output for a world. A frontend that several ask for goes to the first.
pub(super) fn desired(world: &World) -> Desired {
    let mut taken = BTreeSet::new();
    let mut services = BTreeMap::new();
    for spec in world.services.values() {
        let name = ServicePortName {
            namespace: "default".to_owned(),
            // Two ports a Service.
            name: format!("s{}", spec.name / 2),
            port: format!("p{}", spec.name % 2),
            protocol: Protocol::Tcp,
        };
        services.insert(name, Arc::new(service_port(spec, world, &mut taken)));
    }
    let node = |n: u8, last: u8| {
        let IpAddr::V4(v4) = address(1, last, false) else { panic!("IPv4") };
        (format!("n{n}"), NodeAddresses { v4: Some(v4), v6: None })
    };
    let nodes = world.nodes.iter().map(|(n, last)| node(*n, *last)).chain([node(0, 1)]);
    Desired { services, nodes: nodes.collect(), node: "n0".to_owned(), complete: world.complete, ..Desired::default() }
}

pub(super) fn service_port(spec: &Spec, world: &World, taken: &mut BTreeSet<IpAddr>) -> ServicePort {
    let mut port = ServicePort {
        affinity: if spec.affinity { Affinity::ClientIp(affinity(spec.name)) } else { Affinity::None },
        if_empty: if spec.name.is_multiple_of(2) { IfEmptyPools::default() } else { SILENT },
        source_ranges: spec.ranges.as_ref().map(|ranges| ranges.iter().map(|range| network(*range)).collect()),
        ..ServicePort::default()
    };
    for (last, v6) in &spec.frontends {
        let address = address(2, *last, *v6);
        if taken.insert(address) {
            let kind = if last % 2 == 0 { FrontendKind::LoadBalancerIp } else { FrontendKind::ExternalIp };
            port.frontends.push(Frontend { address, port: 80, kind });
        }
    }
    for v6 in [false, true] {
        let mut pool = Vec::new();
        let mut addresses = BTreeSet::new();
        for (pod, (last, node, active)) in &spec.backends {
            if (*node != 0 && !world.nodes.contains_key(node)) || !addresses.insert(*last) {
                continue;
            }
            let state = if *active { BackendState::Active } else { BackendState::Draining };
            pool.extend(active.then_some(port.backends.len()));
            port.backends.push(Backend {
                identity: format!("default/p{pod:03}"),
                address: SocketAddr::new(address(3, *last, v6), 8080),
                protocol: Protocol::Tcp,
                node: Some(format!("n{node}")),
                state,
            });
        }
        if v6 {
            port.pools.v6 = pool;
        } else {
            port.pools.v4 = pool;
        }
    }
    port
}

const SILENT: IfEmptyPools = IfEmptyPools { v4: IfEmpty::Drop, v6: IfEmpty::Drop };

/// A network of its own for each number, everything for 0. With bits behind the prefix, which are to go.
pub(super) fn network((number, v6): (u8, bool)) -> IpNet {
    let bits = match (number, v6) {
        (0, _) => 0,
        (_, false) => 24 + number,
        (_, true) => 104 + number,
    };
    IpNet::new(address(4, 0xff, v6), bits).unwrap()
}

/// The ports of some Services share their clients.
fn affinity(name: u8) -> ClientAffinity {
    let key = if name < 4 { AffinityKey::Service } else { AffinityKey::Port };
    ClientAffinity { timeout_seconds: 60, key, ..ClientAffinity::default() }
}

prop_compose! {
    pub(super) fn specs()(
        name in 0..6_u8,
        frontends in proptest::collection::btree_set((1..10_u8, any::<bool>()), 0..4),
        affinity in any::<bool>(),
        ranges in proptest::option::of(proptest::collection::btree_set((0..6_u8, any::<bool>()), 0..4)),
        backends in proptest::collection::btree_map(0..8_u8, (1..8_u8, 0..4_u8, any::<bool>()), 0..5),
    ) -> Spec {
        Spec { name, frontends, affinity, ranges, backends }
    }
}

prop_compose! {
    pub(super) fn worlds()(
        specs in proptest::collection::vec(specs(), 0..6),
        nodes in proptest::collection::btree_map(1..4_u8, 2..6_u8, 0..4),
        complete in prop::bool::weighted(0.8),
    ) -> World {
        let services = specs.into_iter().map(|spec| (spec.name, spec)).collect();
        World { services, nodes, complete }
    }
}

/// Where worlds give one Pod two nodes, the model's promise (one object, one node) is broken:
/// those pairs are brought into line first.
pub(super) fn consistent(mut world: World) -> World {
    let mut node_of: BTreeMap<(u8, u8), u8> = BTreeMap::new();
    for spec in world.services.values_mut() {
        for (pod, (last, node, _)) in &mut spec.backends {
            *node = *node_of.entry((*pod, *last)).or_insert(*node);
        }
    }
    world
}
