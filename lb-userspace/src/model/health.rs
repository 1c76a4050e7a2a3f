//! Health-check node ports: which Services have one, and what it tells (A.9).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::service;
use super::types::{Family, HealthCheck, TrafficPolicy};
use crate::source::{Problem, Sourced};

/// A Service asks for a health-check node port.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) port: u16,
    /// Addresses of ready endpoints on this node, of all its ports.
    pub(super) ready_here: BTreeSet<IpAddr>,
}

/// What the Service asks for, if it does: a load balancer with the policy Local. Endpoints are still to be counted.
pub(super) fn wish(spec: &ServiceSpec, policy: TrafficPolicy) -> Option<Wish> {
    let port = spec.health_check_node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)?;
    let active = spec.type_.as_deref() == Some("LoadBalancer") && policy == TrafficPolicy::Local;
    active.then(|| Wish { port, ready_here: BTreeSet::new() })
}

/// Gives every port to one Service, the first by name, and says who goes without.
pub(super) fn settle<'a>(
    wishes: impl Iterator<Item = (&'a Sourced<Service>, &'a Wish)>,
    problems: &mut BTreeSet<Problem>,
) -> Vec<HealthCheck> {
    let mut wishes: Vec<_> = wishes.map(|(sourced, wish)| (service::name(&sourced.object), sourced, wish)).collect();
    wishes.sort_by_key(|(name, ..)| *name);
    let mut given = BTreeMap::new();
    let mut checks = Vec::with_capacity(wishes.len());
    for ((namespace, name), sourced, wish) in wishes {
        if let Some((first_namespace, first_name)) = given.get(&wish.port) {
            let message = format!("{} is already that of {first_namespace}/{first_name}; it is not served", wish.port);
            problems.insert(
                Problem::error(message)
                    .in_file(sourced.origin.file.as_deref())
                    .about(format!("Service {namespace}/{name}"))
                    .at("spec.healthCheckNodePort"),
            );
            continue;
        }
        given.insert(wish.port, (namespace, name));
        // A Pod with addresses of both families is one endpoint, as it is to one who asks over either.
        let of = |family| wish.ready_here.iter().filter(|address| Family::of(**address) == family).count();
        checks.push(HealthCheck {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            port: wish.port,
            local_endpoints: of(Family::V4).max(of(Family::V6)),
        });
    }
    checks
}
