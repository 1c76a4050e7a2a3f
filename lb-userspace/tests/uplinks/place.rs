//! A network namespace and pins of one test's own, and an agent there.
//!
//! The namespace has no name: it ends, with its devices, when nothing holds it any more. The pins are removed on drop.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use aya::maps::{Array, Map, MapData};
use lb_common::layout::Config;
use lb_userspace::dataplane::{Pins, Pod};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use tempfile::TempDir;

use crate::enter::enter;

/// A device that nothing is sent on.
pub(crate) const UPLINK: &str = "limpet0";
/// How long anything may take that a test waits for: less than the agent's pause between looks without a reason.
const LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);
/// Room for little, so that starting is quick.
const LIMITS: [&str; 12] = [
    "--max-flows",
    "1024",
    "--max-slots",
    "65536",
    "--max-backends",
    "64",
    "--max-services",
    "16",
    "--max-frontends",
    "16",
    "--max-nodes",
    "8",
];

/// Where a test runs.
pub(crate) struct Place {
    network: File,
    directory: TempDir,
    pins: Pins,
    agent: Option<Child>,
}

impl Place {
    /// A new one without any device. Only root may make a network namespace.
    pub(crate) fn new(test: &str) -> Self {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        Self::in_network(test, made.join().unwrap().unwrap())
    }

    /// One with the devices of another.
    pub(crate) fn beside(test: &str, other: &Self) -> Self {
        Self::in_network(test, other.network.try_clone().unwrap())
    }

    fn in_network(test: &str, network: File) -> Self {
        let pins = Pins::new(format!("/sys/fs/bpf/limpet-uplinks-{}-{test}", std::process::id()));
        let directory = tempfile::Builder::new().prefix("limpet-uplinks-").tempdir().unwrap();
        let place = Self { network, directory, pins, agent: None };
        fs::create_dir(place.path("manifests")).unwrap();
        place.touch_source();
        place
    }

    /// A path in a directory that goes away with the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The names of the pinned links, in order.
    pub(crate) fn links(&self) -> Vec<String> {
        self.pins.link_names().unwrap()
    }

    /// What the programs are told of the node.
    pub(crate) fn config(&self) -> Config {
        let map = Map::Array(MapData::from_pin(self.pins.maps().join("CONFIG")).unwrap());
        Array::<_, Pod<Config>>::try_from(map).unwrap().get(&0, 0).unwrap().0
    }

    /// Makes a device that is up.
    pub(crate) fn add_device(&self, name: &str) {
        self.ip_batch(&format!("link add {name} type veth\nlink set {name} up\n"));
    }

    /// Runs `ip` here and returns what it printed.
    pub(crate) fn ip(&self, arguments: &[&str]) -> String {
        let output = enter(&self.network, Command::new("ip").args(arguments)).output().unwrap();
        assert!(output.status.success(), "ip {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs many `ip` commands, one right after the other.
    pub(crate) fn ip_batch(&self, lines: &str) {
        let mut command = Command::new("ip");
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = enter(&self.network, &mut command).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{lines}: {output:?}");
    }

    /// The kernel's number of a device.
    pub(crate) fn index(&self, device: &str) -> u32 {
        u32::try_from(self.link(device)["ifindex"].as_u64().unwrap()).unwrap()
    }

    /// Whether a device has an XDP program.
    pub(crate) fn has_xdp(&self, device: &str) -> bool {
        self.link(device)["xdp"]["prog"]["id"].is_u64()
    }

    fn link(&self, device: &str) -> Value {
        let mut links: Value = serde_json::from_str(&self.ip(&["-j", "link", "show", "dev", device])).unwrap();
        links[0].take()
    }

    /// Writes the manifests again, which the agent takes for a change.
    pub(crate) fn touch_source(&self) {
        let node = "{apiVersion: v1, kind: Node, metadata: {name: n1}}\n";
        fs::write(self.path("manifests/node.yaml"), node).unwrap();
    }

    /// Starts an agent on these uplinks and waits until all is well with it.
    pub(crate) fn start_agent(&mut self, uplinks: &[&str]) {
        self.spawn_agent(uplinks);
        self.until_well();
    }

    /// Starts an agent on these uplinks.
    pub(crate) fn spawn_agent(&mut self, uplinks: &[&str]) {
        assert!(self.agent.is_none());
        self.agent = Some(self.agent_command(uplinks).spawn().unwrap());
    }

    /// Runs an agent that is to end by itself, and returns what it said.
    pub(crate) fn agent_that_ends(&self, uplinks: &[&str]) -> String {
        let mut agent = self.agent_command(uplinks).spawn().unwrap();
        let start = Instant::now();
        let ended = loop {
            match agent.try_wait().unwrap() {
                None if start.elapsed() < LIMIT => thread::sleep(PAUSE),
                ended => break ended,
            }
        };
        if ended.is_none() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
        assert_eq!(ended.and_then(|status| status.code()), Some(1), "{}", self.log());
        self.log()
    }

    fn agent_command(&self, uplinks: &[&str]) -> Command {
        let source = format!("dir:{}", self.path("manifests").display());
        let mut command = self.command(&["agent", "--source", &source, "--node", "n1"]);
        command.args(LIMITS).args(["--uplink", &uplinks.join(",")]);
        command.stdout(Stdio::null()).stderr(File::create(self.path("agent.log")).unwrap());
        command
    }

    /// Kills the agent; its datapath stays.
    pub(crate) fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    /// Runs `limpet` here to its end.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The same: its exit code, and what it said on standard error.
    pub(crate) fn limpet(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.output(arguments);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// What `limpet status` says.
    pub(crate) fn status(&self) -> Value {
        let output = self.command(&["status", "-o", "json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// Waits until the agent says that all is well.
    pub(crate) fn until_well(&self) {
        self.until("all to be well", |place| place.limpet(&["status"]).0 == Some(0));
    }

    /// Waits until a condition is met.
    pub(crate) fn until(&self, what: &str, mut is_met: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !is_met(self) {
            assert!(start.elapsed() < LIMIT, "waited for {what}: {:#}\n{}", self.status(), self.log());
            thread::sleep(PAUSE);
        }
    }

    /// What the agent wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap()
    }

    /// The socket is this place's unless the arguments name another.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_limpet"));
        command.env_clear().args(arguments).arg("--pin-dir").arg(self.pins.root()).stdin(Stdio::null());
        if !arguments.contains(&"--socket") {
            command.arg("--socket").arg(self.path("agent.sock"));
        }
        enter(&self.network, &mut command);
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.kill_agent();
        let removed = self.pins.remove();
        assert!(removed.is_ok() || thread::panicking(), "{removed:?}");
    }
}
