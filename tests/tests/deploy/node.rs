//! A node for one test: a network with an uplink, and containers of `limpet` on it, with the volumes of the manifests.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use limpet_lab::wait;
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use crate::container::{Container, Ended, Image, Rights, Volume};

/// How long a command, or the start of an agent, may take: on a machine with more to do than it can, the kernel alone takes
/// half a minute to attach XDP.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// A device with an Ethernet header that nothing is sent on.
const UPLINK: &str = "limpet0";
/// Room for little, so that starting is quick.
const LIMITS: &str =
    "--max-flows 1024 --max-slots 65536 --max-backends 64 --max-services 16 --max-frontends 16 --max-nodes 8";
/// Where BPF objects are pinned, on the machine and in containers.
const BPFFS: &str = "/sys/fs/bpf";

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
    image: Image,
    name: String,
    uplink: &'static str,
    pins: PathBuf,
    started: AtomicU32,
}

impl Node {
    /// A new one in a network of its own, which the test's thread is moved into, and which ends with the test.
    pub(crate) fn new(test: &str) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        for arguments in [
            &["link", "add", UPLINK, "type", "veth", "peer", "name", "limpet1"][..],
            &["link", "set", UPLINK, "up"],
            &["link", "set", "limpet1", "up"],
        ] {
            assert!(Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
        }
        let pins = Path::new(BPFFS).join(format!("limpet-deploy-{}-{test}", std::process::id()));
        let mut node = Self::of(None, "n1", UPLINK, pins);
        let manifests = node.directory.path().join("manifests");
        fs::create_dir(&manifests).unwrap();
        let object = "{apiVersion: v1, kind: Node, metadata: {name: n1}}\n";
        fs::write(manifests.join("node.yaml"), object).unwrap();
        node.image.volumes.push(Volume { from: manifests, to: "/etc/limpet".into(), is_writable: false });
        node
    }

    /// One that is there already, in the network that containers are started from.
    pub(crate) fn of(manifests: Option<&Path>, name: &str, uplink: &'static str, pins: PathBuf) -> Self {
        let directory = tempfile::Builder::new().prefix("limpet-deploy-").tempdir().unwrap();
        let run = directory.path().join("run");
        fs::create_dir(&run).unwrap();
        let mut volumes = vec![
            Volume { from: run, to: "/run/limpet".into(), is_writable: true },
            Volume { from: BPFFS.into(), to: BPFFS.into(), is_writable: true },
        ];
        let configuration =
            |from: &Path| Volume { from: from.to_owned(), to: "/etc/limpet".into(), is_writable: false };
        volumes.extend(manifests.map(configuration));
        let image = Image { program: program(), volumes };
        Self { directory, image, name: name.to_owned(), uplink, pins, started: AtomicU32::new(0) }
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
    pub(crate) fn start_agent(&self, rights: &Rights) -> Container {
        let agent = self.launch_agent(rights);
        let content = || Ok(self.run(rights, &["status"]).code == Some(0));
        let ready = wait::until_true("the agent to be in step", LIMIT, content);
        assert!(ready.is_ok(), "{ready:?}: {} {:?}", agent.said(), self.run(rights, &["status"]));
        agent
    }

    /// Starts the agent and does not wait for it.
    pub(crate) fn launch_agent(&self, rights: &Rights) -> Container {
        let mut arguments = vec!["agent", "--source", "dir:/etc/limpet", "--node", &self.name, "--uplink", self.uplink];
        // Ports of the machine's own are nobody's to take in a test.
        arguments.extend(["--health-address", "none", "--metrics-address", "none"]);
        arguments.extend(LIMITS.split(' '));
        self.start(rights, &arguments)
    }

    /// Runs a container to its end.
    pub(crate) fn run(&self, rights: &Rights, arguments: &[&str]) -> Ended {
        self.start(rights, arguments).wait(LIMIT)
    }

    /// Starts a container of `limpet` with these arguments; the socket is where it is by default.
    pub(crate) fn start(&self, rights: &Rights, arguments: &[&str]) -> Container {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.directory.path().join(format!("{number}.log"));
        let mut arguments = arguments.to_vec();
        let pins = self.pins.to_str().unwrap();
        arguments.extend(["--pin-dir", pins]);
        Container::start(&self.image, rights, &arguments, log)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.pins);
        let gone = !self.pins.exists();
        assert!(gone || std::thread::panicking(), "{} is still there: {removed:?}", self.pins.display());
    }
}

/// The program that is tested.
fn program() -> PathBuf {
    let beside = || Path::new(env!("CARGO_BIN_EXE_limpet-lab")).with_file_name("limpet");
    let program = env::var_os("LIMPET_BIN").map_or_else(beside, PathBuf::from);
    assert!(program.is_file(), "there is no {}; run `cargo xtask build`", program.display());
    program
}
