//! The cluster as Kubernetes objects: one Service of three ports, up to six Pods on two nodes.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{
        ClientIPConfig, LoadBalancerIngress, LoadBalancerStatus, Node, NodeAddress, NodeStatus, ObjectReference,
        Service, ServicePort, ServiceSpec, ServiceStatus, SessionAffinityConfig,
    },
    discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
};
use lb_userspace::{
    model::{self, Desired, Options},
    source::{Snapshot, Sourced},
};

/// This node.
const OWN: &str = "n1";
/// The other one.
const OTHER: &str = "n2";

/// The Service's ports: name, protocol, number, and the Pods' number.
pub(crate) const PORTS: [(&str, &str, u16, u16); 3] =
    [("http", "TCP", 80, 8080), ("api", "TCP", 81, 8081), ("dns", "UDP", 53, 5353)];
/// Index of the port that a Pod may lack.
pub(crate) const OPTIONAL_PORT: usize = 1;

/// What a Pod is to its Service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PodState {
    Ready,
    NotReady,
    /// Terminating, and still serving.
    Terminating,
    /// Terminating, and not serving any more.
    Stopped,
}

/// A Pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pod {
    /// Which of its lives this is: another one has another address.
    pub(crate) life: u8,
    pub(crate) state: PodState,
    /// Whether it listens on the optional port.
    pub(crate) has_optional_port: bool,
}

/// What the Service asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) affinity: bool,
    pub(crate) timeout: i32,
    pub(crate) shared: bool,
    pub(crate) prefixed: bool,
    pub(crate) stable: bool,
    pub(crate) local: bool,
}

/// The cluster.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) is_v6: bool,
    pub(crate) pods: BTreeMap<u8, Pod>,
    pub(crate) settings: Settings,
    lives: u8,
}

impl Cluster {
    pub(crate) fn new(is_v6: bool) -> Self {
        let settings =
            Settings { affinity: true, timeout: 100, shared: false, prefixed: false, stable: false, local: false };
        let mut cluster = Self { is_v6, pods: BTreeMap::new(), settings, lives: 0 };
        cluster.add(0);
        cluster.add(1);
        cluster
    }

    /// A Pod of this name, new and ready.
    pub(crate) fn add(&mut self, pod: u8) {
        self.lives += 1;
        let pod_now = Pod { life: self.lives, state: PodState::Ready, has_optional_port: true };
        self.pods.insert(pod, pod_now);
    }

    /// Even Pods are on this node.
    pub(crate) fn is_here(pod: u8) -> bool {
        pod.is_multiple_of(2)
    }

    /// The address of a frontend: a load-balancer IP, an external IP.
    pub(crate) fn vip(&self, vip: u8) -> IpAddr {
        if self.is_v6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, vip.into()).into()
        } else {
            Ipv4Addr::new(203, 0, 113, vip).into()
        }
    }

    /// Clients come in pairs that share their first 24 or 64 bits.
    pub(crate) fn client(&self, client: u16) -> IpAddr {
        let (group, member) = (client / 2, client % 2 + 1);
        if self.is_v6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0xc, group, 0, 0, 0, member).into()
        } else {
            Ipv4Addr::new(100, (group >> 8) as u8, group as u8, member as u8).into()
        }
    }

    pub(crate) fn pod_address(&self, life: u8) -> IpAddr {
        if self.is_v6 {
            Ipv6Addr::new(0xfd00, 0x244, 0, 0, 0, 0, 0, life.into()).into()
        } else {
            Ipv4Addr::new(10, 244, 0, life).into()
        }
    }

    /// What the model makes of it.
    pub(crate) fn desired(&self) -> Desired {
        let snapshot = Snapshot {
            services: vec![sourced(self.service())],
            slices: vec![sourced(self.slice("all", false)), sourced(self.slice("optional", true))],
            nodes: [(OWN, 1), (OTHER, 2)].map(|(name, last)| sourced(node(name, last))).to_vec(),
            complete: true,
        };
        let (desired, problems) =
            model::desired(&snapshot, &Options { node: OWN.to_owned(), tunnel_port: 6181, ..Options::default() });
        assert_eq!(problems, []);
        desired
    }

    fn service(&self) -> Service {
        let Settings { affinity, timeout, shared, prefixed, stable, local } = self.settings;
        let mut service = Service::default();
        service.metadata.name = Some("web".to_owned());
        service.metadata.namespace = Some("default".to_owned());
        let annotations = [
            (shared, "limpet.dev/affinity-key", "service"),
            (prefixed, "limpet.dev/client-prefix", "24,64"),
            (stable, "limpet.dev/affinity-expiry", "stable"),
        ];
        let annotations = annotations.into_iter().filter(|(is_set, _, _)| *is_set);
        service.metadata.annotations =
            Some(annotations.map(|(_, name, value)| (name.to_owned(), value.to_owned())).collect());
        service.spec = Some(ServiceSpec {
            type_: Some("LoadBalancer".to_owned()),
            ip_families: Some(vec![self.family().to_owned()]),
            external_ips: Some(vec![self.vip(2).to_string()]),
            external_traffic_policy: local.then(|| "Local".to_owned()),
            session_affinity: affinity.then(|| "ClientIP".to_owned()),
            session_affinity_config: Some(SessionAffinityConfig {
                client_ip: Some(ClientIPConfig { timeout_seconds: Some(timeout) }),
            }),
            ports: Some(PORTS.iter().map(|port| service_port(*port)).collect()),
            ..ServiceSpec::default()
        });
        let ingress = LoadBalancerIngress { ip: Some(self.vip(1).to_string()), ..LoadBalancerIngress::default() };
        let load_balancer = Some(LoadBalancerStatus { ingress: Some(vec![ingress]) });
        service.status = Some(ServiceStatus { load_balancer, ..ServiceStatus::default() });
        service
    }

    /// The endpoints of the ports that every Pod has, or of the optional one.
    fn slice(&self, name: &str, optional: bool) -> EndpointSlice {
        let pods = self.pods.iter().filter(|(_, pod)| !optional || pod.has_optional_port);
        let ports = PORTS.iter().enumerate().filter(|(index, _)| (*index == OPTIONAL_PORT) == optional);
        let mut slice = EndpointSlice {
            address_type: self.family().to_owned(),
            endpoints: pods.map(|(name, pod)| self.endpoint(*name, pod)).collect(),
            ports: Some(ports.map(|(_, port)| endpoint_port(*port)).collect()),
            ..EndpointSlice::default()
        };
        slice.metadata.name = Some(name.to_owned());
        slice.metadata.namespace = Some("default".to_owned());
        slice.metadata.labels = Some([("kubernetes.io/service-name".to_owned(), "web".to_owned())].into());
        slice
    }

    fn endpoint(&self, name: u8, pod: &Pod) -> Endpoint {
        let (ready, serving, terminating) = match pod.state {
            PodState::Ready => (true, true, false),
            PodState::NotReady => (false, false, false),
            PodState::Terminating => (false, true, true),
            PodState::Stopped => (false, false, true),
        };
        Endpoint {
            addresses: vec![self.pod_address(pod.life).to_string()],
            conditions: Some(EndpointConditions {
                ready: Some(ready),
                serving: Some(serving),
                terminating: Some(terminating),
            }),
            node_name: Some(if Self::is_here(name) { OWN } else { OTHER }.to_owned()),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".to_owned()),
                name: Some(format!("web-{name}")),
                ..ObjectReference::default()
            }),
            ..Endpoint::default()
        }
    }

    fn family(&self) -> &'static str {
        if self.is_v6 { "IPv6" } else { "IPv4" }
    }
}

fn service_port((name, protocol, port, _): (&str, &str, u16, u16)) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        protocol: Some(protocol.to_owned()),
        port: port.into(),
        ..ServicePort::default()
    }
}

fn endpoint_port((name, protocol, _, port): (&str, &str, u16, u16)) -> EndpointPort {
    EndpointPort {
        name: Some(name.to_owned()),
        protocol: Some(protocol.to_owned()),
        port: Some(port.into()),
        ..EndpointPort::default()
    }
}

fn node(name: &str, last: u8) -> Node {
    let mut node = Node::default();
    node.metadata.name = Some(name.to_owned());
    let addresses = [format!("172.18.0.{last}"), format!("fd00:18::{last}")];
    let addresses = addresses.map(|address| NodeAddress { address, type_: "InternalIP".to_owned() });
    node.status = Some(NodeStatus { addresses: Some(addresses.to_vec()), ..NodeStatus::default() });
    node
}

fn sourced<T>(object: T) -> Sourced<T> {
    Sourced { object: Arc::new(object), origin: Default::default() }
}
