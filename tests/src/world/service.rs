//! A Service of the lab: what it is to be, and where it is reached.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::address::{self, Family};

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Both, TCP first.
    pub const BOTH: [Self; 2] = [Self::Tcp, Self::Udp];

    /// As Kubernetes writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// One port of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The protocol.
    pub protocol: Protocol,
    /// The number under load-balancer, external and cluster IPs.
    pub number: u16,
}

impl Port {
    /// Its name in the Service, such as `tcp-80`.
    #[must_use]
    pub fn name(self) -> String {
        format!("{}-{}", self.protocol.name().to_lowercase(), self.number)
    }
}

/// The ways from outside to a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontendKind {
    /// `status.loadBalancer.ingress`.
    LoadBalancerIp,
    /// `spec.externalIPs`.
    ExternalIp,
    /// `spec.ports[].nodePort`, on a node's own address.
    NodePort,
}

impl FrontendKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::LoadBalancerIp, Self::ExternalIp, Self::NodePort];

    /// The kind in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LoadBalancerIp => "load-balancer IP",
            Self::ExternalIp => "external IP",
            Self::NodePort => "node port",
        }
    }
}

/// What a Service is to be. Every Service of the lab has all kinds of frontends in both families, unless its
/// patches take some away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Its name.
    pub name: String,
    /// Its ports.
    pub ports: Vec<Port>,
    /// The time-out of `sessionAffinity: ClientIP`, or none for no affinity.
    pub affinity_seconds: Option<u32>,
    /// Whether a node serves what comes from outside with its own Pods alone:
    /// `externalTrafficPolicy: Local`.
    pub local_only: bool,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Whether its ports have node ports.
    pub node_ports: bool,
    /// What its object says beside all this or instead: merged into it one after the other (RFC 7396).
    pub patches: Vec<Value>,
    /// The names of the Pods behind it.
    pub pods: Vec<String>,
}

impl ServiceSpec {
    /// A Service with port 80 for TCP and for UDP, without affinity.
    #[must_use]
    pub fn new(name: &str, pods: &[String]) -> Self {
        let port = |protocol| Port { protocol, number: 80 };
        Self {
            name: name.to_owned(),
            ports: Protocol::BOTH.map(port).to_vec(),
            affinity_seconds: None,
            local_only: false,
            annotations: BTreeMap::new(),
            node_ports: true,
            patches: Vec::new(),
            pods: pods.to_vec(),
        }
    }

    /// The same with affinity by client address.
    #[must_use]
    pub fn with_affinity(mut self, seconds: u32) -> Self {
        self.affinity_seconds = Some(seconds);
        self
    }

    /// The same with `externalTrafficPolicy: Local`.
    #[must_use]
    pub fn with_local_pods_only(mut self) -> Self {
        self.local_only = true;
        self
    }

    /// The same with this annotation.
    #[must_use]
    pub fn with_annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The same without node ports: `allocateLoadBalancerNodePorts: false`.
    #[must_use]
    pub fn without_node_ports(mut self) -> Self {
        self.node_ports = false;
        self
    }

    /// The same with this merged into its object (RFC 7396: null takes a field away), after what was merged before.
    #[must_use]
    pub fn with(mut self, patch: Value) -> Self {
        self.patches.push(patch);
        self
    }

    /// The same with these ports.
    #[must_use]
    pub fn with_ports(mut self, ports: &[Port]) -> Self {
        self.ports = ports.to_vec();
        self
    }
}

/// A Service with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub(crate) ordinal: u8,
    pub(crate) spec: ServiceSpec,
}

impl Service {
    /// What it is.
    #[must_use]
    pub fn spec(&self) -> &ServiceSpec {
        &self.spec
    }

    /// Its number, which its addresses and node ports are made of.
    #[must_use]
    pub fn ordinal(&self) -> u8 {
        self.ordinal
    }

    /// Where clients reach its first port of this protocol. `ingress` is the node whose address a
    /// node port is reached at; the other kinds are the same everywhere.
    pub fn frontend(&self, kind: FrontendKind, family: Family, protocol: Protocol, ingress: u8) -> Result<SocketAddr> {
        let mut ports = self.spec.ports.iter().zip(0..);
        let (port, index) = ports.find(|(port, _)| port.protocol == protocol).with_context(|| {
            let (name, protocol) = (&self.spec.name, protocol.name());
            format!("Service {name} has no {protocol} port")
        })?;
        let (ip, number) = match kind {
            FrontendKind::LoadBalancerIp => (address::load_balancer_ip(family, self.ordinal), port.number),
            FrontendKind::ExternalIp => (address::external_ip(family, self.ordinal), port.number),
            FrontendKind::NodePort => (address::node(family, ingress), address::node_port(self.ordinal, index)),
        };
        Ok(SocketAddr::new(ip, number))
    }
}
