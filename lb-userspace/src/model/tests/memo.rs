//! With a memo everything is as without one.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixture::options;
use crate::model::*;
use crate::source::{Origin, Snapshot, Sourced};

/// A small cluster: versions of objects that lie beside each other, chosen by number.
#[derive(Clone, Debug, Default)]
struct Cluster {
    services: BTreeMap<u8, Sourced<k8s_openapi::api::core::v1::Service>>,
    slices: BTreeMap<u8, Sourced<k8s_openapi::api::discovery::v1::EndpointSlice>>,
    nodes: BTreeMap<u8, Sourced<k8s_openapi::api::core::v1::Node>>,
}

#[derive(Clone, Debug)]
enum Change {
    Service(u8, Option<Version>),
    Slice(u8, Option<Version>),
    Node(u8, Option<Version>),
    /// Another file, or another place in it.
    Moved(u8, usize),
    /// `--node-port-addresses`, `--service-class`.
    Options(bool, bool),
    /// Everything is told anew, in other objects.
    Relist,
}

/// Numbers that choose among what an object may be.
type Version = (u8, u8, u8, bool);

fn changes() -> impl Strategy<Value = Change> {
    let version = || proptest::option::weighted(0.85, (0..4_u8, 0..4_u8, 0..4_u8, any::<bool>()));
    prop_oneof![
        6 => (0..6_u8, version()).prop_map(|(which, version)| Change::Service(which, version)),
        6 => (0..9_u8, version()).prop_map(|(which, version)| Change::Slice(which, version)),
        2 => (0..3_u8, version()).prop_map(|(which, version)| Change::Node(which, version)),
        1 => (0..6_u8, 0..3_usize).prop_map(|(which, document)| Change::Moved(which, document)),
        1 => any::<(bool, bool)>().prop_map(|(addresses, class)| Change::Options(addresses, class)),
        1 => Just(Change::Relist),
    ]
}

fn sourced<T: serde::de::DeserializeOwned>(value: Value) -> Sourced<T> {
    let object = Arc::new(serde_json::from_value(value).expect("an object"));
    Sourced { object, origin: Origin { file: Some("all.yaml".into()), document: 1 } }
}

/// Few addresses, so that many Services ask for the same; one is the node's, where the tunnel ends.
fn service(which: u8, (address, policy, age, udp): Version) -> Value {
    let addresses = [json!(["192.0.2.1"]), json!(["192.0.2.2", "192.0.2.1"]), json!(["10.0.0.1"]), json!(["fd00::9"])];
    let (protocol, port) = if udp { ("UDP", 6081) } else { ("TCP", 80) };
    let mut service = json!({
        "metadata": {"name": format!("s{which}"), "namespace": "default"},
        "spec": {"type": "LoadBalancer", "externalIPs": addresses[usize::from(address)], "ipFamilies": ["IPv4"],
            "externalTrafficPolicy": if policy == 0 { "Local" } else { "Cluster" }, "healthCheckNodePort": 30_500,
            "loadBalancerSourceRanges": if policy == 1 { json!(["10.0.0.0/8", "bad"]) } else { json!([]) },
            "ports": [{"name": "a", "port": port, "protocol": protocol, "nodePort": 30_000 + u16::from(which / 2)},
                {"name": "b", "port": 81, "protocol": if policy == 3 { "SCTP" } else { "TCP" }}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}]}},
    });
    if age > 0 {
        service["metadata"]["creationTimestamp"] = json!(format!("2024-01-0{age}T00:00:00Z"));
    }
    if address == 1 {
        service["spec"]["loadBalancerClass"] = json!("x/y");
    }
    service
}

fn slice(which: u8, (address, node, hints, ready): Version) -> Value {
    let endpoint = |last: u8| {
        json!({"addresses": [format!("10.1.0.{last}")], "nodeName": format!("n{node}"), "conditions": {"ready": ready},
            "targetRef": {"kind": "Pod", "name": format!("p{last}")},
            "hints": {"forZones": [{"name": if hints == 0 { "a" } else { "b" }}]}})
    };
    json!({
        "metadata": {"name": format!("slice{which}"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": format!("s{}", which % 7)}},
        "addressType": "IPv4",
        "ports": [{"name": "a", "port": 8080, "protocol": if hints == 1 { "UDP" } else { "TCP" }}, {"name": "b", "port": 81}],
        "endpoints": [endpoint(address), endpoint(which + 10)],
    })
}

fn node(which: u8, (address, zone, _, v6): Version) -> Value {
    let mut addresses = vec![json!({"type": "InternalIP", "address": format!("10.0.0.{}", address + 1)})];
    addresses.extend(v6.then(|| json!({"type": "InternalIP", "address": "fd00::1"})));
    let zone = ["a", "b", "", "c"][usize::from(zone)];
    json!({"metadata": {"name": format!("n{which}"), "labels": {"topology.kubernetes.io/zone": zone}},
        "status": {"addresses": addresses}})
}

fn put<T: serde::de::DeserializeOwned>(
    objects: &mut BTreeMap<u8, Sourced<T>>,
    which: u8,
    version: Option<Version>,
    make: impl Fn(u8, Version) -> Value,
) {
    match version {
        Some(version) => drop(objects.insert(which, sourced(make(which, version)))),
        None => drop(objects.remove(&which)),
    }
}

fn told_anew<T: Clone>(objects: &mut BTreeMap<u8, Sourced<T>>) {
    objects.values_mut().for_each(|sourced| sourced.object = Arc::new((*sourced.object).clone()));
}

impl Cluster {
    fn change(&mut self, change: Change, options: &mut Options) {
        match change {
            Change::Service(which, version) => put(&mut self.services, which, version, service),
            Change::Slice(which, version) => put(&mut self.slices, which, version, slice),
            Change::Node(which, version) => put(&mut self.nodes, which, version, node),
            Change::Moved(which, document) => {
                let file = ["all.yaml", "other.yaml", "all.yaml"][document].into();
                let origin = Origin { file: Some(file), document };
                self.services.entry(which).and_modify(|service| service.origin = origin.clone());
                self.slices.entry(which).and_modify(|slice| slice.origin = origin);
            }
            Change::Options(within, class) => {
                options.node_port_addresses =
                    if within { NodePortAddresses::Within(Vec::new()) } else { NodePortAddresses::Primary };
                options.service_class = class.then(|| "x/y".to_owned());
            }
            Change::Relist => {
                told_anew(&mut self.services);
                told_anew(&mut self.slices);
                told_anew(&mut self.nodes);
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            services: self.services.values().cloned().collect(),
            slices: self.slices.values().cloned().collect(),
            nodes: self.nodes.values().cloned().collect(),
            complete: true,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Over any history, values and problems alike.
    #[test]
    fn with_a_memo_everything_is_as_without(steps in proptest::collection::vec(changes(), 1..60)) {
        let (mut cluster, mut options, mut memo) = (Cluster::default(), options(), Memo::default());
        options.local_addresses = vec!["10.0.0.1".parse().unwrap(), "10.9.0.1".parse().unwrap()];
        for which in 0..3 {
            cluster.change(Change::Node(which, Some((which, 0, 0, true))), &mut options);
        }
        for step in steps {
            cluster.change(step, &mut options);
            let snapshot = cluster.snapshot();
            let (known, told) = desired_with(&snapshot, &options, &mut memo);
            let (anew, told_anew) = desired(&snapshot, &options);
            prop_assert_eq!(&known, &anew);
            prop_assert_eq!(told, told_anew);
            // A second time all of it is the very same.
            let (again, _) = desired_with(&snapshot, &options, &mut memo);
            for (name, port) in &again.services {
                prop_assert!(Arc::ptr_eq(port, &known.services[name]), "{} was made anew", name);
            }
        }
    }
}

/// What belongs to one Service leaves the others the very same; so does a frontend that changes hands, but for the two.
#[test]
fn a_change_of_one_service_leaves_the_others_the_very_same() {
    let (mut cluster, mut options, mut memo) = (Cluster::default(), options(), Memo::default());
    cluster.change(Change::Node(1, Some((0, 0, 0, true))), &mut options);
    for which in 0..4 {
        // The third and the fourth ask for one address; the third is older.
        let address = [0, 3, 1, 1][usize::from(which)];
        cluster.change(Change::Service(which, Some((address, 2, which, false))), &mut options);
        cluster.change(Change::Slice(which, Some((which, 1, 0, true))), &mut options);
    }
    let same = |cluster: &Cluster, memo: &mut Memo, before: &Desired| -> (Desired, Vec<String>) {
        let (now, _) = desired_with(&cluster.snapshot(), &self::options(), memo);
        let other = now
            .services
            .iter()
            .filter(|(name, port)| !before.services.get(*name).is_some_and(|before| Arc::ptr_eq(before, port)));
        let other: Vec<String> = other.map(|(name, _)| name.to_string()).collect();
        (now, other)
    };
    let (first, _) = same(&cluster, &mut memo, &Desired::default());
    cluster.change(Change::Slice(0, Some((3, 1, 0, true))), &mut options);
    let (second, other) = same(&cluster, &mut memo, &first);
    assert_eq!(other, ["default/s0:a/TCP", "default/s0:b/TCP"]);
    cluster.change(Change::Service(2, None), &mut options);
    let (third, other) = same(&cluster, &mut memo, &second);
    assert!(other.iter().all(|name| name.starts_with("default/s3:")) && !other.is_empty(), "{other:?}");
    let taken = |desired: &Desired| -> usize {
        let own = desired.services.iter().filter(|(name, _)| name.name == "s3");
        own.map(|(_, port)| port.frontends.len()).sum()
    };
    assert!(taken(&third) > taken(&second), "s3 gets what s2 had");
}
