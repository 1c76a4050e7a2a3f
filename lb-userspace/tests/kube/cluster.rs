//! The cluster of a scenario: our own API server, or a real one with our faults in front of it.

use std::{
    fs::File,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use limpet_lab::api_server::{self, Answer, ApiServer, Kind, Options, Refusal, Upstream};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::objects;

/// Names a kubeconfig of a real cluster to run the scenarios against.
pub(crate) const VARIABLE: &str = "LIMPET_TEST_KUBECONFIG";

/// Where the agent finds the API server: a port that no client is given.
const PORT: u16 = 6443;

/// Scenarios in one real cluster see each other's objects, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// What the agent is to follow.
pub(crate) struct Cluster {
    /// What the agent speaks to, and where faults are made.
    pub(crate) front: ApiServer,
    /// Where the objects are, if not in `front`.
    real: Option<Real>,
    /// Where the scenario's objects are.
    pub(crate) namespace: String,
    /// The agent's node first, then another, if there is one.
    pub(crate) nodes: Vec<String>,
}

impl Cluster {
    /// Our own, with two nodes; it listens in this network.
    pub(crate) fn own(network: File, largest_page: Option<u32>) -> Self {
        let options = Options { network: Some(network), port: PORT, largest_page, ..Options::default() };
        let front = ApiServer::start(options).unwrap();
        let nodes = ["n1".to_owned(), "n2".to_owned()];
        for (node, last) in nodes.iter().zip(1..) {
            front.apply(objects::node(node, last)).unwrap();
        }
        Self { front, real: None, namespace: "limpet-test".to_owned(), nodes: nodes.into() }
    }

    /// The one that a kubeconfig names, behind faults that listen in this network. Objects are made in a namespace of the
    /// scenario's own.
    pub(crate) fn behind(kubeconfig: &Path, network: File, largest_page: Option<u32>, scenario: &str) -> Self {
        let real = Real::connect(kubeconfig, format!("limpet-test-{}-{scenario}", std::process::id()));
        let upstream: Arc<dyn Upstream> = Arc::new(Proxy(real.client.clone()));
        let options = Options {
            network: Some(network),
            port: PORT,
            largest_page,
            upstream: Some(upstream),
            ..Options::default()
        };
        let front = ApiServer::start(options).unwrap();
        let nodes = real.list(Kind::Node);
        let nodes = nodes.iter().map(|node| node["metadata"]["name"].as_str().unwrap().to_owned()).take(2);
        let (namespace, nodes) = (real.namespace.clone(), nodes.collect::<Vec<_>>());
        assert!(!nodes.is_empty(), "the cluster has no nodes");
        Self { front, namespace, nodes, real: Some(real) }
    }

    /// Whether the store is ours, so that faults of it can be made.
    pub(crate) fn is_own(&self) -> bool {
        self.real.is_none()
    }

    /// Makes an object, or changes it.
    pub(crate) fn apply(&self, object: &Value) {
        match &self.real {
            None => drop(self.front.apply(object.clone()).unwrap()),
            Some(real) => real.apply(object),
        }
    }

    /// Removes an object of the scenario's namespace.
    pub(crate) fn delete(&self, kind: Kind, name: &str) {
        match &self.real {
            None => self.front.delete(kind, &self.namespace, name).unwrap(),
            Some(real) => drop(real.ask("DELETE", &kind.path(Some(&self.namespace), Some(name)), None).unwrap()),
        }
    }

    /// All objects of a kind, asked for past all faults.
    pub(crate) fn objects(&self, kind: Kind) -> Vec<Value> {
        match &self.real {
            None => self.front.objects(kind).unwrap(),
            Some(real) => real.list(kind),
        }
    }
}

/// A cluster that is not ours. What was made there is removed on drop, also after a failure.
struct Real {
    client: Client,
    runtime: Runtime,
    namespace: String,
    _turn: MutexGuard<'static, ()>,
}

impl Real {
    fn connect(kubeconfig: &Path, namespace: String) -> Self {
        // A scenario that failed is no reason for the next one to.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            Client::try_from(config).unwrap()
        });
        let real = Self { client, runtime, namespace, _turn: turn };
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": real.namespace}});
        real.ask("POST", &Kind::Namespace.path(None, None), Some(&object)).unwrap();
        real
    }

    fn list(&self, kind: Kind) -> Vec<Value> {
        let list = self.ask("GET", &kind.path(None, None), None).unwrap();
        let items = list["items"].as_array().unwrap().iter().cloned();
        // In a list this is said once for all.
        let with_kind = |mut item: Value| {
            item["kind"] = kind.name().into();
            item["apiVersion"] = kind.api_version().into();
            item
        };
        items.map(with_kind).collect()
    }

    /// Object and status are written by different paths.
    fn apply(&self, object: &Value) {
        let kind = Kind::of(object).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap();
        let path = kind.path(Some(&self.namespace), Some(name));
        match self.ask("POST", &kind.path(Some(&self.namespace), None), Some(object)) {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                self.ask("PATCH", &path, Some(object)).unwrap();
            }
            made => drop(made.unwrap()),
        }
        if !object["status"].is_null() {
            self.ask("PATCH", &format!("{path}/status"), Some(&json!({"status": object["status"]}))).unwrap();
        }
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, kube::Error> {
        let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = hyper::Request::builder().method(method).uri(path).header("content-type", content_type);
        let request = request.body(body.map(Value::to_string).unwrap_or_default().into_bytes()).unwrap();
        self.runtime.block_on(self.client.request(request))
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        if let Err(error) = self.ask("DELETE", &Kind::Namespace.path(None, Some(&self.namespace)), None) {
            eprintln!("cannot remove the namespace {}: {error}; remove it by hand", self.namespace);
        }
    }
}

/// Passes requests on to a cluster, as whoever the kubeconfig says.
struct Proxy(Client);

impl Upstream for Proxy {
    fn answer(&self, request: hyper::Request<hyper::body::Bytes>) -> Answer {
        let client = self.0.clone();
        Box::pin(async move {
            match client.send(request.map(kube::client::Body::from)).await {
                Ok(response) => {
                    response.map(|body| api_server::Body::new(http_body_util::BodyExt::map_err(body, Into::into)))
                }
                Err(error) => Refusal::new(hyper::StatusCode::BAD_GATEWAY, format!("no answer: {error}")).response(),
            }
        })
    }
}
