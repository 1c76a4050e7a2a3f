//! What is programmed on this node, as plain values: everything that the tables of output are made from.
//!
//! Pure; [`super::read`] fills it from the maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use lb_common::layout::THIS_NODE;
use serde::Serialize;

use crate::{model::Family, plan::FrontendAffinity};

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
    /// Who may begin something at frontends that ask for it, by the id of their Service port.
    pub source_ranges: BTreeMap<u32, BTreeSet<IpNet>>,
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
    /// Whether clients stay with their backend, and how.
    pub affinity: Option<FrontendAffinity>,
    /// Its lookup table; none without a usable backend.
    pub table: Option<Extent>,
    /// Whether only those in its Service port's ranges may begin something.
    pub asks_source: bool,
    /// Whether packets are dropped in silence while there is no table.
    pub drops_if_empty: bool,
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
    /// Id of the Service port that it belongs to.
    pub service: u32,
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
#[serde(rename_all = "kebab-case")]
pub enum BackendState {
    /// New ones and old ones.
    Active,
    /// Old ones only: its Pod is terminating.
    Draining,
    /// Old ones only: its Pod is not ready.
    NotReady,
    /// Old ones only: the Service's rules keep it out.
    Excluded,
    /// None.
    Gone,
}

impl fmt::Display for BackendState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::NotReady => "not-ready",
            Self::Excluded => "excluded",
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

    /// The ids of the backends of each Service port, but for those that are gone.
    pub fn backends_by_service(&self) -> BTreeMap<u32, BTreeSet<u32>> {
        let mut by_service: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (id, backend) in self.live_backends() {
            by_service.entry(backend.service).or_default().insert(*id);
        }
        by_service
    }

    /// What each backend that is not gone has of the lookup table of its Service port and family, by its id.
    pub fn shares(&self) -> BTreeMap<u32, Share> {
        let tables = self.tables_by_service();
        let share = |(id, backend): (&u32, &Backend)| {
            let family = Family::of(backend.address.ip());
            let of_family = tables.get(&backend.service).into_iter().flatten().filter(|(_, of)| **of == family);
            let slots = |extent: &Extent| self.tables.get(extent).and_then(|table| table.get(id)).copied().unwrap_or(0);
            let shares = of_family.map(|(extent, _)| Share { slots: slots(extent), table_slots: extent.length });
            // While one frontend after the other is moved to a new table, there are two.
            (*id, shares.max_by_key(|share| share.slots).unwrap_or_default())
        };
        self.live_backends().map(share).collect()
    }

    /// The backends that are not gone.
    pub fn live_backends(&self) -> impl Iterator<Item = (&u32, &Backend)> {
        self.backends.iter().filter(|(_, backend)| backend.state != BackendState::Gone)
    }

    /// The name of this node, when it is in the maps.
    pub fn this_node(&self) -> Option<&str> {
        self.nodes.get(&THIS_NODE).map(|node| node.name.as_str())
    }
}

/// What a backend has of its Service port's lookup table.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Share {
    /// The slots that name the backend.
    pub slots: u32,
    /// All slots of the table; 0 when there is none.
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
    /// Id of the Service port; none when that is gone, or has lost this frontend.
    pub service: Option<u32>,
    /// Whether there has been more than one packet.
    pub established: bool,
}

/// Packets by reason, summed over CPUs.
pub type Counters = Vec<(lb_common::Reason, u64)>;

#[cfg(test)]
pub(crate) mod sample {
    //! A hand-made state: Service default/web on three Pods of two nodes, shop/cart with no usable backend.

    use super::*;
    use crate::model::{AffinityExpiry, AffinityKey};

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
            service: 1,
            state,
            generation: 1,
        }
    }

    fn frontend(address: &str, kind: FrontendKind, service: u32, table: Option<Extent>) -> Frontend {
        let (affinity, asks_source, drops_if_empty) = (None, false, false);
        Frontend { address: socket(address), kind, service, affinity, table, asks_source, drops_if_empty }
    }

    pub(crate) fn state() -> State {
        let table = Extent { offset: 1024, length: 251 };
        let cart = Frontend {
            affinity: Some(FrontendAffinity {
                timeout_seconds: 10_800,
                client_prefix: 64,
                key: AffinityKey::Service,
                expiry: AffinityExpiry::Real,
            }),
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
            source_ranges: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_of_a_service_are_those_that_are_not_gone() {
        let state = sample::state();
        assert_eq!(state.backends_by_service(), [(1, BTreeSet::from([1, 2, 3]))].into());
        let shares = state.shares();
        assert_eq!(shares.keys().collect::<Vec<_>>(), [&1, &2, &3]);
        assert_eq!(shares[&1], Share { slots: 126, table_slots: 251 });
        assert_eq!(shares[&3], Share { slots: 0, table_slots: 251 });
    }

    #[test]
    fn a_share_is_one_of_the_table_of_the_family() {
        let mut state = sample::state();
        state.backends.get_mut(&1).unwrap().address = sample::socket("[2001:db8::1]:8080");
        assert_eq!(state.shares()[&1], Share::default());
        assert_eq!(Share::default().fraction(), 0.0);
    }

    #[test]
    fn of_two_tables_the_one_that_names_the_backend_counts() {
        let mut state = sample::state();
        let next = Extent { offset: 2048, length: 503 };
        state.tables.insert(next, [(2, 503)].into());
        state.frontends[1].table = Some(next);
        assert_eq!(state.shares()[&1], Share { slots: 126, table_slots: 251 });
        assert_eq!(state.shares()[&2], Share { slots: 503, table_slots: 503 });
    }
}
