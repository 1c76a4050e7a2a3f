//! What Kubernetes would know about the lab: Pods, where they are and how they are, and Services.
//!
//! Data only. [`manifest`](crate::manifest) writes it down for the agents, [`Lab`](crate::Lab)
//! makes it true.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};

use crate::address::{self, Family, NODES};

/// The namespace (Kubernetes' kind) of everything in the lab.
pub const NAMESPACE: &str = "lab";
/// Pod indexes and Service ordinals are last bytes of IPv4 addresses and are never used again.
const LAST: u8 = 250;

/// How a Pod is, as its endpoint's conditions say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    /// Takes new connections.
    Ready,
    /// Runs, but takes no connections.
    NotReady,
    /// Finishes what it has and takes nothing new.
    Terminating,
}

/// A Pod of the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    name: String,
    node: u8,
    index: u8,
    pub(crate) state: PodState,
}

impl Pod {
    /// Its name, `pNODE-INDEX` unless it was given another.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of the node that it runs on.
    #[must_use]
    pub fn node(&self) -> u8 {
        self.node
    }

    /// Its number on that node, which its addresses end in.
    #[must_use]
    pub fn index(&self) -> u8 {
        self.index
    }

    /// Its address of this family.
    #[must_use]
    pub fn address(&self, family: Family) -> IpAddr {
        address::pod(family, self.node, self.index)
    }

    /// Where its server listens.
    #[must_use]
    pub fn socket(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.address(family), address::POD_PORT)
    }
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Both, TCP first.
    pub const BOTH: [Self; 2] = [Self::Tcp, Self::Udp];

    /// As Kubernetes writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// One port of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The protocol.
    pub protocol: Protocol,
    /// The number under load-balancer, external and cluster IPs.
    pub number: u16,
}

impl Port {
    /// Its name in the Service, such as `tcp-80`.
    #[must_use]
    pub fn name(self) -> String {
        format!("{}-{}", self.protocol.name().to_lowercase(), self.number)
    }
}

/// The ways from outside to a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontendKind {
    /// `status.loadBalancer.ingress`.
    LoadBalancerIp,
    /// `spec.externalIPs`.
    ExternalIp,
    /// `spec.ports[].nodePort`, on a node's own address.
    NodePort,
}

impl FrontendKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::LoadBalancerIp, Self::ExternalIp, Self::NodePort];

    /// The kind in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LoadBalancerIp => "load-balancer IP",
            Self::ExternalIp => "external IP",
            Self::NodePort => "node port",
        }
    }
}

/// What a Service is to be. Every Service of the lab has all kinds of frontends in both families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Its name.
    pub name: String,
    /// Its ports.
    pub ports: Vec<Port>,
    /// The time-out of `sessionAffinity: ClientIP`, or none for no affinity.
    pub affinity_seconds: Option<u32>,
    /// Whether a node serves what comes from outside with its own Pods alone:
    /// `externalTrafficPolicy: Local`.
    pub local_only: bool,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// The names of the Pods behind it.
    pub pods: Vec<String>,
}

impl ServiceSpec {
    /// A Service with port 80 for TCP and for UDP, without affinity.
    #[must_use]
    pub fn new(name: &str, pods: &[String]) -> Self {
        let port = |protocol| Port { protocol, number: 80 };
        Self {
            name: name.to_owned(),
            ports: Protocol::BOTH.map(port).to_vec(),
            affinity_seconds: None,
            local_only: false,
            annotations: BTreeMap::new(),
            pods: pods.to_vec(),
        }
    }

    /// The same with affinity by client address.
    #[must_use]
    pub fn with_affinity(mut self, seconds: u32) -> Self {
        self.affinity_seconds = Some(seconds);
        self
    }

    /// The same with `externalTrafficPolicy: Local`.
    #[must_use]
    pub fn with_local_pods_only(mut self) -> Self {
        self.local_only = true;
        self
    }

    /// The same with this annotation.
    #[must_use]
    pub fn with_annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The same with these ports.
    #[must_use]
    pub fn with_ports(mut self, ports: &[Port]) -> Self {
        self.ports = ports.to_vec();
        self
    }
}

/// A Service with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub(crate) ordinal: u8,
    pub(crate) spec: ServiceSpec,
}

impl Service {
    /// What it is.
    #[must_use]
    pub fn spec(&self) -> &ServiceSpec {
        &self.spec
    }

    /// Where clients reach its first port of this protocol. `ingress` is the node whose address a
    /// node port is reached at; the other kinds are the same everywhere.
    pub fn frontend(&self, kind: FrontendKind, family: Family, protocol: Protocol, ingress: u8) -> Result<SocketAddr> {
        let mut ports = self.spec.ports.iter().zip(0..);
        let (port, index) = ports.find(|(port, _)| port.protocol == protocol).with_context(|| {
            let (name, protocol) = (&self.spec.name, protocol.name());
            format!("Service {name} has no {protocol} port")
        })?;
        let (ip, number) = match kind {
            FrontendKind::LoadBalancerIp => (address::load_balancer_ip(family, self.ordinal), port.number),
            FrontendKind::ExternalIp => (address::external_ip(family, self.ordinal), port.number),
            FrontendKind::NodePort => (address::node(family, ingress), address::node_port(self.ordinal, index)),
        };
        Ok(SocketAddr::new(ip, number))
    }
}

/// Everything that Kubernetes would know.
#[derive(Clone, Debug, Default)]
pub struct World {
    pods: BTreeMap<String, Pod>,
    services: BTreeMap<String, Service>,
    last_index: BTreeMap<u8, u8>,
    last_ordinal: u8,
}

impl World {
    /// All Pods, by name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    /// The Pod of this name.
    pub fn pod(&self, name: &str) -> Result<&Pod> {
        self.pods.get(name).with_context(|| format!("the lab has no Pod {name}"))
    }

    /// The names of the Pods on a node.
    #[must_use]
    pub fn pods_on(&self, node: u8) -> Vec<String> {
        self.pods().filter(|pod| pod.node == node).map(|pod| pod.name.clone()).collect()
    }

    /// The Service of this name.
    pub fn service(&self, name: &str) -> Result<&Service> {
        self.services.get(name).with_context(|| format!("the lab has no Service {name}"))
    }

    /// All Services, by name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// The Pods behind a Service.
    pub fn pods_of<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a Pod> {
        let names = service.spec.pods.iter();
        names.filter_map(|name| self.pods.get(name))
    }

    /// The Pods that new connections to a Service may go to: the ready ones; if there are none, those
    /// that serve while they terminate. That is the rule of `externalTrafficPolicy: Cluster`.
    pub fn usable_pods_of<'a>(&'a self, service: &'a Service) -> Vec<&'a Pod> {
        let in_state = |state| self.pods_of(service).filter(move |pod| pod.state == state).collect::<Vec<_>>();
        let ready = in_state(PodState::Ready);
        if ready.is_empty() { in_state(PodState::Terminating) } else { ready }
    }

    /// The names of the Services that have this Pod behind them.
    pub(crate) fn services_with(&self, pod: &str) -> Vec<String> {
        let services = self.services.values();
        services
            .filter(|service| service.spec.pods.iter().any(|name| name == pod))
            .map(|service| service.spec.name.clone())
            .collect()
    }

    /// Plans a Pod: an index of its own, and a name from it if none is given.
    pub(crate) fn plan_pod(&mut self, node: u8, name: Option<&str>) -> Result<Pod> {
        ensure!((1..=NODES).contains(&node), "the lab has nodes 1 to {NODES}, not {node}");
        let last = self.last_index.entry(node).or_default();
        ensure!(*last < LAST, "node n{node} has had {LAST} Pods, the most it can");
        let index = *last + 1;
        let name = name.map_or_else(|| format!("p{node}-{index}"), str::to_owned);
        ensure!(!self.pods.contains_key(&name), "there is a Pod {name} already");
        *last = index;
        Ok(Pod { name, node, index, state: PodState::Ready })
    }

    pub(crate) fn insert_pod(&mut self, pod: Pod) {
        self.pods.insert(pod.name.clone(), pod);
    }

    pub(crate) fn forget_pod(&mut self, name: &str) {
        self.pods.remove(name);
    }

    pub(crate) fn set_pod_state(&mut self, name: &str, state: PodState) -> Result<()> {
        self.pods.get_mut(name).with_context(|| format!("the lab has no Pod {name}"))?.state = state;
        Ok(())
    }

    /// Adds a Service, or changes the one of this name, which keeps its addresses.
    pub(crate) fn put_service(&mut self, spec: ServiceSpec) -> Result<()> {
        for pod in &spec.pods {
            self.pod(pod)?;
        }
        let known = self.services.get(&spec.name);
        let ordinal = known.map_or(self.last_ordinal + 1, |service| service.ordinal);
        ensure!(ordinal <= LAST, "the lab has had {LAST} Services, the most it can");
        self.last_ordinal = self.last_ordinal.max(ordinal);
        let service = Service { ordinal, spec };
        self.services.insert(service.spec.name.clone(), service);
        Ok(())
    }

    pub(crate) fn forget_service(&mut self, name: &str) {
        self.services.remove(name);
    }

    /// Takes a Pod out of all Services and says which they were.
    pub(crate) fn withdraw_pod(&mut self, pod: &str) -> Vec<String> {
        let changed = self.services_with(pod);
        for service in self.services.values_mut() {
            service.spec.pods.retain(|name| name != pod);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        let mut world = World::default();
        for node in [1, 1, 2] {
            let pod = world.plan_pod(node, None).unwrap();
            world.insert_pod(pod);
        }
        world
    }

    #[test]
    fn an_index_is_never_used_again() {
        let mut world = world();
        assert_eq!(world.pods_on(1), ["p1-1", "p1-2"]);
        world.forget_pod("p1-2");
        assert_eq!(world.plan_pod(1, None).unwrap().name(), "p1-3");
        assert!(world.plan_pod(NODES + 1, None).is_err());
    }

    #[test]
    fn a_changed_service_keeps_its_addresses() {
        let mut world = world();
        let spec = ServiceSpec::new("a", &world.pods_on(1));
        world.put_service(spec.clone()).unwrap();
        world.put_service(ServiceSpec::new("b", &[])).unwrap();
        world.put_service(spec.with_affinity(60)).unwrap();
        let frontend = |name: &str, kind| {
            let service = world.service(name).unwrap();
            let frontend = service.frontend(kind, Family::V4, Protocol::Udp, 3);
            frontend.unwrap().to_string()
        };
        assert_eq!(frontend("a", FrontendKind::LoadBalancerIp), "203.0.113.1:80");
        assert_eq!(frontend("b", FrontendKind::NodePort), "172.18.0.3:30017");
    }

    #[test]
    fn terminating_pods_serve_when_no_other_is_ready() {
        let mut world = world();
        world.put_service(ServiceSpec::new("a", &world.pods_on(1))).unwrap();
        let usable = |world: &World| {
            let pods = world.usable_pods_of(world.service("a").unwrap());
            pods.into_iter().map(|pod| pod.name().to_owned()).collect::<Vec<_>>()
        };
        world.set_pod_state("p1-1", PodState::Terminating).unwrap();
        assert_eq!(usable(&world), ["p1-2"]);
        world.set_pod_state("p1-2", PodState::NotReady).unwrap();
        assert_eq!(usable(&world), ["p1-1"]);
    }

    #[test]
    fn a_withdrawn_pod_is_behind_nothing() {
        let mut world = world();
        let spec = ServiceSpec::new("a", &world.pods_on(1));
        world.put_service(spec).unwrap();
        assert_eq!(world.withdraw_pod("p1-1"), ["a"]);
        assert_eq!(world.service("a").unwrap().spec().pods, ["p1-2"]);
        assert!(world.withdraw_pod("p1-1").is_empty());
    }
}
