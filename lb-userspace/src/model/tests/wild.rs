//! Sound objects, bent at random: never a panic, answers that make sense, and no harm to other Services.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::bad_input::beside_good;
use super::fixture::*;
use super::sense::check_sense;
use crate::model::*;
use crate::source::{Origin, Snapshot, Sourced};

/// Sound objects that use every field there is, to be bent.
fn sound() -> Vec<Value> {
    let endpoint = |address: &str, node: &str| {
        json!({"addresses": [address], "nodeName": node, "zone": "a",
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "hints": {"forZones": [{"name": "a"}], "forNodes": [{"name": node}]},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "a"}})
    };
    vec![
        json!({"metadata": {"name": "web", "namespace": "default", "creationTimestamp": "2024-01-01T00:00:00Z",
                "labels": {"app": "web"},
                "annotations": {"limpet.dev/affinity-key": "service", "limpet.dev/client-prefix": "24,64"}},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd96::1"],
                "ipFamilies": ["IPv4", "IPv6"], "externalIPs": ["192.0.2.1", "2001:db8::1"],
                "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local", "healthCheckNodePort": 32000,
                "loadBalancerClass": "x/y", "loadBalancerSourceRanges": ["10.0.0.0/8", "fd00::/8"],
                "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}},
                "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP", "targetPort": "http"},
                    {"name": "dns", "port": 53, "nodePort": 30053, "protocol": "UDP", "targetPort": 53}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7", "ipMode": "VIP"}, {"hostname": "lb.example"}]}}}),
        json!({"metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 5353, "protocol": "UDP"}],
            "endpoints": [endpoint("10.1.0.1", "n1"), endpoint("10.1.0.2", "n2")]}),
        json!({"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "a"}},
            "spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "InternalIP", "address": "fd00::1"}]}}),
    ]
}

/// A value to put anywhere.
fn wild() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![Just(0), Just(1), Just(80), Just(65_535), Just(65_536), any::<i64>()].prop_map(Value::from),
        prop_oneof![
            "\\PC{0,8}",
            Just("x".repeat(10_240)),
            Just("\u{1b}[2J\0\n".to_owned()),
            Just("None".to_owned()),
            Just("Local".to_owned()),
            Just("SCTP".to_owned()),
            Just("IPv6".to_owned()),
            Just("FQDN".to_owned()),
            Just("127.0.0.1".to_owned()),
            Just("ff02::1".to_owned()),
            Just("::ffff:10.0.0.1".to_owned()),
            Just("0.0.0.0/0".to_owned()),
            Just("9999-12-30T00:00:00Z".to_owned()),
        ]
        .prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([null, {}, "x", 7])),
    ]
}

/// Puts a value at a random place of a tree, or takes what is there away, or doubles it in its list.
fn bend(value: &mut Value, path: &[Index], how: u8, wild: &Value) {
    let (first, rest) = match path {
        [] => return *value = wild.clone(),
        [first, rest @ ..] => (first, rest),
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let key = fields.keys().nth(first.index(fields.len())).cloned().expect("a key");
            if rest.is_empty() && how == 0 {
                fields.remove(&key);
            } else if let Some(field) = fields.get_mut(&key) {
                bend(field, rest, how, wild);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let index = first.index(items.len());
            match how {
                0 if rest.is_empty() => drop(items.remove(index)),
                1 if rest.is_empty() => items.push(items[index].clone()),
                _ => bend(&mut items[index], rest, how, wild),
            }
        }
        other => *other = wild.clone(),
    }
}

/// A path, what to do there, and the value to put there.
type Bend = (Vec<Index>, u8, Value);

fn bends() -> impl Strategy<Value = Vec<(Index, Bend)>> {
    let one = (prop::collection::vec(any::<Index>(), 1..6), 0..4_u8, wild());
    prop::collection::vec((any::<Index>(), one), 1..8)
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> Option<Sourced<T>> {
    let object = serde_json::from_value(value.clone()).ok()?;
    Some(Sourced { object: Arc::new(object), origin: Origin::default() })
}

proptest! {
    /// Whatever a bug may send, around the border: no panic, and an answer that makes sense.
    #[test]
    fn wild_objects_make_no_panic_in_the_model(bends in bends(), policy in any::<bool>()) {
        let mut objects = sound();
        for (which, (path, how, value)) in &bends {
            let which = which.index(objects.len());
            bend(&mut objects[which], path, *how, value);
        }
        let snapshot = Snapshot {
            services: parse(&objects[0]).into_iter().collect(),
            slices: parse(&objects[1]).into_iter().collect(),
            nodes: parse(&objects[2]).into_iter().collect(),
            complete: true,
        };
        let mut options = options();
        if policy {
            options.node_port_addresses = NodePortAddresses::Within(Vec::new());
            options.local_addresses = vec![IpAddr::from([10, 0, 0, 1])];
        }
        let (desired, problems) = desired(&snapshot, &options);
        check_sense(&desired);
        for problem in problems {
            prop_assert!(problem.to_string().chars().count() < 2_000);
        }
    }

    /// The same through the border, beside a good Service: it is as it always is, and whatever is told can be read.
    #[test]
    fn wild_objects_do_no_harm_to_others(bends in bends()) {
        let mut objects = sound();
        for (kind, object) in [("Service", 0), ("EndpointSlice", 1), ("Node", 2)] {
            let version = if kind == "EndpointSlice" { "discovery.k8s.io/v1" } else { "v1" };
            objects[object]["apiVersion"] = json!(version);
            objects[object]["kind"] = json!(kind);
        }
        // A second object for this node would be another one for the good Service as well.
        objects[2]["metadata"]["name"] = json!("n3");
        for (which, (path, how, value)) in &bends {
            let which = which.index(objects.len());
            bend(&mut objects[which], path, *how, value);
        }
        prop_assume!(!objects[2].to_string().contains("\"n1\""));
        let manifests: String = objects.iter().map(|object| format!("{object}\n---\n")).collect();
        let (_, problems) = beside_good("wild", &manifests);
        for line in problems {
            prop_assert!(line.chars().count() < 2_000, "{}", line);
            prop_assert!(!line.contains(char::is_control), "{:?}", line);
        }
    }
}
