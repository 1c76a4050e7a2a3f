//! A network namespace and pins of one scenario's own, its cluster, and an agent there that follows it.
//!
//! The namespace has no name: it ends, with its devices, when nothing holds it any more. The pins are removed on drop.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use lb_userspace::{
    dataplane::{self, Maps, Pins, Sizes},
    model::{self, NodePortAddresses},
    plan::{Applied, Limits, Write as Step, plan},
};
use limpet_lab::api_server::{ApiServer, Fault, Kind, Verb};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    cluster::{Cluster, VARIABLE},
    enter::enter,
    objects,
};

/// A device that nothing is sent on.
const UPLINK: &str = "limpet0";
/// How long anything may take that a scenario waits for: the agent's longest pause between attempts, the minute for which
/// kube's client keeps a token that it read from a file, and some time to do the work.
const LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);
/// Room for little, so that starting is quick.
const SIZES: Sizes = Sizes {
    flows: 1024,
    clients: 1024,
    slots: 65_536,
    backends: 256,
    services: 64,
    frontends: 64,
    source_ranges: 64,
    nodes: 8,
};
const TUNNEL_PORT: u16 = 6181;

/// Where a scenario runs.
pub(crate) struct Place {
    pub(crate) cluster: Cluster,
    network: File,
    directory: TempDir,
    pins: Pins,
    sizes: Sizes,
    agent: Option<Child>,
}

impl Place {
    /// One with a cluster of our own, or the real one that the environment names; its lists come in pages of at most this
    /// size.
    pub(crate) fn new(scenario: &str, largest_page: Option<u32>) -> Self {
        let real = env::var_os(VARIABLE).map(PathBuf::from);
        Self::beside(scenario, largest_page, real.as_deref())
    }

    /// One with the cluster that a kubeconfig names, or one of our own. Only root may make a network namespace.
    pub(crate) fn beside(scenario: &str, largest_page: Option<u32>, kubeconfig: Option<&Path>) -> Self {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let network = made.join().unwrap().unwrap();
        enter(&network, Command::new("ip").args(["link", "set", "lo", "up"])).status().unwrap();
        let for_server = network.try_clone().unwrap();
        let cluster = match kubeconfig {
            None => Cluster::own(for_server, largest_page),
            Some(path) => Cluster::behind(path, for_server, largest_page, scenario),
        };
        // A real cluster has other objects as well.
        let sizes = if cluster.is_own() { SIZES } else { Sizes { flows: 1024, clients: 1024, ..Sizes::default() } };
        let through = if cluster.is_own() { "own" } else { "real" };
        let pins = Pins::new(format!("/sys/fs/bpf/limpet-kube-{}-{through}-{scenario}", std::process::id()));
        let directory = tempfile::Builder::new().prefix("limpet-kube-").tempdir().unwrap();
        let place = Self { cluster, network, directory, pins, sizes, agent: None };
        place.ip(&["link", "add", UPLINK, "type", "veth"]);
        place.ip(&["link", "set", UPLINK, "up"]);
        place.front().kubeconfig(&place.kubeconfig()).unwrap();
        place
    }

    /// What the agent speaks to.
    pub(crate) fn front(&self) -> &ApiServer {
        &self.cluster.front
    }

    /// Makes something go wrong.
    pub(crate) fn fault(&self, fault: Fault) {
        self.front().fault(fault).unwrap();
    }

    /// Ends what goes wrong.
    pub(crate) fn heal(&self) {
        self.front().heal().unwrap();
    }

    /// A path in a directory that goes away with the scenario.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The agent's.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// Makes a Service with these Pods, or gives it others.
    pub(crate) fn serve(&self, service: u8, pods: &[u8]) {
        let namespace = &self.cluster.namespace;
        self.cluster.apply(&objects::service(namespace, service));
        self.cluster.apply(&objects::slice(namespace, service, pods, &self.cluster.nodes));
    }

    /// Removes a Service and its Pods.
    pub(crate) fn withdraw(&self, service: u8) {
        self.cluster.delete(Kind::Service, &objects::name(service));
        self.cluster.delete(Kind::EndpointSlice, &objects::name(service));
    }

    /// How often this was asked.
    pub(crate) fn asked(&self, verb: Verb, kind: Kind) -> usize {
        self.front().asked().iter().filter(|asked| asked.what == Some((verb, kind))).count()
    }

    /// Starts an agent.
    pub(crate) fn start_agent(&mut self) {
        assert!(self.agent.is_none());
        let kubeconfig = self.kubeconfig();
        let node = self.cluster.nodes[0].clone();
        let mut command = self.command(&["agent", "--source", "kube", "--node", &node, "--uplink", UPLINK]);
        command.arg("--kubeconfig").arg(kubeconfig).args(["--health-address", "none", "--metrics-address", "none"]);
        for (flag, size) in [
            ("--max-flows", self.sizes.flows),
            ("--max-clients", self.sizes.clients),
            ("--max-slots", self.sizes.slots),
            ("--max-backends", self.sizes.backends),
            ("--max-services", self.sizes.services),
            ("--max-frontends", self.sizes.frontends),
            ("--max-source-ranges", self.sizes.source_ranges),
            ("--max-nodes", self.sizes.nodes),
        ] {
            command.args([flag, &size.to_string()]);
        }
        let log = File::options().create(true).append(true).open(self.path("agent.log")).unwrap();
        self.agent = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// Kills the agent; its datapath stays.
    pub(crate) fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    /// The agent's state; null while it does not say.
    pub(crate) fn agent(&self) -> Value {
        self.status()["agent"].take()
    }

    /// What `limpet status` says.
    pub(crate) fn status(&self) -> Value {
        let output = self.command(&["status", "-o", "json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// What `limpet status` says to people.
    pub(crate) fn status_text(&self) -> String {
        let output = self.command(&["status"]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// What is programmed; none while there are no maps.
    pub(crate) fn applied(&self) -> Option<Applied> {
        let maps = Maps::open(&self.pins).ok()?;
        Some(dataplane::read(&maps, 0).unwrap())
    }

    /// The Services of the scenarios that are programmed, by their load-balancer IPs.
    pub(crate) fn served(&self) -> Vec<u8> {
        let frontends = self.applied().map(|applied| applied.frontends).unwrap_or_default();
        let services = frontends.keys().filter_map(|key| match key.address {
            IpAddr::V4(address) => objects::service_of(address),
            IpAddr::V6(_) => None,
        });
        services.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether nothing of any Service is programmed, and no program is on the uplink.
    pub(crate) fn has_nothing(&self) -> bool {
        let is_empty = |applied: Applied| {
            applied.frontends.is_empty() && applied.services.is_empty() && applied.backends.is_empty()
        };
        let link = self.ip(&["link", "show", "dev", UPLINK]);
        self.applied().is_none_or(is_empty) && !link.contains("xdp")
    }

    /// The steps from what is programmed to what the objects mean now; none when both are the same.
    ///
    /// What was taken away with a time of grace is not among them: read back, everything that is gone counts as gone just
    /// now, and the plan is for the same moment. All else that should not be there would be a step to remove it.
    pub(crate) fn missing_steps(&self, is_sound: impl Fn(&Value) -> bool) -> Vec<Step> {
        let snapshot = objects::snapshot(|kind| self.cluster.objects(kind), is_sound);
        let options = model::Options {
            node: self.cluster.nodes[0].clone(),
            tunnel_port: TUNNEL_PORT,
            service_class: None,
            service_proxy_name: None,
            node_port_addresses: NodePortAddresses::Primary,
            local_addresses: Vec::new(),
        };
        let (desired, _) = model::desired(&snapshot, &options);
        assert!(desired.complete, "what is not in the objects would not be missed");
        let applied = self.applied().unwrap_or_default();
        plan(&applied, &desired, 0, &Limits::from(&self.sizes)).writes
    }

    /// Waits until the agent says that it is in step and follows the cluster, and the maps are what the objects mean.
    pub(crate) fn until_in_step(&self) {
        self.until_in_step_with(|_| true);
    }

    /// The same, with the objects that this holds for.
    pub(crate) fn until_in_step_with(&self, is_sound: impl Fn(&Value) -> bool) {
        let mut missing = Vec::new();
        self.until_or("the datapath to be in step with the final objects", |place| {
            missing = place.missing_steps(&is_sound);
            let agent = place.agent();
            let is_well = agent["in_step"] == true
                && agent["source"]["connected"] == true
                && agent["source"]["complete"] == true
                && missing.is_empty();
            if is_well { Ok(()) } else { Err(format!("{missing:?}")) }
        });
    }

    /// Waits until a condition is met.
    pub(crate) fn until(&self, what: &str, mut is_met: impl FnMut(&Self) -> bool) {
        self.until_or(what, |place| if is_met(place) { Ok(()) } else { Err("not yet".to_owned()) });
    }

    fn until_or(&self, what: &str, mut look: impl FnMut(&Self) -> Result<(), String>) {
        let start = Instant::now();
        while let Err(reason) = look(self) {
            let log = || fs::read_to_string(self.path("agent.log")).unwrap_or_default();
            assert!(start.elapsed() < LIMIT, "waited for {what}: {reason}\n{:#}\n{}", self.status(), log());
            thread::sleep(PAUSE);
        }
    }

    /// Runs `ip` here and returns what it printed.
    fn ip(&self, arguments: &[&str]) -> String {
        let output = enter(&self.network, Command::new("ip").args(arguments)).output().unwrap();
        assert!(output.status.success(), "ip {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_limpet"));
        command.env_clear().args(arguments).stdin(Stdio::null());
        command.arg("--pin-dir").arg(self.pins.root()).arg("--socket").arg(self.path("agent.sock"));
        enter(&self.network, &mut command);
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.kill_agent();
        let removed = self.pins.remove();
        if thread::panicking() {
            let log = fs::read_to_string(self.path("agent.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            // A test that has failed says why.
            let _ = writeln!(io::stderr(), "the agent's log:\n{tail}");
        } else {
            assert!(removed.is_ok(), "{removed:?}");
        }
    }
}
