//! How long a large cluster takes. Prints and asserts nothing about time; for figures that mean
//! something: `cargo test --release -p lb-userspace large_cluster -- --nocapture`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use crate::model::{Options, desired};
use crate::plan::{Applied, Extent, Limits, Write, plan};
use crate::source::{Origin, Snapshot, Sourced};

const SERVICES: usize = 10_000;
const ENDPOINTS: usize = 20;
const NODES: usize = 100;

fn sourced<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Sourced<T> {
    let object = serde_json::from_value(value).expect("an object");
    Sourced { object: Arc::new(object), origin: Origin::default() }
}

fn node(index: usize) -> Sourced<Node> {
    sourced(json!({"metadata": {"name": format!("n{index}")}, "status": {"addresses": [
        {"type": "InternalIP", "address": format!("10.0.{}.{}", index / 250, index % 250 + 1)}]}}))
}

fn service(index: usize) -> Sourced<Service> {
    let address = format!("192.{}.{}.1", index / 250, index % 250);
    let ranges = ["10.0.0.0/8", "198.51.100.0/24", "203.0.113.0/26", "192.0.2.7/32"];
    sourced(json!({"metadata": {"name": format!("s{index}"), "namespace": "default"},
        "spec": {"externalIPs": [address], "ports": [{"name": "http", "port": 80}], "type": "LoadBalancer",
            "loadBalancerSourceRanges": ranges},
        "status": {"loadBalancer": {"ingress": [{"ip": format!("193.{}.{}.1", index / 250, index % 250)}]}}}))
}

fn slice(index: usize) -> Sourced<EndpointSlice> {
    let endpoints: Vec<_> = (0..ENDPOINTS)
        .map(|endpoint| {
            let number = index * ENDPOINTS + endpoint;
            json!({
                "addresses": [format!("10.{}.{}.{}", 1 + number / 62_500, number / 250 % 250, number % 250 + 1)],
                "nodeName": format!("n{}", number % NODES),
                "targetRef": {"kind": "Pod", "name": format!("s{index}-{endpoint}")},
            })
        })
        .collect();
    sourced(json!({
        "metadata": {"name": format!("s{index}-0"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": format!("s{index}")}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints,
    }))
}

fn written(write: &Write) -> Option<(Extent, Vec<u32>)> {
    match write {
        Write::Table { extent, pool, .. } => Some((*extent, pool.slots())),
        _ => None,
    }
}

#[test]
fn large_cluster() {
    // A debug run shows that it works; a tenth is enough for that.
    let services = if cfg!(debug_assertions) { SERVICES / 10 } else { SERVICES };
    let snapshot = Snapshot {
        services: (0..services).map(service).collect(),
        slices: (0..services).map(slice).collect(),
        nodes: (0..NODES).map(node).collect(),
        complete: true,
    };
    let options = Options { node: "n0".to_owned(), tunnel_port: 6081, ..Options::default() };
    let limits = Limits {
        slots: 200_000_000,
        backends: 1_000_000,
        services: 100_000,
        frontends: 100_000,
        source_ranges: 1_000_000,
        siblings: 4_000_000,
        nodes: 10_000,
    };
    let timed = |what: &str, since: Instant| {
        println!("{services} Services x {ENDPOINTS} endpoints: {what}: {:?}", since.elapsed());
    };

    let start = Instant::now();
    let (wanted, problems) = desired(&snapshot, &options);
    timed("model", start);
    assert_eq!(problems, []);

    let mut applied = Applied::default();
    let start = Instant::now();
    let planned = plan(&applied, &wanted, 0, &limits);
    timed("first plan", start);
    assert_eq!(planned.problems, []);
    let start = Instant::now();
    for write in &planned.writes {
        applied.apply(write, 0);
    }
    timed("applying it", start);

    let start = Instant::now();
    let unchanged = plan(&applied, &wanted, 1, &limits);
    timed("unchanged plan", start);
    assert_eq!(unchanged.writes, []);

    let slots: HashMap<Extent, Vec<u32>> = planned.writes.iter().filter_map(written).collect();
    let start = Instant::now();
    applied.check_tables(|extent| slots.get(&extent).cloned());
    timed("check of all tables", start);
    assert!(applied.tables.values().all(|table| table.intact));
}
