//! What Kubernetes would know about the lab: Pods, where they are and how they are, nodes, and Services.
//!
//! Data only. [`manifest`](crate::manifest) writes it down for the agents, [`Lab`](crate::Lab)
//! makes it true.

mod pod;
mod service;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::address::NODES;

pub use pod::{Pod, PodState};
pub use service::{FrontendKind, Port, Protocol, Service, ServiceSpec};

/// The namespace (Kubernetes' kind) of everything in the lab.
pub const NAMESPACE: &str = "lab";
/// Pod indexes and Service ordinals are last bytes of IPv4 addresses and are never used again.
const LAST: u8 = 250;

/// Everything that Kubernetes would know.
#[derive(Clone, Debug, Default)]
pub struct World {
    pods: BTreeMap<String, Pod>,
    services: BTreeMap<String, Service>,
    /// What nodes' objects say beside what the lab knows of them.
    node_patches: BTreeMap<u8, Value>,
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
        self.pods().filter(|pod| pod.node() == node).map(|pod| pod.name().to_owned()).collect()
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
        Ok(Pod::new(name, node, index))
    }

    pub(crate) fn insert_pod(&mut self, pod: Pod) {
        self.pods.insert(pod.name().to_owned(), pod);
    }

    pub(crate) fn forget_pod(&mut self, name: &str) {
        self.pods.remove(name);
    }

    pub(crate) fn set_pod_state(&mut self, name: &str, state: PodState) -> Result<()> {
        self.pods.get_mut(name).with_context(|| format!("the lab has no Pod {name}"))?.state = state;
        Ok(())
    }

    /// Says more about a Pod's endpoints, in place of what was said so before.
    pub(crate) fn patch_endpoint(&mut self, pod: &str, patch: Option<Value>) -> Result<()> {
        self.pods.get_mut(pod).with_context(|| format!("the lab has no Pod {pod}"))?.endpoint = patch;
        Ok(())
    }

    /// Says more about a node, in place of what was said so before.
    pub(crate) fn patch_node(&mut self, node: u8, patch: Option<Value>) {
        match patch {
            Some(patch) => self.node_patches.insert(node, patch),
            None => self.node_patches.remove(&node),
        };
    }

    /// What is said of a node beside what the lab knows.
    pub(crate) fn node_patch(&self, node: u8) -> Option<&Value> {
        self.node_patches.get(&node)
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
    use crate::address::Family;

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
