//! The server as a client sees it, over real connections.

mod client;
mod faults;
mod objects;
mod watches;

use serde_json::{Value, json};

use super::{ApiServer, Options};

/// A server without TLS, which the tests of everything else need not.
fn server() -> ApiServer {
    ApiServer::start(Options { tls: false, ..Options::default() }).unwrap()
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "lab", "name": name},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
    })
}

fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
}
