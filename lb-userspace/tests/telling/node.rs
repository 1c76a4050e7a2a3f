//! A node of one test's own: a network namespace that the test's thread is in, pins, and an agent.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::unix::process::CommandExt,
    panic::resume_unwind,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use lb_userspace::dataplane::{Loaded, Pins, Sizes, Switches, load};
use nix::{
    sched::{CloneFlags, unshare},
    sys::{prctl::set_pdeathsig, signal::Signal},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::openmetrics::{self, Family};

/// Where the agent tells of its health, and where of its counters.
pub(crate) const HEALTH: u16 = 6182;
pub(crate) const METRICS: u16 = 6183;
/// How long anything may take that a test waits for: more than two walks through the maps are apart.
const LIMIT: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(20);
/// Room for little, so that starting is quick.
const SIZES: Sizes = Sizes {
    flows: 1024,
    clients: 1024,
    slots: 16_384,
    backends: 64,
    services: 16,
    frontends: 4,
    source_ranges: 8,
    nodes: 8,
};

/// The node. Whatever the test starts here is in its namespace.
pub(crate) struct Node {
    directory: TempDir,
    pins: Pins,
    agent: Option<Child>,
}

/// An answer over HTTP, in parts.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Runs a test in a network namespace that ends with it, with an uplink on which nothing is sent.
pub(crate) fn with_node(test: &'static str, work: impl FnOnce(&mut Node) + Send + 'static) {
    let alone = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("this test makes a network namespace: run it as root");
        for line in ["link set lo up", "link add limpet0 type veth", "link set limpet0 up"] {
            assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "{line}");
        }
        let pins = Pins::new(format!("/sys/fs/bpf/limpet-telling-{}-{test}", std::process::id()));
        let directory = tempfile::Builder::new().prefix("limpet-telling-").tempdir().unwrap();
        fs::create_dir(directory.path().join("manifests")).unwrap();
        work(&mut Node { directory, pins, agent: None });
    };
    thread::spawn(alone).join().unwrap_or_else(|panic| resume_unwind(panic));
}

impl Node {
    /// A path in a directory that goes away with the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the agent is to follow, all of it.
    pub(crate) fn apply(&self, manifests: &str) {
        // Renamed into its place, so that nobody reads half of it.
        fs::write(self.path("all.tmp"), manifests).unwrap();
        fs::rename(self.path("all.tmp"), self.path("manifests/all.yaml")).unwrap();
    }

    /// Starts an agent that follows the manifests.
    pub(crate) fn start_agent(&mut self) {
        let source = format!("dir:{}", self.path("manifests").display());
        self.start_agent_with(&["--source", &source]);
    }

    /// Starts an agent with these arguments.
    pub(crate) fn start_agent_with(&mut self, arguments: &[&str]) {
        let Sizes { flows, clients, slots, backends, services, frontends, source_ranges, nodes } = SIZES;
        let limits = format!(
            "--max-flows {flows} --max-clients {clients} --max-slots {slots} --max-backends {backends} --max-services \
             {services} --max-frontends {frontends} --max-source-ranges {source_ranges} --max-nodes {nodes}"
        );
        let mut command = self.command(&["agent", "--node", "n1", "--uplink", "limpet0"]);
        command.args(limits.split(' ')).args(arguments);
        command.stdout(Stdio::null()).stderr(File::create(self.path("agent.log")).unwrap());
        // An agent must not outlive a test that was killed.
        let prepare = || set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from);
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        let command = unsafe { command.pre_exec(prepare) };
        self.agent = Some(command.spawn().unwrap());
    }

    /// The programs once more, on the agent's maps.
    pub(crate) fn programs(&self) -> Loaded {
        load(&SIZES, Some(&self.pins), Switches::default()).unwrap()
    }

    /// What `limpet status` says of the agent.
    pub(crate) fn status(&self) -> Value {
        let output = self.command(&["status", "-o", "json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// Asks a port of this node; none while nobody answers there.
    pub(crate) fn ask(&self, port: u16, path: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let code = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { code, head: head.to_lowercase(), body: body.to_owned() })
    }

    /// The code of an answer; 0 while nobody answers.
    pub(crate) fn code(&self, port: u16, path: &str) -> u16 {
        self.ask(port, path).map_or(0, |answer| answer.code)
    }

    /// What `/metrics` says now, which must be what a scraper takes.
    pub(crate) fn scrape(&self) -> Scrape {
        let answer = self.ask(METRICS, "/metrics").expect("the agent answers");
        assert_eq!(answer.code, 200, "{}", answer.body);
        let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert!(answer.head.contains(kind), "{}", answer.head);
        let families = openmetrics::parse(&answer.body);
        Scrape(families.unwrap_or_else(|wrong| panic!("{wrong}:\n{}", answer.body)))
    }

    /// Waits until a condition is met.
    pub(crate) fn until(&self, what: &str, mut is_met: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !is_met(self) {
            assert!(start.elapsed() < LIMIT, "waited for {what}: {:#}\n{}", self.status(), self.log());
            thread::sleep(PAUSE);
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_limpet"));
        command.env_clear().args(arguments).arg("--pin-dir").arg(self.pins.root()).stdin(Stdio::null());
        command.arg("--socket").arg(self.path("agent.sock"));
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
        let removed = self.pins.remove();
        assert!(removed.is_ok() || thread::panicking(), "{removed:?}");
    }
}

/// What a scrape said.
#[derive(Debug)]
pub(crate) struct Scrape(std::collections::BTreeMap<String, Family>);

impl Scrape {
    /// The value of the one series of this name and these labels; none where there is none.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let samples = self.0.values().flat_map(|family| &family.samples).filter(|sample| sample.name == name);
        let found: Vec<f64> = samples.filter(|sample| sample.has(labels)).map(|sample| sample.value).collect();
        assert!(found.len() < 2, "{name} {labels:?} is not one: {found:?}");
        found.first().copied()
    }
}
