//! The objects of the scenarios. Services and Pods have numbers, so that an address says whose it is.

use std::{net::Ipv4Addr, sync::Arc};

use k8s_openapi::serde::de::DeserializeOwned;
use lb_userspace::source::{Origin, Snapshot, Sourced};
use limpet_lab::api_server::Kind;
use serde_json::{Value, json};

/// Nobody but the scenarios assigns addresses to Services of this class, also in a real cluster.
const CLASS: &str = "limpet.dev/test";

/// The load-balancer IP of a Service, of a range for documentation (RFC 5737).
pub(crate) fn load_balancer_ip(service: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, service)
}

/// The Service that has this load-balancer IP, if it is one of the scenarios'.
pub(crate) fn service_of(address: Ipv4Addr) -> Option<u8> {
    let [a, b, c, service] = address.octets();
    ([a, b, c] == [203, 0, 113]).then_some(service)
}

/// The name of a Service.
pub(crate) fn name(service: u8) -> String {
    format!("web-{service}")
}

/// A Service with a load-balancer IP and no node port. Every other one has affinity.
pub(crate) fn service(namespace: &str, number: u8) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name(number)},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": CLASS,
            "allocateLoadBalancerNodePorts": false,
            "ipFamilyPolicy": "SingleStack",
            "ipFamilies": ["IPv4"],
            "sessionAffinity": if number.is_multiple_of(2) { "ClientIP" } else { "None" },
            "ports": [{"protocol": "TCP", "port": 80, "targetPort": 8080}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": load_balancer_ip(number).to_string()}]}},
    })
}

/// The only slice of a Service, with these Pods, on the nodes in turn.
pub(crate) fn slice(namespace: &str, number: u8, pods: &[u8], nodes: &[String]) -> Value {
    let endpoints = pods.iter().map(|pod| {
        json!({
            "addresses": [format!("10.244.113.{pod}")],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": nodes[usize::from(*pod) % nodes.len()],
            "targetRef": {"kind": "Pod", "namespace": namespace, "name": format!("pod-{pod}")},
        })
    });
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "name": name(number),
            "labels": {
                "kubernetes.io/service-name": name(number),
                "endpointslice.kubernetes.io/managed-by": "limpet-test",
            },
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

/// A Node with one address.
pub(crate) fn node(name: &str, last: u8) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"addresses": [{"type": "InternalIP", "address": format!("192.0.2.{last}")}]},
    })
}

/// What an agent must make of these objects, by kube-proxy's rules of which count (not by the agent's own code). Those that
/// `is_sound` does not hold for are left out.
pub(crate) fn snapshot(objects: impl Fn(Kind) -> Vec<Value>, is_sound: impl Fn(&Value) -> bool) -> Snapshot {
    let of = |kind| objects(kind).into_iter().filter(|object| is_sound(object));
    let has_label = |object: &Value, label: &str| object["metadata"]["labels"].get(label).is_some();
    let services = of(Kind::Service).filter(|service| {
        !has_label(service, "service.kubernetes.io/service-proxy-name") && service["spec"]["clusterIP"] != "None"
    });
    let slices = of(Kind::EndpointSlice).filter(|slice| !has_label(slice, "service.kubernetes.io/headless"));
    Snapshot {
        services: services.map(parse).collect(),
        slices: slices.map(parse).collect(),
        nodes: of(Kind::Node).map(parse).collect(),
        complete: true,
    }
}

fn parse<T: DeserializeOwned>(object: Value) -> Sourced<T> {
    let parsed = serde_json::from_value(object.clone());
    let parsed = parsed.unwrap_or_else(|error| panic!("{error}: {object}"));
    Sourced { object: Arc::new(parsed), origin: Origin::default() }
}
