//! A node for one test: a network of its own with an uplink, and containers on it.
//!
//! The test's thread is moved into the network, so that what it starts is there; the network ends with the test.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use limpet_lab::wait;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A device with an Ethernet header that nothing is sent on.
const UPLINK: &str = "limpet0";
/// How long a command, or the start of an agent, may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Room for little, so that starting is quick.
const LIMITS: &str =
    "--max-flows 1024 --max-slots 4096 --max-backends 64 --max-services 16 --max-frontends 16 --max-nodes 8";
/// Capabilities by their numbers in the kernel's linux/capability.h.
const CAPABILITIES: [(&str, u32); 3] = [("NET_ADMIN", 12), ("PERFMON", 38), ("BPF", 39)];

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; none after a signal.
    pub(crate) code: Option<i32>,
    /// Standard output and standard error together.
    pub(crate) said: String,
}

/// Runs `limpet` as root with all rights, where the test's thread is, to its end.
pub(crate) fn limpet(arguments: &[&str]) -> Ended {
    let mut command = Command::new(program());
    let output = command.env_clear().args(arguments).stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Ended { code: output.status.code(), said: String::from_utf8(said).unwrap() }
}

/// The node.
pub(crate) struct Node {
    directory: TempDir,
    pins: PathBuf,
}

impl Node {
    /// A new one, with the test's thread on it.
    pub(crate) fn new(test: &str) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        for arguments in [
            &["link", "add", UPLINK, "type", "veth", "peer", "name", "limpet1"][..],
            &["link", "set", UPLINK, "up"],
            &["link", "set", "limpet1", "up"],
        ] {
            assert!(Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
        }
        let directory = tempfile::Builder::new().prefix("limpet-deploy-").tempdir().unwrap();
        fs::create_dir(directory.path().join("manifests")).unwrap();
        let node = "{apiVersion: v1, kind: Node, metadata: {name: n1}}\n";
        fs::write(directory.path().join("manifests/node.yaml"), node).unwrap();
        let pins = PathBuf::from(format!("/sys/fs/bpf/limpet-deploy-{}-{test}", std::process::id()));
        Self { directory, pins }
    }

    /// Where maps and links are pinned.
    pub(crate) fn pins(&self) -> &Path {
        &self.pins
    }

    /// The names of the pinned links.
    pub(crate) fn links(&self) -> Vec<String> {
        let versions = fs::read_dir(&self.pins).into_iter().flatten();
        let links = versions.flat_map(|version| fs::read_dir(version.unwrap().path().join("links")).unwrap());
        let mut names: Vec<String> = links.map(|link| link.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Starts the agent, and waits until `limpet status`, run as `kubectl exec` would, is content.
    pub(crate) fn start_agent(&self, capabilities: &[String]) -> Container {
        let source = format!("dir:{}", self.directory.path().join("manifests").display());
        let mut arguments = vec!["agent", "--source", &source, "--node", "n1", "--uplink", UPLINK];
        // Ports of the machine's own are nobody's to take in a test.
        arguments.extend(["--health-address", "none", "--metrics-address", "none"]);
        arguments.extend(LIMITS.split(' '));
        let agent = self.start(capabilities, &arguments);
        let content = || Ok(self.run(capabilities, &["status"]).code == Some(0));
        let ready = wait::until_true("the agent to be in step", LIMIT, content);
        assert!(ready.is_ok(), "{ready:?}: {} {:?}", agent.said(), self.run(capabilities, &["status"]));
        agent
    }

    /// Runs a container to its end.
    pub(crate) fn run(&self, capabilities: &[String], arguments: &[&str]) -> Ended {
        self.start(capabilities, arguments).wait(LIMIT)
    }

    /// Starts a container: `limpet` as the first process of a process namespace, as root with these capabilities.
    pub(crate) fn start(&self, capabilities: &[String], arguments: &[&str]) -> Container {
        let log = tempfile::Builder::new().prefix("log-").tempfile_in(self.directory.path()).unwrap();
        let (log, path) = log.keep().unwrap();
        // It must not outlive a test that was killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        // The root may be none that can be made private, as in a chroot; /proc is one.
        command.args(["--propagation", "unchanged"]);
        let bounds = capabilities.iter().map(|name| format!(",+{}", name.to_lowercase())).collect::<String>();
        command.args(["setpriv", &format!("--bounding-set=-all{bounds}"), "--inh-caps=-all", "--no-new-privs"]);
        command.arg(program()).args(arguments).arg("--pin-dir").arg(&self.pins);
        command.arg("--socket").arg(self.directory.path().join("agent.sock"));
        let path_variable = env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path_variable).stdin(Stdio::null());
        let errors: File = log.try_clone().unwrap();
        Container { outside: command.stdout(log).stderr(errors).spawn().unwrap(), log: path }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.pins);
        let gone = !self.pins.exists();
        assert!(gone || std::thread::panicking(), "{} is still there: {removed:?}", self.pins.display());
    }
}

/// A running container.
pub(crate) struct Container {
    /// The process that waits outside of its namespace, and ends as it ends.
    outside: Child,
    log: PathBuf,
}

impl Container {
    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Whether it runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.outside.try_wait().unwrap().is_none()
    }

    /// What it may do, by name and in the order of the names.
    pub(crate) fn capabilities(&self) -> Vec<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.inside())).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        let mut mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        let mut names = Vec::new();
        for (name, number) in CAPABILITIES {
            if mask & (1 << number) != 0 {
                names.push(name.to_owned());
                mask &= !(1 << number);
            }
        }
        assert_eq!(mask, 0, "more than it should have: {names:?} and {mask:#x}");
        names.sort();
        names
    }

    /// Sends it a signal, and waits for its end.
    pub(crate) fn stop(self, signal: Signal, limit: Duration) -> Ended {
        kill(Pid::from_raw(self.inside()), signal).unwrap();
        self.wait(limit)
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self, limit: Duration) -> Ended {
        let ended = wait::until("the container to end", limit, || Ok(self.outside.try_wait()?));
        let said = self.said();
        match ended {
            Ok(status) => Ended { code: status.code(), said },
            Err(error) => panic!("{error}: {said}"),
        }
    }

    /// The first process in it, as it is called outside.
    fn inside(&self) -> i32 {
        let outside = self.outside.id();
        let children = fs::read_to_string(format!("/proc/{outside}/task/{outside}/children")).unwrap();
        let first = children.split_whitespace().next();
        first.unwrap_or_else(|| panic!("nothing runs in it: {}", self.said())).parse().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // With it goes what runs in it.
        let _ended_already = self.outside.kill();
        let _told = self.outside.wait();
    }
}

/// The program that is tested.
fn program() -> PathBuf {
    let beside = || Path::new(env!("CARGO_BIN_EXE_limpet-lab")).with_file_name("limpet");
    let program = env::var_os("LIMPET_BIN").map_or_else(beside, PathBuf::from);
    assert!(program.is_file(), "there is no {}; run `cargo xtask build`", program.display());
    program
}
