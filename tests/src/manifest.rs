//! Kubernetes objects for the agents to read: Node, Service and EndpointSlice, in files.
//!
//! One file an object, or a Service together with its slices, so that a change to a Service is
//! seen whole or not at all. The documents are JSON, which is YAML.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::address::{self, Family, POD_PORT};
use crate::world::{NAMESPACE, Pod, PodState, Service, World};

/// The directory of manifests that all agents of a lab read.
#[derive(Clone, Debug)]
pub struct Manifests {
    directory: PathBuf,
    /// Files are written here, on the same file system, and renamed into place.
    staging: PathBuf,
}

impl Manifests {
    pub(crate) fn in_directories(directory: PathBuf, staging: PathBuf) -> Self {
        Self { directory, staging }
    }

    /// Where the agents read.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes a file of any content under this name in one step.
    pub fn write(&self, name: &str, content: &str) -> Result<()> {
        let staged = self.staging.join(name);
        let path = self.directory.join(name);
        fs::write(&staged, content).with_context(|| format!("cannot write {}", staged.display()))?;
        fs::rename(&staged, &path).with_context(|| format!("cannot put {} there", path.display()))
    }

    /// Removes a file; does nothing when it is not there.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.directory.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn write_node(&self, node: u8) -> Result<()> {
        self.write(&format!("node-n{node}.yaml"), &text(&[node_object(node)])?)
    }

    pub(crate) fn write_service(&self, world: &World, name: &str) -> Result<()> {
        let service = world.service(name)?;
        let mut documents = vec![service_object(service)];
        for family in Family::BOTH {
            documents.push(slice_object(world, service, family));
        }
        self.write(&service_file(name), &text(&documents)?)
    }

    pub(crate) fn remove_service(&self, name: &str) -> Result<()> {
        self.remove(&service_file(name))
    }
}

fn service_file(name: &str) -> String {
    format!("service-{name}.yaml")
}

fn text(documents: &[Value]) -> Result<String> {
    let mut text = String::new();
    for document in documents {
        text.push_str("---\n");
        text.push_str(&serde_json::to_string_pretty(document).context("cannot write JSON")?);
        text.push('\n');
    }
    Ok(text)
}

fn node_object(node: u8) -> Value {
    let name = format!("n{node}");
    let internal = |family| json!({"type": "InternalIP", "address": address::node(family, node)});
    json!({
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
    })
}

fn service_object(service: &Service) -> Value {
    let (ordinal, spec) = (service.ordinal, &service.spec);
    let ports: Vec<Value> = spec
        .ports
        .iter()
        .zip(0..)
        .map(|(port, index)| {
            json!({
                "name": port.name(),
                "protocol": port.protocol.name(),
                "port": port.number,
                "targetPort": POD_PORT,
                "nodePort": address::node_port(ordinal, index),
            })
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
    if !spec.annotations.is_empty() {
        object["metadata"]["annotations"] = json!(spec.annotations);
    }
    if let Some(seconds) = spec.affinity_seconds {
        object["spec"]["sessionAffinity"] = json!("ClientIP");
        object["spec"]["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": seconds}});
    }
    object
}

fn slice_object(world: &World, service: &Service, family: Family) -> Value {
    let name = &service.spec.name;
    let endpoints: Vec<Value> = world.pods_of(service).map(|pod| endpoint_object(pod, family)).collect();
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

fn endpoint_object(pod: &Pod, family: Family) -> Value {
    let (ready, serving, terminating) = match pod.state {
        PodState::Ready => (true, true, false),
        PodState::NotReady => (false, false, false),
        PodState::Terminating => (false, true, true),
    };
    json!({
        "addresses": [pod.address(family)],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "nodeName": format!("n{}", pod.node()),
        "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": pod.name()},
    })
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
        let slice = slice_object(&world, world.service("web").unwrap(), Family::V6);
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
        let object = |world: &World| service_object(world.service("web").unwrap());
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
        let object = service_object(world.service("web").unwrap());
        assert_eq!(object["spec"]["sessionAffinity"], "ClientIP");
        let config = &object["spec"]["sessionAffinityConfig"];
        assert_eq!(config["clientIP"]["timeoutSeconds"], 60);
    }
}
