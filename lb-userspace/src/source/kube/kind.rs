//! The three kinds that are read: where the API server has them, which of them, and what is kept of each.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::source::document::Object;

/// Label of Services that another proxy is to handle.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Label of the slices of headless Services.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Start of the names of our own annotations.
const OWN_ANNOTATIONS: &str = "limpet.dev/";

/// A kind of object that is watched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Services,
    Slices,
    Nodes,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Services, Self::Slices, Self::Nodes];

    /// Its place in an array of all.
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// What people call its objects.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Services => "Services",
            Self::Slices => "EndpointSlices",
            Self::Nodes => "Nodes",
        }
    }

    pub(super) fn singular(self) -> &'static str {
        match self {
            Self::Services => "Service",
            Self::Slices => "EndpointSlice",
            Self::Nodes => "Node",
        }
    }

    /// Whether its objects are in namespaces.
    pub(super) fn has_namespaces(self) -> bool {
        self != Self::Nodes
    }

    /// The path of all of them.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Services => "/api/v1/services",
            Self::Slices => "/apis/discovery.k8s.io/v1/endpointslices",
            Self::Nodes => "/api/v1/nodes",
        }
    }

    /// Which of them are asked for: kube-proxy's choice, or with a name the Services that are left to that proxy.
    pub(super) fn selectors(self, service_proxy_name: Option<&str>) -> Selectors {
        match self {
            Self::Services => Selectors {
                labels: Some(
                    service_proxy_name.map_or_else(|| format!("!{PROXY_NAME}"), |name| format!("{PROXY_NAME}={name}")),
                ),
                fields: Some("spec.clusterIP!=None".to_owned()),
            },
            Self::Slices => Selectors { labels: Some(format!("!{HEADLESS}")), fields: None },
            Self::Nodes => Selectors::default(),
        }
    }

    /// The object, without what nobody reads.
    ///
    /// # Errors
    /// When a value has another type than the API gives it.
    pub(super) fn parse(self, value: Value) -> Result<Object, serde_json::Error> {
        Ok(match self {
            Self::Services => {
                let mut service: Service = serde_json::from_value(value)?;
                service.metadata = kept_of(service.metadata);
                Object::Service(Arc::new(service))
            }
            Self::Slices => Object::Slice(Arc::new(slice(serde_json::from_value(value)?))),
            Self::Nodes => Object::Node(Arc::new(node(serde_json::from_value(value)?))),
        })
    }
}

/// Which objects of a kind are asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Selectors {
    pub(super) labels: Option<String>,
    pub(super) fields: Option<String>,
}

/// What is read of the metadata. Without versions, an object that is told again compares equal.
fn kept_of(meta: ObjectMeta) -> ObjectMeta {
    let annotations = meta.annotations.map(|mut annotations| {
        annotations.retain(|name, _| name.starts_with(OWN_ANNOTATIONS));
        annotations
    });
    ObjectMeta {
        annotations: annotations.filter(|annotations| !annotations.is_empty()),
        creation_timestamp: meta.creation_timestamp,
        deletion_timestamp: meta.deletion_timestamp,
        labels: meta.labels,
        name: meta.name,
        namespace: meta.namespace,
        uid: meta.uid,
        ..ObjectMeta::default()
    }
}

fn slice(mut slice: EndpointSlice) -> EndpointSlice {
    slice.metadata = kept_of(slice.metadata);
    for endpoint in &mut slice.endpoints {
        endpoint.deprecated_topology = None;
        endpoint.hostname = None;
        if let Some(target) = &mut endpoint.target_ref {
            target.api_version = None;
            target.field_path = None;
            target.resource_version = None;
            target.uid = None;
        }
    }
    slice.endpoints.shrink_to_fit();
    slice
}

/// A Node's state changes every few seconds; hardly any of that is for us.
fn node(node: Node) -> Node {
    Node {
        metadata: ObjectMeta { annotations: None, ..kept_of(node.metadata) },
        spec: node.spec.map(|spec| NodeSpec {
            pod_cidr: spec.pod_cidr,
            pod_cidrs: spec.pod_cidrs,
            taints: spec.taints,
            ..NodeSpec::default()
        }),
        status: node.status.map(|status| NodeStatus { addresses: status.addresses, ..NodeStatus::default() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_are_those_of_kube_proxy() {
        let labels = |kind: Kind, name| kind.selectors(name).labels;
        let fields = |kind: Kind| kind.selectors(None).fields;
        assert_eq!(labels(Kind::Services, None).as_deref(), Some("!service.kubernetes.io/service-proxy-name"));
        assert_eq!(
            labels(Kind::Services, Some("limpet")).as_deref(),
            Some("service.kubernetes.io/service-proxy-name=limpet")
        );
        assert_eq!(labels(Kind::Slices, Some("limpet")).as_deref(), Some("!service.kubernetes.io/headless"));
        assert_eq!(fields(Kind::Services).as_deref(), Some("spec.clusterIP!=None"));
        assert_eq!(Kind::Nodes.selectors(Some("limpet")), Selectors::default());
        assert_eq!(fields(Kind::Slices), None);
    }

    #[test]
    fn a_node_that_only_says_it_is_well_is_the_same_node() {
        let node = |version: &str, beat: &str| {
            let value = json!({
                "metadata": {
                    "name": "n1", "resourceVersion": version, "labels": {"zone": "a"},
                    "annotations": {"limpet.dev/x": "y", "other": beat}, "managedFields": [{"manager": beat}],
                },
                "spec": {"podCIDR": "10.0.0.0/24", "taints": [{"key": "k", "effect": "NoSchedule"}]},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
                    "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": beat}],
                },
            });
            match Kind::Nodes.parse(value).unwrap() {
                Object::Node(node) => node,
                other => panic!("{other:?}"),
            }
        };
        let first = node("1", "2026-01-01T00:00:00Z");
        assert_eq!(first, node("2", "2026-01-01T00:00:10Z"));
        assert_eq!(first.metadata.annotations, None);
        assert_eq!(first.spec.as_ref().and_then(|spec| spec.taints.as_ref()).map(Vec::len), Some(1));
    }
}
