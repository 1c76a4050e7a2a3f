//! Objects that are nearly right, with few names and addresses, so that they meet.

use lb_common::host::Input;
use serde_json::{Value, json};

use super::{Step, What};

/// The places of the kinds in what is followed.
const SERVICES: usize = 0;
const SLICES: usize = 1;
const NODES: usize = 2;
/// Most steps that are made.
const MAX_STEPS: usize = 16;
const NAMESPACES: [&str; 3] = ["default", "default", "other"];
const SERVICE_NAMES: [&str; 4] = ["web", "dns", "api", "sso"];
const PORT_NAMES: [&str; 3] = ["", "http", "dns"];
const NODE_NAMES: [&str; 4] = ["n1", "n2", "n3", "n1"];
const PROTOCOLS: [&str; 5] = ["TCP", "UDP", "TCP", "SCTP", "tcp"];
const FRONTENDS: [&str; 8] =
    ["192.0.2.1", "192.0.2.2", "2001:db8::1", "10.0.0.1", "192.0.2.9", "127.0.0.1", "::ffff:192.0.2.1", "not one"];
const RANGES: [&str; 6] = ["10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::/8", "10.1.2.3/33", "10.0.0.1/31"];

/// What happens: three lists, then changes until the input ends.
pub(super) fn steps(input: &mut Input<'_>) -> Vec<Step> {
    let mut version = 10;
    let mut steps = vec![
        list(SERVICES, &[], version),
        list(SLICES, &[], version),
        list(NODES, &[plain_node("n1", 1), plain_node("n2", 2)], version),
    ];
    while !input.is_empty() && steps.len() < MAX_STEPS {
        version += u64::from(input.byte() % 4);
        let ends_at = input.one_in(10).then(|| input.byte());
        steps.push(Step { ends_at, ..step(input, version) });
    }
    steps
}

fn step(input: &mut Input<'_>, version: u64) -> Step {
    let what = match input.byte() % 16 {
        kind @ 0..=11 => {
            let kind = if kind == 11 { NODES } else { usize::from(kind % 2) };
            let how = input.pick(&["ADDED", "MODIFIED", "MODIFIED", "DELETED"]);
            let event = json!({"type": how, "object": object(kind, version, input)});
            What::Event(kind, event.to_string())
        }
        12 | 13 => {
            let kind = input.pick(&[SERVICES, SLICES, NODES]);
            let count = input.byte() % 4;
            let objects: Vec<Value> = (0..count).map(|_| object(kind, version, input)).collect();
            return list(kind, &objects, version);
        }
        14 => What::Restart,
        _ => What::Wait(u64::from(input.byte() % 70)),
    };
    Step { what, ends_at: None }
}

fn list(kind: usize, items: &[Value], version: u64) -> Step {
    let body = json!({"metadata": {"resourceVersion": version.to_string()}, "items": items});
    Step { what: What::List(kind, body.to_string()), ends_at: None }
}

/// An object; a few are bent, so that they are no longer what the API server would let through.
fn object(kind: usize, version: u64, input: &mut Input<'_>) -> Value {
    let mut object = match kind {
        SERVICES => service(input),
        SLICES => slice(input),
        _ => node(input),
    };
    object["metadata"]["resourceVersion"] = version.to_string().into();
    if input.one_in(5) {
        bend(&mut object, input, 0);
    }
    object
}

fn service(input: &mut Input<'_>) -> Value {
    let ports: Vec<Value> = (0..input.byte() % 4).map(|_| service_port(input)).collect();
    let external: Vec<&str> = (0..input.byte() % 3).map(|_| input.pick(&FRONTENDS)).collect();
    let ingress: Vec<Value> = (0..input.byte() % 3)
        .map(|_| json!({"ip": input.pick(&FRONTENDS), "ipMode": input.pick(&["VIP", "VIP", "Proxy"])}))
        .collect();
    let ranges: Vec<&str> = (0..input.byte() % 3).map(|_| input.pick(&RANGES)).collect();
    let mut service = json!({
        "metadata": {"name": input.pick(&SERVICE_NAMES), "namespace": input.pick(&NAMESPACES)},
        "spec": {
            "type": input.pick(&["LoadBalancer", "NodePort", "ClusterIP", "LoadBalancer", "ExternalName"]),
            "clusterIP": input.pick(&["10.96.0.1", "10.96.0.2", "fd96::1", "None", ""]),
            "ipFamilies": input.pick(&[&["IPv4"][..], &["IPv6"], &["IPv4", "IPv6"], &[]]),
            "externalIPs": external, "ports": ports, "loadBalancerSourceRanges": ranges,
            "externalTrafficPolicy": input.pick(&["Cluster", "Cluster", "Local"]),
            "sessionAffinity": input.pick(&["None", "ClientIP"]),
        },
        "status": {"loadBalancer": {"ingress": ingress}},
    });
    let spec = &mut service["spec"];
    if input.one_in(2) {
        let seconds = input.pick(&[1, 60, 10_800, 86_400, 0, -1]);
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": seconds}});
    }
    if input.one_in(2) {
        spec["healthCheckNodePort"] = json!(input.pick(&[32_000, 32_001, 30_080]));
        spec["internalTrafficPolicy"] = json!(input.pick(&["Local", "Cluster"]));
        spec["trafficDistribution"] = json!(input.pick(&["PreferClose", "PreferSameNode", "PreferSameZone"]));
    }
    if input.one_in(2) {
        service["metadata"]["annotations"] = json!({
            "limpet.dev/affinity-key": input.pick(&["service", "port", "x"]),
            "limpet.dev/client-prefix": input.pick(&["24,64", "32,128", "0,0", "33,129", ","]),
            "limpet.dev/affinity-expiry": input.pick(&["idle", "absolute", ""]),
        });
    }
    if input.one_in(8) {
        service["metadata"]["creationTimestamp"] = json!(input.pick(&["2024-01-01T00:00:00Z", "2020-01-01T00:00:00Z"]));
        service["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
    }
    service
}

fn service_port(input: &mut Input<'_>) -> Value {
    json!({
        "name": input.pick(&PORT_NAMES),
        "port": input.pick(&[80, 53, 443, 6181, 0, 65_535, 65_536]),
        "nodePort": input.pick(&[0, 30_080, 30_053, 32_000]),
        "protocol": input.pick(&PROTOCOLS),
    })
}

fn slice(input: &mut Input<'_>) -> Value {
    let v6 = input.one_in(4);
    let ports: Vec<Value> = (0..1 + input.byte() % 3)
        .map(|_| {
            let port = input.pick(&[Some(8080), Some(53), Some(0), None, Some(70_000)]);
            json!({"name": input.pick(&PORT_NAMES), "port": port, "protocol": input.pick(&PROTOCOLS)})
        })
        .collect();
    let endpoints: Vec<Value> = (0..input.byte() % 6).map(|_| endpoint(v6, input)).collect();
    json!({
        "metadata": {
            "name": input.pick(&["s1", "s2", "s3"]), "namespace": input.pick(&NAMESPACES),
            "labels": {"kubernetes.io/service-name": input.pick(&SERVICE_NAMES)},
        },
        "addressType": if input.one_in(32) { "FQDN" } else if v6 { "IPv6" } else { "IPv4" },
        "ports": ports, "endpoints": endpoints,
    })
}

fn endpoint(v6: bool, input: &mut Input<'_>) -> Value {
    let last = input.byte() % 8;
    let address = if v6 { format!("fd01::{last}") } else { format!("10.1.0.{last}") };
    let condition = |input: &mut Input<'_>| input.pick(&[Some(true), Some(true), Some(false), None]);
    let mut endpoint = json!({
        "addresses": [address], "nodeName": input.pick(&NODE_NAMES), "zone": input.pick(&["a", "b"]),
        "conditions": {"ready": condition(input), "serving": condition(input), "terminating": input.one_in(4)},
        "hints": input.one_in(2).then(|| json!({
            "forZones": [{"name": input.pick(&["a", "b"])}], "forNodes": [{"name": input.pick(&NODE_NAMES)}],
        })),
    });
    if !input.one_in(8) {
        let pod = format!("p{}", if input.one_in(4) { input.byte() % 4 } else { last });
        endpoint["targetRef"] = json!({"kind": "Pod", "name": pod, "namespace": input.pick(&NAMESPACES)});
    }
    endpoint
}

fn node(input: &mut Input<'_>) -> Value {
    let mut node = plain_node(input.pick(&NODE_NAMES), input.byte() % 5);
    if input.one_in(2) {
        let range = input.pick(&["10.1.0.0/24", "fd01::/64", "10.1.0.0/99", "0.0.0.0/0"]);
        node["spec"] = json!({"podCIDR": range, "podCIDRs": [range, input.pick(&RANGES)]});
    }
    if input.one_in(4) {
        node["spec"]["taints"] = json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]);
        node["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
    }
    if input.one_in(4) {
        node["status"]["addresses"] = json!([{"type": "InternalIP", "address": input.pick(&FRONTENDS)}]);
    }
    node
}

/// A Node of zone a, whose addresses end in this byte.
fn plain_node(name: &str, last: u8) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "a"}},
        "status": {"addresses": [
            {"type": "InternalIP", "address": format!("10.0.0.{last}")},
            {"type": "InternalIP", "address": format!("fd00::{last}")},
        ]},
    })
}

/// Puts something else at a place of the tree, takes what is there away, or doubles it in its list.
fn bend(value: &mut Value, input: &mut Input<'_>, depth: u8) {
    let at = usize::from(input.byte());
    let is_deep = depth < 6 && !input.one_in(4);
    match value {
        Value::Object(fields) if is_deep && !fields.is_empty() => {
            let key = fields.keys().nth(at % fields.len()).cloned().unwrap_or_default();
            match fields.get_mut(&key) {
                Some(_) if input.one_in(8) => drop(fields.remove(&key)),
                Some(field) => bend(field, input, depth + 1),
                None => {}
            }
        }
        Value::Array(items) if is_deep && !items.is_empty() => {
            let index = at % items.len();
            if input.one_in(4) {
                items.push(items[index].clone());
            } else {
                bend(&mut items[index], input, depth + 1);
            }
        }
        other => *other = wild(input),
    }
}

/// A value to put anywhere.
fn wild(input: &mut Input<'_>) -> Value {
    match input.byte() % 10 {
        0 => Value::Null,
        1 => json!(input.one_in(2)),
        2 => json!(i64::from(input.word()) - 100),
        3 => json!(input.pick(&[i64::MAX, i64::MIN, -1, 0, 65_536])),
        4 => json!(0.5),
        5 => json!(input.pick(&["", "None", "Local", "IPv6", "FQDN", "SCTP", "ff02::1", "9999-12-30T00:00:00Z"])),
        6 => json!(String::from_utf8_lossy(input.take(usize::from(input.clone().byte() % 32)))),
        7 => json!("\u{1b}[2J\0\n".repeat(usize::from(input.byte()))),
        8 => json!([]),
        _ => json!({"x": [null, {}, "x", 7]}),
    }
}
