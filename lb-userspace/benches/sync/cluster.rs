//! The cluster that the agent follows: Nodes, Services with ten endpoints each, and an endpoint that is replaced.

use std::{net::Ipv4Addr, path::PathBuf};

use anyhow::Result;
use limpet_lab::api_server::{ApiServer, Options};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Endpoints of each Service.
const ENDPOINTS: u32 = 10;
/// Nodes; the agent runs on the first.
pub(crate) const NODES: u8 = 10;
/// The port of every frontend.
pub(crate) const PORT: u16 = 80;

/// Every Service has a node port of its own, which are more than an API server has to give by itself.
const FIRST_NODE_PORT: u32 = 20_000;
const NODE_PORTS: u32 = 40_000;

/// An API server, and what it has.
pub(crate) struct Cluster {
    server: ApiServer,
    /// How often an endpoint of each Service was replaced.
    turns: Vec<u32>,
    home: TempDir,
}

impl Cluster {
    /// Starts the server with so many Services.
    pub(crate) fn start(services: u32) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let server = ApiServer::start(Options::default())?;
        server.kubeconfig(&home.path().join("kubeconfig"))?;
        for node in 0..NODES {
            server.apply(json!({
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": node_name(node)},
                "status": {"addresses": [{"type": "InternalIP", "address": node_address(node)}]},
            }))?;
        }
        let cluster = Self { server, turns: vec![0; services as usize], home };
        for service in 0..services {
            cluster.server.apply(cluster.service(service))?;
            cluster.server.apply(cluster.slice(service))?;
        }
        Ok(cluster)
    }

    /// How the server is reached.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("kubeconfig")
    }

    /// A place for the agent's socket and log.
    pub(crate) fn home(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    pub(crate) fn services(&self) -> u32 {
        self.turns.len() as u32
    }

    /// Puts another Pod in the place of one.
    pub(crate) fn replace_an_endpoint(&mut self, service: u32) -> Result<()> {
        self.turns[service as usize] += 1;
        self.server.apply(self.slice(service))?;
        Ok(())
    }

    fn service(&self, service: u32) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("s{service}"), "namespace": "default"},
            "spec": {
                "type": "LoadBalancer", "clusterIP": Ipv4Addr::from(0x0a60_0000 + service),
                "ports": [{"port": PORT, "targetPort": 8080, "protocol": "TCP", "nodePort": FIRST_NODE_PORT + service % NODE_PORTS}],
            },
            "status": {"loadBalancer": {"ingress": [{"ip": frontend(service)}]}},
        })
    }

    fn slice(&self, service: u32) -> Value {
        let turn = self.turns[service as usize];
        let endpoint = |number: u32| {
            // The one that is replaced is another one every time.
            let turn = if number == turn % ENDPOINTS { turn } else { 0 };
            let address = Ipv4Addr::from(0x0b00_0000 + ((turn & 0x7f) << 17) + service * ENDPOINTS + number);
            json!({
                "addresses": [address], "nodeName": node_name((number % u32::from(NODES)) as u8),
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "targetRef": {
                    "kind": "Pod", "namespace": "default", "name": format!("s{service}-{number}-{turn}"),
                    "uid": format!("00000000-0000-0000-0000-{service:06}{number:02}{:04}", turn % 10_000),
                },
            })
        };
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("s{service}-x"), "namespace": "default",
                "labels": {"kubernetes.io/service-name": format!("s{service}")},
            },
            "addressType": "IPv4", "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
            "endpoints": (0..ENDPOINTS).map(endpoint).collect::<Vec<_>>(),
        })
    }
}

/// The address under which a Service is reached.
pub(crate) fn frontend(service: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x6440_0000 + service)
}

pub(crate) fn node_name(node: u8) -> String {
    format!("n{node}")
}

pub(crate) fn node_address(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, node + 1)
}
