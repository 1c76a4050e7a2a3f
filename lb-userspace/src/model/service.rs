//! One Service: what do its ports ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::frontends::{self, Claim};
use super::nodes::Nodes;
use super::slices::Offers;
use super::types::{Frontend, Protocol, ServicePort, ServicePortName, TrafficPolicy, WithoutLocalEndpoints};
use super::{ObjectName, affinity, endpoints, health, ranges};
use crate::source::{Problem, Sourced, quoted};

pub(super) fn name(service: &Service) -> ObjectName<'_> {
    let meta = &service.metadata;
    (meta.namespace.as_deref().unwrap_or("default"), meta.name.as_deref().unwrap_or_default())
}

/// What one Service asks for, whatever others do.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) service: Sourced<Service>,
    /// Its slices, of which all this was made as well.
    slices: Vec<Sourced<EndpointSlice>>,
    /// Its ports, each name once.
    pub(super) ports: Vec<AskedPort>,
    pub(super) health_check: Option<health::Wish>,
    pub(super) without_local_endpoints: WithoutLocalEndpoints,
    pub(super) problems: BTreeSet<Problem>,
}

/// What one port of a Service asks for.
#[derive(Debug)]
pub(super) struct AskedPort {
    pub(super) name: ServicePortName,
    /// With those frontends that it was given last; at first with all of `wishes`.
    pub(super) port: Arc<ServicePort>,
    /// The frontends that it would like to have, sorted, each address and port once.
    pub(super) wishes: Vec<Frontend>,
    /// The same with the fields that they come from, as often as they are there.
    pub(super) claims: Vec<Claim>,
}

impl Asked {
    /// What a Service asks for, of this object and these slices.
    pub(super) fn of(sourced: &Sourced<Service>, slices: &[&Sourced<EndpointSlice>], nodes: &Nodes<'_>) -> Self {
        let mut asked = Self {
            service: sourced.clone(),
            slices: slices.iter().map(|slice| (*slice).clone()).collect(),
            ports: Vec::new(),
            health_check: None,
            without_local_endpoints: WithoutLocalEndpoints::default(),
            problems: BTreeSet::new(),
        };
        if let Some(spec) = &sourced.object.spec {
            asked.read(sourced, spec, slices, nodes);
        }
        asked
    }

    /// Whether it was made of the very same objects.
    pub(super) fn is_of(&self, sourced: &Sourced<Service>, slices: &[&Sourced<EndpointSlice>]) -> bool {
        self.service.is_same(sourced)
            && self.slices.len() == slices.len()
            && self.slices.iter().zip(slices).all(|(own, slice)| own.is_same(slice))
    }

    fn read(
        &mut self,
        sourced: &Sourced<Service>,
        spec: &ServiceSpec,
        slices: &[&Sourced<EndpointSlice>],
        nodes: &Nodes<'_>,
    ) {
        let problems = &mut self.problems;
        let (namespace, own_name) = name(&sourced.object);
        let families = frontends::families(spec);
        let affinity = affinity::of(sourced, spec, problems);
        let source_ranges = ranges::of(sourced, spec, nodes, problems);
        let external_policy = policy(spec.external_traffic_policy.as_deref());
        let internal_policy = policy(spec.internal_traffic_policy.as_deref());
        let offers = Offers::of(slices, &families, problems);
        let mut health_check = health::wish(spec, external_policy);
        let mut ports: BTreeMap<ServicePortName, (ServicePort, Vec<Claim>)> = BTreeMap::new();
        for (index, port) in spec.ports.iter().flatten().enumerate() {
            let Some(protocol) = Protocol::from_kubernetes(port.protocol.as_deref()) else {
                let protocol = quoted(port.protocol.as_deref().unwrap_or_default());
                let message = format!("{protocol} is not handled, only TCP and UDP are; the port is left to others");
                problems.insert(
                    Problem::warning(message)
                        .in_file(sourced.origin.file.as_deref())
                        .about(format!("Service {namespace}/{own_name}"))
                        .at(format!("spec.ports[{index}].protocol")),
                );
                continue;
            };
            let service_port_name = ServicePortName {
                namespace: namespace.to_owned(),
                name: own_name.to_owned(),
                port: port.name.clone().unwrap_or_default(),
                protocol,
            };
            let own = offers.for_port(&service_port_name);
            let endpoints = endpoints::find(&service_port_name, external_policy, own, nodes, problems);
            let elsewhere = |policy| usize::from(policy == TrafficPolicy::Local && endpoints.only_elsewhere);
            self.without_local_endpoints.external += elsewhere(external_policy);
            self.without_local_endpoints.internal += elsewhere(internal_policy);
            if let Some(health_check) = &mut health_check {
                health_check.ready_here.extend(&endpoints.ready_here);
            }
            let addresses = frontends::addresses(sourced, spec, port, &families, nodes, problems);
            let claims = addresses.into_iter().map(|(field, frontend)| Claim {
                frontend,
                field: field.unwrap_or_else(|| format!("spec.ports[{index}].nodePort")),
            });
            let service_port = ServicePort {
                affinity,
                source_ranges: source_ranges.clone(),
                ..endpoints.into_service_port(external_policy)
            };
            // Of two ports of one name the last counts, with the frontends of both.
            let asked = ports.entry(service_port_name).or_default();
            asked.0 = service_port;
            asked.1.extend(claims);
        }
        self.health_check = health_check;
        self.ports = ports.into_iter().map(|(name, (port, claims))| AskedPort::new(name, port, claims)).collect();
    }
}

impl AskedPort {
    fn new(name: ServicePortName, port: ServicePort, claims: Vec<Claim>) -> Self {
        let mut wishes: Vec<Frontend> = claims.iter().map(|claim| claim.frontend).collect();
        // Of one address from several fields the first kind counts.
        wishes.sort_unstable();
        wishes.dedup_by_key(|frontend| (frontend.address, frontend.port));
        let port = Arc::new(ServicePort { frontends: wishes.clone(), ..port });
        Self { name, port, wishes, claims }
    }

    /// It gets all that it would like to have.
    pub(super) fn give_all(&mut self) {
        if self.port.frontends != self.wishes {
            self.give(self.wishes.clone());
        }
    }

    /// It gets these frontends. While they are the same as before, it stays the very same Service port.
    pub(super) fn give(&mut self, frontends: Vec<Frontend>) {
        if self.port.frontends != frontends {
            self.port = Arc::new(ServicePort { frontends, ..(*self.port).clone() });
        }
    }
}

/// A traffic policy in Kubernetes' words; absent means Cluster.
fn policy(word: Option<&str>) -> TrafficPolicy {
    match word {
        Some("Local") => TrafficPolicy::Local,
        _ => TrafficPolicy::Cluster,
    }
}
