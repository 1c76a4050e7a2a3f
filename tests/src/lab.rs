//! A running lab: what is in it, and changing it.

mod agents;
mod faults;
mod flood;
mod options;
mod programmed;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use nix::unistd::geteuid;
use serde_json::Value;

use crate::address::{self, CLIENTS, Family, NODES};
use crate::agent::Agent;
use crate::api_server::{self, ApiServer};
use crate::binaries;
use crate::client::Client;
use crate::janitor::Janitor;
use crate::launch::{Launch, Output, Running, launch};
use crate::manifest::Manifests;
use crate::net::namespace::Namespace;
use crate::net::topology::{self, Names};
use crate::record::Record;
use crate::server;
use crate::world::{Pod, PodState, ServiceSpec, World};

pub use self::agents::Layout;
pub use self::options::{Options, Source};

/// How many Pods every node has to begin with.
const PODS_PER_NODE: u8 = 2;

/// A network of clients, nodes and Pods, taken down when it is dropped.
#[derive(Debug)]
pub struct Lab {
    id: String,
    names: Names,
    record: Record,
    /// Gone when the lab was kept or has been taken down.
    janitor: Option<Janitor>,
    manifests: Manifests,
    world: World,
    servers: BTreeMap<String, Running>,
    agents: Vec<Agent>,
}

impl Lab {
    /// Builds a lab with two Pods on each node, no Services, and load-balancer IPs and external
    /// IPs routed to node 1. With agents, returns when all of them are in step.
    ///
    /// Fails without root, without `ip` and `ethtool`, and with agents also without a BPF file
    /// system or a built `limpet`; what was made until then is taken away.
    pub fn start(options: Options) -> Result<Self> {
        ensure!(geteuid().is_root(), "the lab makes network namespaces, which only root may do; run this as root");
        let limpet = options.agents.then(binaries::limpet).transpose()?;
        let (id, record) = Record::create()?;
        // From here on the janitor takes everything down, however this process ends.
        let janitor = Janitor::start(record.path())?;
        let directory = record.directory().to_owned();
        let mut lab = Self {
            names: Names::new(&id),
            janitor: Some(janitor),
            manifests: Manifests::in_directories(directory.join("manifests"), directory.join("staging")),
            world: World::default(),
            servers: BTreeMap::new(),
            agents: Vec::new(),
            record,
            id,
        };
        for part in ["manifests", "staging", "logs"] {
            lab.record.make_directory(&directory.join(part))?;
        }
        (options.progress)("namespaces, wires and routes");
        topology::build(&lab.names, &lab.record)?;
        lab.route_frontends_via(1)?;
        if options.source == Source::ApiServer {
            (options.progress)("an API server");
            lab.start_api_server()?;
        }
        (options.progress)("Pods and their servers");
        let wanted: Vec<u8> = (1..=NODES).flat_map(|node| [node].repeat(PODS_PER_NODE.into())).collect();
        lab.add_pods(&wanted)?;
        for node in 1..=NODES {
            lab.manifests.write_node(&lab.world, node)?;
        }
        if let Some(limpet) = limpet {
            (options.progress)("an agent on each node");
            lab.add_agents(&limpet, &options.agent_arguments, &options.agent_environment)?;
        }
        Ok(lab)
    }

    /// The lab's id, which the names of all its things begin with, after `limpet-lab-`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory with the record, logs and manifests.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.record.directory()
    }

    /// What Kubernetes would know.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The directory that the agents read.
    #[must_use]
    pub fn manifests(&self) -> &Manifests {
        &self.manifests
    }

    /// A client, numbered from 1.
    #[must_use]
    pub fn client(&self, number: u8) -> Client {
        Client::new(self.names.client(number), number)
    }

    /// A node's namespace, numbered from 1.
    #[must_use]
    pub fn node(&self, number: u8) -> Namespace {
        self.names.node(number)
    }

    /// A client's namespace, numbered from 1.
    #[must_use]
    pub fn client_namespace(&self, number: u8) -> Namespace {
        self.names.client(number)
    }

    /// The names of every namespace of the lab that is there by itself.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Namespace> {
        [self.names.outer(), self.names.router()]
            .into_iter()
            .chain((1..=CLIENTS).map(|number| self.names.client(number)))
            .chain((1..=NODES).map(|number| self.names.node(number)))
            .chain(self.world.pods().map(|pod| self.names.pod(pod.name())))
            .collect()
    }

    /// Makes a node the ingress node: the router sends load-balancer IPs and external IPs there.
    pub fn route_frontends_via(&self, node: u8) -> Result<()> {
        topology::route_frontends_via(&self.names, node)
    }

    /// Gives a client an ingress node of its own, whatever [`Lab::route_frontends_via`] says; none takes that back.
    pub fn route_client_via(&self, client: u8, node: Option<u8>) -> Result<()> {
        topology::route_client_via(&self.names, client, node)
    }

    /// Gives what comes from these ranges an ingress node of its own, whatever the way of its client is.
    pub(crate) fn route_sources_via(&self, node: u8, ranges: &[String]) -> Result<()> {
        topology::route_sources_via(&self.names, ranges, node)
    }

    /// Gives a node's uplink another address, which clients find.
    pub fn add_node_address(&self, node: u8, address: IpAddr) -> Result<()> {
        topology::set_node_address(&self.names, node, address, true)
    }

    /// Takes an address back that [`Lab::add_node_address`] gave.
    pub fn remove_node_address(&self, node: u8, address: IpAddr) -> Result<()> {
        topology::set_node_address(&self.names, node, address, false)
    }

    /// The namespace of a Pod.
    pub fn pod_namespace(&self, pod: &str) -> Result<Namespace> {
        Ok(self.names.pod(self.world.pod(pod)?.name()))
    }

    /// Adds a Pod on a node, with a running server, and returns its name. It is behind no Service.
    pub fn add_pod(&mut self, node: u8) -> Result<String> {
        let mut names = self.add_pods(&[node])?;
        names.pop().context("no Pod was added")
    }

    /// Adds a Pod on each of these nodes; the same as [`Lab::add_pod`] for each, but faster.
    pub fn add_pods(&mut self, nodes: &[u8]) -> Result<Vec<String>> {
        let pods = nodes.iter().map(|node| self.world.plan_pod(*node, None)).collect::<Result<Vec<Pod>>>()?;
        self.make_pods(pods)
    }

    /// Adds a Pod of this name, as a StatefulSet does: a name that was used before may come back.
    pub fn add_pod_named(&mut self, node: u8, name: &str) -> Result<()> {
        self.add_pods_named(&[(node, name)])
    }

    /// The same for several, but faster.
    pub fn add_pods_named(&mut self, pods: &[(u8, &str)]) -> Result<()> {
        let plan = |(node, name): &(u8, &str)| self.world.plan_pod(*node, Some(name));
        let pods = pods.iter().map(plan).collect::<Result<Vec<Pod>>>()?;
        self.make_pods(pods)?;
        Ok(())
    }

    /// Takes a Pod out of all Services. It goes on serving.
    pub fn withdraw_pod(&mut self, name: &str) -> Result<()> {
        let changed = self.world.withdraw_pod(name);
        self.write_services(&changed)
    }

    /// Takes a Pod out of all Services, then ends its server and removes it.
    pub fn remove_pod(&mut self, name: &str) -> Result<()> {
        self.withdraw_pod(name)?;
        self.crash_pod(name)?;
        self.world.forget_pod(name);
        Ok(())
    }

    /// Ends a Pod's server and removes its network without a word to Kubernetes.
    pub fn crash_pod(&mut self, name: &str) -> Result<()> {
        let pod = self.world.pod(name)?.clone();
        let server = self.servers.remove(name);
        server.with_context(|| format!("Pod {name} has no server any more"))?.kill()?;
        topology::remove_pod(&self.names, &pod)
    }

    /// Changes what Kubernetes says about a Pod.
    pub fn set_pod_state(&mut self, name: &str, state: PodState) -> Result<()> {
        self.world.set_pod_state(name, state)?;
        self.write_services(&self.world.services_with(name))
    }

    /// Says more about a Pod's endpoints: merged into those that the lab writes (RFC 7396), in place of what was said so
    /// before.
    pub fn patch_endpoint(&mut self, pod: &str, patch: Option<Value>) -> Result<()> {
        self.world.patch_endpoint(pod, patch)?;
        self.write_services(&self.world.services_with(pod))
    }

    /// Says more about a node: merged into the object that the lab writes (RFC 7396), in place of what was said so before.
    pub fn patch_node(&mut self, node: u8, patch: Option<Value>) -> Result<()> {
        self.world.patch_node(node, patch);
        self.manifests.write_node(&self.world, node)
    }

    /// Adds a Service, or changes the one of this name.
    pub fn put_service(&mut self, spec: ServiceSpec) -> Result<()> {
        let name = spec.name.clone();
        self.world.put_service(spec)?;
        self.manifests.write_service(&self.world, &name)
    }

    /// Removes a Service. Its Pods stay.
    pub fn remove_service(&mut self, name: &str) -> Result<()> {
        self.world.forget_service(name);
        self.manifests.remove_service(name)
    }

    /// Brings a Service to this number of Pods: new ones go to the nodes in turn, and the ones
    /// that joined last are removed first.
    pub fn scale(&mut self, service: &str, pods: usize) -> Result<()> {
        let mut spec = self.world.service(service)?.spec().clone();
        let surplus = spec.pods.split_off(pods.min(spec.pods.len()));
        let missing = pods - spec.pods.len();
        let nodes: Vec<u8> = (1..=NODES).cycle().take(missing).collect();
        spec.pods.extend(self.add_pods(&nodes)?);
        self.put_service(spec)?;
        surplus.iter().try_for_each(|pod| self.remove_pod(pod))
    }

    /// Leaves the lab as it is when this process ends. [`tear_down_abandoned`] ends it later.
    ///
    /// [`tear_down_abandoned`]: crate::tear_down_abandoned
    pub fn keep(mut self) -> Result<()> {
        self.janitor.take().map_or(Ok(()), Janitor::dismiss)
    }

    /// Takes the lab down, as dropping it does, and says whether all of it is gone.
    pub fn end(mut self) -> Result<()> {
        self.tear_down()
    }

    fn tear_down(&mut self) -> Result<()> {
        let Some(janitor) = self.janitor.take() else {
            return Ok(());
        };
        let outcome = janitor.tear_down(self.record.path());
        // The janitor ended them, but only their parent can reap them.
        for agent in &mut self.agents {
            agent.reap();
        }
        for server in self.servers.values_mut() {
            let _status = server.child.wait();
        }
        outcome
    }

    fn make_pods(&mut self, pods: Vec<Pod>) -> Result<Vec<String>> {
        topology::add_pods(&self.names, &self.record, &pods)?;
        let mut started = Vec::new();
        for pod in &pods {
            started.push(self.start_server(pod)?);
        }
        let mut names = Vec::new();
        for (pod, mut server) in pods.into_iter().zip(started) {
            wait_until_ready(&mut server, &pod)?;
            self.servers.insert(pod.name().to_owned(), server);
            names.push(pod.name().to_owned());
            self.world.insert_pod(pod);
        }
        Ok(names)
    }

    fn start_api_server(&mut self) -> Result<()> {
        let path = self.names.router().path();
        let network = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let options = api_server::Options {
            network: Some(network),
            address: address::router(Family::V4),
            ..api_server::Options::default()
        };
        let server = ApiServer::start(options)?;
        let kubeconfig = self.directory().join("kubeconfig");
        server.kubeconfig(&kubeconfig)?;
        self.manifests.read_from(Arc::new(server), kubeconfig);
        Ok(())
    }

    fn start_server(&self, pod: &Pod) -> Result<Running> {
        let name = pod.name();
        let log = self.directory().join("logs").join(format!("pod-{name}.log"));
        launch(
            &self.record,
            Launch {
                namespace: &self.names.pod(name),
                what: format!("the server of Pod {name}"),
                program: binaries::limpet_lab()?,
                arguments: vec!["serve".into(), "--pod".into(), name.into()],
                variables: &[],
                log: &log,
                output: Output::Owner,
            },
        )
    }

    fn write_services(&self, names: &[String]) -> Result<()> {
        names.iter().try_for_each(|name| self.manifests.write_service(&self.world, name))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.tear_down() {
            eprintln!("error: {error:#}");
        }
    }
}

/// The server says so on its output, which ends when the server does.
fn wait_until_ready(server: &mut Running, pod: &Pod) -> Result<()> {
    let mut read = || {
        let output = server.child.stdout.take().context("there is no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("cannot read its output")?;
        ensure!(line.trim() == server::READY, "it ended; its log says why");
        Ok(())
    };
    read().with_context(|| format!("the server of Pod {} did not come up", pod.name()))
}
