//! The model's vocabulary: Service ports, frontends, backends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::iter::Sum;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What the model must know of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// This node's name, as in `nodeName` of an endpoint.
    pub node: String,
    /// UDP port of the tunnel between nodes, which no frontend may take on this node's addresses.
    pub tunnel_port: u16,
    /// Only Services of this `spec.loadBalancerClass`; none: whatever their class.
    pub service_class: Option<String>,
    /// Only Services whose label `service.kubernetes.io/service-proxy-name` is this; none: those without the label.
    pub service_proxy_name: Option<String>,
    /// Which of the node's addresses have node ports.
    pub node_port_addresses: NodePortAddresses,
    /// The addresses of this node's devices, sorted; without those that never leave it (loopback, link-local).
    pub local_addresses: Vec<IpAddr>,
}

/// Which of a node's addresses have node ports (A.8). Shown as it is given: `primary` or CIDRs with commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// Those of the Node object.
    #[default]
    Primary,
    /// Those of its devices that lie within one of these; of a family that none of these is of, all.
    Within(Vec<IpNet>),
}

impl FromStr for NodePortAddresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "primary" {
            return Ok(Self::Primary);
        }
        let cidr = |part: &str| {
            let part = part.trim();
            part.parse::<IpNet>().map(|net| net.trunc()).map_err(|_| {
                format!("{part:?} is no CIDR; there are `primary` and CIDRs, as in 192.0.2.0/24,2001:db8::/64")
            })
        };
        text.split(',').map(cidr).collect::<Result<_, _>>().map(Self::Within)
    }
}

impl fmt::Display for NodePortAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary => f.write_str("primary"),
            Self::Within(nets) => {
                let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
                f.write_str(&nets.join(","))
            }
        }
    }
}

/// What should be programmed on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The Service ports with all that belongs to them. With a [`Memo`](super::Memo), one that is as before is the very
    /// same.
    pub services: BTreeMap<ServicePortName, Arc<ServicePort>>,
    /// All nodes, this one included if its object is known.
    pub nodes: BTreeMap<String, NodeAddresses>,
    /// This node's name.
    pub node: String,
    /// Whether what is not here is really gone.
    pub complete: bool,
    /// Where nobody is outside: addresses of nodes, networks of their Pods (`spec.podCIDRs`). What begins there is left to
    /// kube-proxy.
    pub inside: BTreeSet<IpNet>,
    /// Health-check node ports to serve, sorted, each Service once.
    pub health_checks: Vec<HealthCheck>,
    /// Service ports that keep their traffic on the node and have nobody here.
    pub without_local_endpoints: WithoutLocalEndpoints,
    /// Whether load balancers may send new connections to this node.
    pub eligibility: NodeEligibility,
}

/// `spec.healthCheckNodePort` of a Service (A.9): tells load balancers whether the node has endpoints of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HealthCheck {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// TCP port to listen on.
    pub port: u16,
    /// Ready endpoints on this node: addresses, whatever the number of ports.
    pub local_endpoints: usize,
}

/// Service ports with a policy Local and no usable endpoint on this node, while there are some elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WithoutLocalEndpoints {
    /// By `internalTrafficPolicy`.
    pub internal: usize,
    /// By `externalTrafficPolicy`.
    pub external: usize,
}

impl Sum for WithoutLocalEndpoints {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, own| Self {
            internal: sum.internal + own.internal,
            external: sum.external + own.external,
        })
    }
}

/// Whether load balancers may send new connections to this node (KEP-3836).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeEligibility {
    /// Its Node object is there.
    pub known: bool,
    /// The object is being deleted.
    pub deleting: bool,
    /// The cluster autoscaler is about to delete the node (taint `ToBeDeletedByClusterAutoscaler`).
    pub tainted: bool,
}

/// One port of one Service: the unit that is balanced. Shown as `namespace/name:port/TCP`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServicePortName {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// The port's name; empty for the only port of a Service.
    pub port: String,
    /// The port's protocol.
    pub protocol: Protocol,
}

impl fmt::Display for ServicePortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, port, protocol } = self;
        write!(f, "{namespace}/{name}:{port}/{protocol}")
    }
}

/// A transport protocol that is balanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
}

impl Protocol {
    /// Kubernetes' word; absent means TCP. None for what is not balanced.
    #[must_use]
    pub fn from_kubernetes(word: Option<&str>) -> Option<Self> {
        match word {
            None | Some("" | "TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// Both families.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A Service port with its frontends and backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePort {
    /// Whether clients stay where they are.
    pub affinity: Affinity,
    /// Which endpoints outside traffic may reach.
    pub external_policy: TrafficPolicy,
    /// The addresses under which it is reached, sorted.
    pub frontends: Vec<Frontend>,
    /// All endpoints that a slice lists and that can be reached, sorted by address. No address is
    /// there twice.
    pub backends: Vec<Backend>,
    /// Which of them the tables are built from.
    pub pools: Pools,
    /// What becomes of a packet while there is none.
    pub if_empty: IfEmptyPools,
    /// Who may reach the load-balancer IPs, sorted (`spec.loadBalancerSourceRanges`); none: everybody.
    pub source_ranges: Option<Vec<IpNet>>,
}

/// What becomes of a new connection while the pool of its family is empty (A.11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IfEmpty {
    /// There is no usable endpoint in the cluster: the client is told that the port is unreachable.
    #[default]
    Reject,
    /// There are some on other nodes, which the policy Local keeps it from: it is dropped without a word.
    Drop,
}

/// [`IfEmpty`] of each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IfEmptyPools {
    /// For IPv4.
    pub v4: IfEmpty,
    /// For IPv6.
    pub v6: IfEmpty,
}

impl IfEmptyPools {
    /// That of a family.
    #[must_use]
    pub fn of(self, family: Family) -> IfEmpty {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// Indexes into [`ServicePort::backends`], for each family in the order of identities, each
/// identity once. Empty where no endpoint is usable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    /// For IPv4.
    pub v4: Vec<usize>,
    /// For IPv6.
    pub v6: Vec<usize>,
}

impl Pools {
    /// The pool of a family.
    #[must_use]
    pub fn of(&self, family: Family) -> &[usize] {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

/// `sessionAffinity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Affinity {
    /// A client's connections spread.
    #[default]
    None,
    /// A client stays with its backend.
    ClientIp(ClientAffinity),
}

/// How clients stay: `sessionAffinityConfig.clientIP` and the annotations `limpet.dev/affinity-key`,
/// `limpet.dev/client-prefix` and `limpet.dev/affinity-expiry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ClientAffinity {
    /// For so long after their last new connection.
    pub timeout_seconds: u32,
    /// What they stay with.
    pub key: AffinityKey,
    /// Leading bits of an IPv4 address that make a client, 1 to 32.
    pub prefix_v4: u8,
    /// Leading bits of an IPv6 address that make a client, 1 to 128.
    pub prefix_v6: u8,
    /// What becomes of those whose time is over.
    pub expiry: AffinityExpiry,
}

impl Default for ClientAffinity {
    fn default() -> Self {
        Self {
            timeout_seconds: 10_800,
            key: AffinityKey::default(),
            prefix_v4: 32,
            prefix_v6: 128,
            expiry: AffinityExpiry::default(),
        }
    }
}

impl ClientAffinity {
    /// Leading bits of an address of this family that make a client.
    #[must_use]
    pub fn prefix(&self, family: Family) -> u8 {
        match family {
            Family::V4 => self.prefix_v4,
            Family::V6 => self.prefix_v6,
        }
    }
}

/// What a client stays with: `limpet.dev/affinity-key`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AffinityKey {
    /// A backend of the Service port; the Service's other ports are other matters.
    #[default]
    Port,
    /// A Pod, with all ports of the Service.
    Service,
}

/// What becomes of a client whose time is over: `limpet.dev/affinity-expiry`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AffinityExpiry {
    /// It may get another backend.
    #[default]
    Real,
    /// It chooses by the table as if it were new: most often the same backend.
    Stable,
}

/// `externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum TrafficPolicy {
    /// All endpoints.
    #[default]
    Cluster,
    /// Those on this node.
    Local,
}

/// Where a Service port is reached from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Frontend {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Where the address comes from.
    pub kind: FrontendKind,
}

/// Where a frontend's address comes from. If an address has several origins, the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum FrontendKind {
    /// `status.loadBalancer.ingress[].ip`.
    LoadBalancerIp,
    /// `spec.externalIPs[]`.
    ExternalIp,
    /// `spec.ports[].nodePort` on this node's addresses.
    NodePort,
    /// `spec.clusterIPs[]`; not produced, for only outside traffic is balanced.
    ClusterIp,
}

/// An endpoint that a slice lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Backend {
    /// `namespace/name` of the Pod, or the address and port where no Pod is named.
    pub identity: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// The node that it is on. In [`Desired`] always one of its nodes.
    pub node: Option<String>,
    /// Whether it takes new flows.
    pub state: BackendState,
}

/// Whether a backend takes new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum BackendState {
    /// It does.
    Active,
    /// It keeps those that it has: its Pod is terminating, and others can serve.
    Draining,
    /// It keeps those that it has: its Pod is not ready.
    NotReady,
    /// It keeps those that it has: its Pod is ready, but the Service's rules keep it out (policy Local and another node, a
    /// second address of a Pod).
    Excluded,
}

/// The addresses under which a node's tunnel is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NodeAddresses {
    /// First `InternalIP` of IPv4.
    pub v4: Option<Ipv4Addr>,
    /// First `InternalIP` of IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl NodeAddresses {
    /// Whether there is an address of this family.
    #[must_use]
    pub fn has(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4.is_some(),
            Family::V6 => self.v6.is_some(),
        }
    }
}
