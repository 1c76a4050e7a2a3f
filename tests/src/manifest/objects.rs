//! What the lab knows, as Kubernetes objects: Node, Service and EndpointSlice.

use serde_json::{Value, json};

use crate::address::{self, Family, POD_PORT};
use crate::patch::merge;
use crate::world::{NAMESPACE, Pod, PodState, Service, World};

pub(super) fn node(world: &World, node: u8) -> Value {
    let name = format!("n{node}");
    let internal = |family| json!({"type": "InternalIP", "address": address::node(family, node)});
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {
            "podCIDR": address::pod_range(Family::V4, node),
            "podCIDRs": Family::BOTH.map(|family| address::pod_range(family, node)),
        },
        "status": {
            "addresses": [
                internal(Family::V4),
                internal(Family::V6),
                {"type": "Hostname", "address": name},
            ],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    if let Some(patch) = world.node_patch(node) {
        merge(&mut object, patch);
    }
    object
}

pub(super) fn service(service: &Service) -> Value {
    let (ordinal, spec) = (service.ordinal, &service.spec);
    let ports: Vec<Value> = spec
        .ports
        .iter()
        .zip(0..)
        .map(|(port, index)| {
            let mut object = json!({
                "name": port.name(),
                "protocol": port.protocol.name(),
                "port": port.number,
                "targetPort": POD_PORT,
            });
            if spec.node_ports {
                object["nodePort"] = json!(address::node_port(ordinal, index));
            }
            object
        })
        .collect();
    let cluster_ips = Family::BOTH.map(|family| address::cluster_ip(family, ordinal));
    let ingress = Family::BOTH.map(|family| json!({"ip": address::load_balancer_ip(family, ordinal), "ipMode": "VIP"}));
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": NAMESPACE, "name": spec.name},
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": cluster_ips[0],
            "clusterIPs": cluster_ips,
            "ipFamilies": Family::BOTH.map(Family::name),
            "ipFamilyPolicy": "RequireDualStack",
            "externalIPs": Family::BOTH.map(|family| address::external_ip(family, ordinal)),
            "externalTrafficPolicy": if spec.local_only { "Local" } else { "Cluster" },
            "internalTrafficPolicy": "Cluster",
            "selector": {"app": spec.name},
            "sessionAffinity": "None",
            "ports": ports,
        },
        "status": {"loadBalancer": {"ingress": ingress}},
    });
    if !spec.node_ports {
        object["spec"]["allocateLoadBalancerNodePorts"] = json!(false);
    }
    if !spec.annotations.is_empty() {
        object["metadata"]["annotations"] = json!(spec.annotations);
    }
    if let Some(seconds) = spec.affinity_seconds {
        object["spec"]["sessionAffinity"] = json!("ClientIP");
        object["spec"]["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": seconds}});
    }
    spec.patches.iter().for_each(|patch| merge(&mut object, patch));
    object
}

pub(super) fn slice(world: &World, service: &Service, family: Family) -> Value {
    let name = &service.spec.name;
    let endpoints: Vec<Value> = world.pods_of(service).map(|pod| endpoint(pod, family)).collect();
    let ports: Vec<Value> = service
        .spec
        .ports
        .iter()
        .map(|port| json!({"name": port.name(), "protocol": port.protocol.name(), "port": POD_PORT}))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": NAMESPACE,
            "name": format!("{name}-{}", family.name().to_lowercase()),
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": family.name(),
        "endpoints": endpoints,
        "ports": ports,
    })
}

fn endpoint(pod: &Pod, family: Family) -> Value {
    let (ready, serving, terminating) = match pod.state {
        PodState::Ready => (true, true, false),
        PodState::NotReady => (false, false, false),
        PodState::Terminating => (false, true, true),
    };
    let mut object = json!({
        "addresses": [pod.address(family)],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "nodeName": format!("n{}", pod.node()),
        "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": pod.name()},
    });
    if let Some(patch) = &pod.endpoint {
        merge(&mut object, patch);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::ServiceSpec;

    #[test]
    fn a_terminating_pod_serves_but_is_not_ready() {
        let mut world = World::default();
        let pod = world.plan_pod(2, Some("web-0")).unwrap();
        world.insert_pod(pod);
        world.put_service(ServiceSpec::new("web", &["web-0".to_owned()])).unwrap();
        world.set_pod_state("web-0", PodState::Terminating).unwrap();
        let slice = slice(&world, world.service("web").unwrap(), Family::V6);
        assert_eq!(
            slice["endpoints"],
            json!([{
                "addresses": ["fd00:244:2::1"],
                "conditions": {"ready": false, "serving": true, "terminating": true},
                "nodeName": "n2",
                "targetRef": {"kind": "Pod", "namespace": "lab", "name": "web-0"},
            }])
        );
    }

    #[test]
    fn annotations_and_the_traffic_policy_are_written() {
        let mut world = World::default();
        let plain = ServiceSpec::new("web", &[]);
        let object = |world: &World| service(world.service("web").unwrap());
        world.put_service(plain.clone()).unwrap();
        assert_eq!(object(&world)["metadata"], json!({"namespace": "lab", "name": "web"}));
        assert_eq!(object(&world)["spec"]["externalTrafficPolicy"], "Cluster");
        world.put_service(plain.with_local_pods_only().with_annotation("example.org/colour", "red")).unwrap();
        assert_eq!(object(&world)["metadata"]["annotations"], json!({"example.org/colour": "red"}));
        assert_eq!(object(&world)["spec"]["externalTrafficPolicy"], "Local");
    }

    #[test]
    fn affinity_is_written_with_its_time_out() {
        let mut world = World::default();
        world.put_service(ServiceSpec::new("web", &[]).with_affinity(60)).unwrap();
        let object = service(world.service("web").unwrap());
        assert_eq!(object["spec"]["sessionAffinity"], "ClientIP");
        let config = &object["spec"]["sessionAffinityConfig"];
        assert_eq!(config["clientIP"]["timeoutSeconds"], 60);
    }

    #[test]
    fn patches_are_merged_over_what_the_lab_knows() {
        let mut world = World::default();
        let pod = world.plan_pod(1, None).unwrap();
        world.insert_pod(pod);
        let spec = ServiceSpec::new("web", &["p1-1".to_owned()]).without_node_ports();
        let patches = [json!({"spec": {"externalIPs": ["198.51.100.77"]}}), json!({"spec": {"externalIPs": null}})];
        world.put_service(patches.into_iter().fold(spec, ServiceSpec::with)).unwrap();
        let object = service(world.service("web").unwrap());
        assert_eq!(object["spec"].get("externalIPs"), None);
        assert_eq!(object["spec"]["ports"][0].get("nodePort"), None);

        world.patch_endpoint("p1-1", Some(json!({"conditions": null}))).unwrap();
        let slice = slice(&world, world.service("web").unwrap(), Family::V4);
        assert_eq!(slice["endpoints"][0].get("conditions"), None);
        assert_eq!(slice["endpoints"][0]["nodeName"], "n1");

        world.patch_node(1, Some(json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "a"}}})));
        let labels = json!({"kubernetes.io/hostname": "n1", "topology.kubernetes.io/zone": "a"});
        assert_eq!(node(&world, 1)["metadata"]["labels"], labels);
        world.patch_node(1, None);
        assert_eq!(node(&world, 1)["metadata"]["labels"], json!({"kubernetes.io/hostname": "n1"}));
    }
}
