//! What is programmed on this node, as plain values: everything that the tables of output are made from.
//!
//! Pure; [`super::read`] fills it from the maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
};

use lb_common::layout::THIS_NODE;
use serde::Serialize;

use crate::model::Family;

/// What is programmed, but for flows and counters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// Service ports by id.
    pub services: BTreeMap<u32, ServicePort>,
    /// Frontends of Service ports.
    pub frontends: Vec<Frontend>,
    /// Backends by id; those that are gone as long as they have a name.
    pub backends: BTreeMap<u32, Backend>,
    /// Nodes by id.
    pub nodes: BTreeMap<u32, Node>,
    /// The lookup tables that frontends point at.
    pub tables: BTreeMap<Extent, Table>,
    /// Service ports and the backends that flows hold for them, as far as they have been asked for.
    pub held: BTreeSet<(u32, u32)>,
}

/// One port of one Service. Shown as `namespace/name:port/TCP`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ServicePort {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// The port's name; empty for the only port of a Service.
    pub port: String,
    /// `TCP` or `UDP`.
    pub protocol: String,
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, port, protocol } = self;
        write!(f, "{namespace}/{name}:{port}/{protocol}")
    }
}

/// A frontend.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frontend {
    /// Where it is reached.
    pub address: SocketAddr,
    /// Where the address comes from.
    pub kind: FrontendKind,
    /// Id of its Service port.
    pub service: u32,
    /// Whether clients stay with their backend, and how long, in seconds.
    pub affinity_timeout_seconds: Option<u32>,
    /// Its lookup table; none without a usable backend.
    pub table: Option<Extent>,
}

/// Where a frontend's address comes from. In the words of Kubernetes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum FrontendKind {
    /// `status.loadBalancer.ingress[].ip`.
    LoadBalancerIP,
    /// `spec.externalIPs[]`.
    ExternalIP,
    /// `spec.clusterIPs[]`.
    ClusterIP,
    /// `spec.ports[].nodePort`.
    NodePort,
    /// A number that this version does not know.
    Unknown,
}

impl fmt::Display for FrontendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LoadBalancerIP => "LoadBalancerIP",
            Self::ExternalIP => "ExternalIP",
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::Unknown => "Unknown",
        })
    }
}

/// A backend.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backend {
    /// `namespace/name` of the Pod, or its address and port; none when it has no name.
    pub identity: Option<String>,
    /// Where it listens.
    pub address: SocketAddr,
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// Name of the node that it is on, when it is known.
    pub node: Option<String>,
    /// Id of that node.
    pub node_id: u32,
    /// Whether it takes flows.
    pub state: BackendState,
    /// How often the id has been given away.
    pub generation: u32,
}

impl Backend {
    /// What it is called: its identity, else its address and port.
    pub fn name(&self) -> String {
        self.identity.clone().unwrap_or_else(|| self.address.to_string())
    }

    /// The namespace of its Pod, when its identity names one.
    pub fn namespace(&self) -> Option<&str> {
        self.identity.as_deref()?.split_once('/').map(|(namespace, _)| namespace)
    }
}

/// Whether a backend takes flows.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendState {
    /// New ones and old ones.
    Active,
    /// Old ones only.
    Draining,
    /// None.
    Gone,
}

impl fmt::Display for BackendState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Gone => "gone",
        })
    }
}

/// A node.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The way to it, for each family that it has an address of.
    pub ways: Vec<Way>,
}

/// How a node is reached in one address family.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Way {
    /// Where its tunnel ends.
    pub address: IpAddr,
    /// The first hop; none while it is not known, and for this node.
    pub hop: Option<Hop>,
}

/// The first hop to another node.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Hop {
    /// The device that leads there.
    pub device: String,
    /// The layer-2 address that packets are sent to.
    pub mac: String,
    /// What the device carries in one packet of layer 3, in bytes.
    pub mtu_bytes: u16,
}

/// Where a lookup table is in the array of slots.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Extent {
    /// First slot.
    pub offset: u32,
    /// Number of slots.
    pub length: u32,
}

/// How many slots of a lookup table each backend has, by id; slots that name none are not in it.
pub type Table = BTreeMap<u32, u32>;

impl State {
    /// The Service port with this id, by a stand-in when its name is not in the maps.
    pub fn service(&self, id: u32) -> ServicePort {
        self.services.get(&id).cloned().unwrap_or_else(|| ServicePort {
            namespace: "-".to_owned(),
            name: format!("#{id}"),
            port: String::new(),
            protocol: "-".to_owned(),
        })
    }

    /// The frontends by the id of their Service port.
    pub fn frontends_by_service(&self) -> BTreeMap<u32, Vec<&Frontend>> {
        let mut by_service: BTreeMap<u32, Vec<&Frontend>> = BTreeMap::new();
        for frontend in &self.frontends {
            by_service.entry(frontend.service).or_default().push(frontend);
        }
        for frontends in by_service.values_mut() {
            frontends.sort_by_key(|frontend| (frontend.kind, frontend.address));
        }
        by_service
    }

    /// The lookup tables of each Service port, by its id.
    pub fn tables_by_service(&self) -> BTreeMap<u32, BTreeMap<Extent, Family>> {
        let mut by_service: BTreeMap<u32, BTreeMap<Extent, Family>> = BTreeMap::new();
        for frontend in &self.frontends {
            if let Some(extent) = frontend.table {
                by_service.entry(frontend.service).or_default().insert(extent, Family::of(frontend.address.ip()));
            }
        }
        by_service
    }

    /// The ids of the backends of each Service port: those in its tables, and those that flows hold for it.
    pub fn backends_by_service(&self) -> BTreeMap<u32, BTreeSet<u32>> {
        let mut by_service: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (service, tables) in self.tables_by_service() {
            let members = tables.keys().filter_map(|extent| self.tables.get(extent)).flat_map(BTreeMap::keys);
            by_service.entry(service).or_default().extend(members);
        }
        for (service, backend) in &self.held {
            by_service.entry(*service).or_default().insert(*backend);
        }
        by_service
    }

    /// The share of each backend in the lookup tables, by its id. One that a flow holds has a share of nothing.
    pub fn shares_by_backend(&self) -> BTreeMap<u32, Vec<Share>> {
        let mut by_backend: BTreeMap<u32, Vec<Share>> = BTreeMap::new();
        let mut listed = BTreeSet::new();
        for (service, tables) in self.tables_by_service() {
            for extent in tables.keys() {
                for (backend, slots) in self.tables.get(extent).into_iter().flatten() {
                    let share = Share { service, slots: *slots, table_slots: extent.length };
                    by_backend.entry(*backend).or_default().push(share);
                    listed.insert((service, *backend));
                }
            }
        }
        for (service, backend) in self.held.difference(&listed) {
            let share = Share { service: *service, slots: 0, table_slots: 0 };
            by_backend.entry(*backend).or_default().push(share);
        }
        by_backend
    }

    /// Whether a backend drains that no table names: only flows know which Service it belongs to.
    pub fn has_hidden_draining(&self) -> bool {
        let listed: BTreeSet<u32> = self.tables.values().flat_map(BTreeMap::keys).copied().collect();
        self.backends.iter().any(|(id, backend)| backend.state == BackendState::Draining && !listed.contains(id))
    }

    /// The name of this node, when it is in the maps.
    pub fn this_node(&self) -> Option<&str> {
        self.nodes.get(&THIS_NODE).map(|node| node.name.as_str())
    }
}

/// What a backend has of one Service port's lookup table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Share {
    /// Id of the Service port.
    pub service: u32,
    /// The slots that name the backend.
    pub slots: u32,
    /// All slots of the table; 0 when the backend is in none.
    pub table_slots: u32,
}

impl Share {
    /// The part of the table, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.table_slots == 0 { 0.0 } else { f64::from(self.slots) / f64::from(self.table_slots) }
    }
}

/// A flow that came in at this node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Flow {
    /// The client.
    pub client: SocketAddr,
    /// The frontend.
    pub frontend: SocketAddr,
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// Id of the backend that it goes to.
    pub backend: u32,
    /// The backend's generation when it was chosen.
    pub generation: u32,
    /// When it was chosen, in seconds of the monotonic clock.
    pub since_seconds: u32,
    /// Id of the Service port.
    pub service: u32,
    /// Whether there has been more than one packet.
    pub established: bool,
}

/// Packets by reason, summed over CPUs.
pub type Counters = Vec<(lb_common::Reason, u64)>;

#[cfg(test)]
pub(crate) mod sample {
    //! A hand-made state: Service default/web on three Pods of two nodes, shop/cart with no usable backend.

    use super::*;

    pub(crate) fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    pub(crate) fn service(namespace: &str, name: &str, port: &str, protocol: &str) -> ServicePort {
        let [namespace, name, port, protocol] = [namespace, name, port, protocol].map(str::to_owned);
        ServicePort { namespace, name, port, protocol }
    }

    fn backend(identity: &str, address: &str, node: (u32, &str), state: BackendState) -> Backend {
        Backend {
            identity: Some(identity.to_owned()),
            address: socket(address),
            protocol: "TCP".to_owned(),
            node: Some(node.1.to_owned()),
            node_id: node.0,
            state,
            generation: 1,
        }
    }

    fn frontend(address: &str, kind: FrontendKind, service: u32, table: Option<Extent>) -> Frontend {
        Frontend { address: socket(address), kind, service, affinity_timeout_seconds: None, table }
    }

    pub(crate) fn state() -> State {
        let table = Extent { offset: 1024, length: 251 };
        let cart = Frontend {
            affinity_timeout_seconds: Some(10_800),
            ..frontend("[2001:db8::20]:53", FrontendKind::ExternalIP, 2, None)
        };
        let hop = Hop { device: "eth0".to_owned(), mac: "02:00:00:00:00:02".to_owned(), mtu_bytes: 1500 };
        State {
            services: [(1, service("default", "web", "http", "TCP")), (2, service("shop", "cart", "", "UDP"))].into(),
            frontends: vec![
                frontend("10.0.0.1:30080", FrontendKind::NodePort, 1, Some(table)),
                frontend("203.0.113.10:80", FrontendKind::LoadBalancerIP, 1, Some(table)),
                cart,
            ],
            backends: [
                (1, backend("default/web-0", "10.1.0.10:8080", (0, "n1"), BackendState::Active)),
                (2, backend("default/web-1", "10.1.1.10:8080", (1, "n2"), BackendState::Active)),
                (3, backend("default/web-2", "10.1.1.11:8080", (1, "n2"), BackendState::Draining)),
                (4, backend("default/web-3", "10.1.1.12:8080", (1, "n2"), BackendState::Gone)),
            ]
            .into(),
            nodes: [
                (
                    0,
                    Node { name: "n1".to_owned(), ways: vec![Way { address: "10.0.0.1".parse().unwrap(), hop: None }] },
                ),
                (
                    1,
                    Node {
                        name: "n2".to_owned(),
                        ways: vec![
                            Way { address: "10.0.0.2".parse().unwrap(), hop: Some(hop) },
                            Way { address: "fd00::2".parse().unwrap(), hop: None },
                        ],
                    },
                ),
            ]
            .into(),
            tables: [(table, [(1, 126), (2, 125)].into())].into(),
            held: [(1, 3)].into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_of_a_service_are_those_in_its_tables_and_those_that_flows_hold() {
        let state = sample::state();
        assert_eq!(state.backends_by_service(), [(1, BTreeSet::from([1, 2, 3]))].into());
        let shares = state.shares_by_backend();
        assert_eq!(shares[&1], [Share { service: 1, slots: 126, table_slots: 251 }]);
        assert_eq!(shares[&3], [Share { service: 1, slots: 0, table_slots: 0 }]);
    }

    #[test]
    fn a_draining_backend_outside_all_tables_is_noticed() {
        let mut state = sample::state();
        assert!(state.has_hidden_draining());
        for table in state.tables.values_mut() {
            table.insert(3, 1);
        }
        assert!(!state.has_hidden_draining());
    }
}
