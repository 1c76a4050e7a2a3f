//! One Service: is it ours, and what do its ports ask for.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::frontends::{Claim, addresses};
use super::nodes::Nodes;
use super::types::{Protocol, ServicePort, ServicePortName, TrafficPolicy};
use super::{ObjectName, affinity, endpoints};
use crate::source::{Problem, Sourced};

const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

pub(super) fn name(service: &Service) -> ObjectName<'_> {
    let meta = &service.metadata;
    (meta.namespace.as_deref().unwrap_or("default"), meta.name.as_deref().unwrap_or_default())
}

/// Whether the Service is for us (A.1).
///
/// An absent cluster IP is no sign of a headless Service here: the API server always gives one, and
/// a manifest from a file seldom has it.
pub(super) fn is_ours(service: &Service) -> bool {
    let Some(spec) = &service.spec else {
        return false;
    };
    let labels = service.metadata.labels.as_ref();
    let of_another_proxy = labels.is_some_and(|labels| labels.contains_key(PROXY_NAME));
    let headless = spec.cluster_ip.as_deref() == Some("None")
        || spec.cluster_ips.as_ref().is_some_and(|ips| ips.iter().any(|ip| ip == "None"));
    !of_another_proxy && !headless && spec.type_.as_deref() != Some("ExternalName")
}

/// Adds the Service's ports, without frontends; what it would have as such goes into the claims.
pub(super) fn add<'a>(
    sourced: &'a Sourced<Service>,
    slices: &[&Sourced<EndpointSlice>],
    nodes: &Nodes<'_>,
    services: &mut BTreeMap<ServicePortName, ServicePort>,
    claims: &mut Vec<Claim<'a>>,
    problems: &mut BTreeSet<Problem>,
) {
    let Some(spec) = &sourced.object.spec else {
        return;
    };
    let (namespace, own_name) = name(&sourced.object);
    let affinity = affinity::of(sourced, spec, problems);
    let with_load_balancer = source_ranges_allow_all(sourced, spec, problems);
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let Some(protocol) = Protocol::from_kubernetes(port.protocol.as_deref()) else {
            continue;
        };
        let service_port_name = ServicePortName {
            namespace: namespace.to_owned(),
            name: own_name.to_owned(),
            port: port.name.clone().unwrap_or_default(),
            protocol,
        };
        let external_policy = external_policy(spec);
        let (backends, pools) = endpoints::backends(&service_port_name, external_policy, slices, nodes, problems);
        let addresses = addresses(sourced, port, nodes, with_load_balancer, problems);
        claims.extend(addresses.into_iter().map(|(field, frontend)| Claim {
            frontend,
            name: service_port_name.clone(),
            field: field.unwrap_or_else(|| format!("spec.ports[{index}].nodePort")),
            service: sourced,
        }));
        services.insert(
            service_port_name,
            ServicePort { affinity, external_policy, backends, pools, ..ServicePort::default() },
        );
    }
}

fn external_policy(spec: &ServiceSpec) -> TrafficPolicy {
    match spec.external_traffic_policy.as_deref() {
        Some("Local") => TrafficPolicy::Local,
        _ => TrafficPolicy::Cluster,
    }
}

/// Whether everybody may use the load-balancer addresses. Ranges that keep somebody out are not
/// enforced yet: serving all would be worse than serving nobody.
fn source_ranges_allow_all(sourced: &Sourced<Service>, spec: &ServiceSpec, problems: &mut BTreeSet<Problem>) -> bool {
    let ranges = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    let all = ranges.iter().all(|range| range.trim().parse::<IpNet>().is_ok_and(|range| range.prefix_len() == 0));
    if !all {
        let (namespace, name) = name(&sourced.object);
        problems.insert(
            Problem::error("source ranges are not enforced yet, so the load-balancer addresses are not served; its node ports and external IPs are")
                .in_file(sourced.origin.file.as_deref())
                .about(format!("Service {namespace}/{name}"))
                .at("spec.loadBalancerSourceRanges"),
        );
    }
    all
}
