//! A network namespace and pins of one test's own, and `limpet` run there as root, as nobody, or with less than root may.
//!
//! The namespace has no name: it ends, with its devices, when nothing holds it any more. The pins are removed on drop.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use limpet_lab::wait;
use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use serde_json::Value;
use tempfile::TempDir;

/// A device with an Ethernet header that nothing is sent on.
pub(crate) const UPLINK: &str = "limpet0";
/// The user that may do nothing.
const NOBODY: u32 = 65_534;
/// How long a command, or the start of an agent, may take.
const LIMIT: Duration = Duration::from_secs(20);
/// Room for little, so that starting is quick.
pub(crate) const LIMITS: [&str; 12] = [
    "--max-flows",
    "1024",
    "--max-slots",
    "4096",
    "--max-backends",
    "64",
    "--max-services",
    "16",
    "--max-frontends",
    "16",
    "--max-nodes",
    "8",
];

/// A capability, by its number in the kernel's linux/capability.h.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Capability {
    NetAdmin = 12,
    SysAdmin = 21,
    Perfmon = 38,
    Bpf = 39,
}

/// Who runs a command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Root,
    Nobody,
    RootWithout(&'static [Capability]),
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// Asserts that it failed for a reason that it told in one line of standard error, with all these parts.
    pub(crate) fn refuses(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:?}");
        let lines: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("limpet: ")).collect();
        assert_eq!(lines.len(), 1, "one line says why: {self:?}");
        self.has(lines[0], parts);
    }

    /// Asserts that a text of this has all these parts, and that nothing panicked.
    pub(crate) fn has(&self, text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "{part:?} is missing: {self:?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }
}

/// Where a test runs.
pub(crate) struct Place {
    network: File,
    directory: TempDir,
    pins: PathBuf,
    agent: Option<Child>,
}

impl Place {
    /// A new one with [`UPLINK`] in it, up, and with no route.
    pub(crate) fn new(test: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("limpet-refusals-").tempdir().unwrap();
        // Nobody must find the program in there.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(directory.path().join("manifests")).unwrap();
        let node = "{apiVersion: v1, kind: Node, metadata: {name: n1}}\n";
        fs::write(directory.path().join("manifests/node.yaml"), node).unwrap();
        let place = Self {
            network: new_network(),
            directory,
            pins: PathBuf::from(format!("/sys/fs/bpf/limpet-refusals-{}-{test}", std::process::id())),
            agent: None,
        };
        place.ip(&["link", "add", UPLINK, "type", "veth", "peer", "name", "limpet1"]);
        place.ip(&["link", "set", UPLINK, "up"]);
        place.ip(&["link", "set", "limpet1", "up"]);
        place
    }

    /// A path in a directory that goes away with the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where maps and links are pinned.
    pub(crate) fn pins(&self) -> &Path {
        &self.pins
    }

    /// The names of the pinned links.
    pub(crate) fn links(&self) -> Vec<String> {
        links_below(&self.pins)
    }

    /// Runs `ip` here and returns what it printed.
    pub(crate) fn ip(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("ip");
        command.args(arguments);
        self.enter(&mut command, Who::Root);
        let output = command.output().unwrap();
        assert!(output.status.success(), "ip {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `limpet` here as root, to its end.
    pub(crate) fn limpet(&self, arguments: &[&str]) -> Said {
        self.limpet_as(Who::Root, arguments)
    }

    /// Runs `limpet` here to its end.
    pub(crate) fn limpet_as(&self, who: Who, arguments: &[&str]) -> Said {
        self.run(&self.program(who), who, arguments)
    }

    /// Runs an agent as root whose maps have another layout, and that is expected to end by itself.
    pub(crate) fn agent_of_another_layout(&self, flags: &[&str]) -> Said {
        let arguments = self.agent_arguments(flags);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.run(&self.program(Who::Root).with_file_name("limpet-other"), Who::Root, &arguments)
    }

    fn run(&self, program: &Path, who: Who, arguments: &[&str]) -> Said {
        let (stdout, stderr) = (self.path("stdout"), self.path("stderr"));
        let mut child = self
            .command(program, who, arguments)
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let ended = wait::until(&format!("limpet {arguments:?} to end"), LIMIT, || Ok(child.try_wait()?));
        if ended.is_err() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let said = Said {
            code: ended.as_ref().ok().and_then(std::process::ExitStatus::code),
            stdout: fs::read_to_string(stdout).unwrap(),
            stderr: fs::read_to_string(stderr).unwrap(),
        };
        assert!(ended.is_ok(), "{ended:?}: {said:?}");
        said
    }

    /// Runs an agent that is expected to end by itself: one with little room, with these flags added or in the place of
    /// its own.
    pub(crate) fn agent_as(&self, who: Who, flags: &[&str]) -> Said {
        let arguments = self.agent_arguments(flags);
        self.limpet_as(who, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Runs an agent as root that is expected to end by itself.
    pub(crate) fn agent(&self, flags: &[&str]) -> Said {
        self.agent_as(Who::Root, flags)
    }

    /// Starts an agent on [`UPLINK`] and waits until `limpet status` is content with it.
    pub(crate) fn start_agent(&mut self) {
        self.start_agent_with(&[]);
    }

    /// The same, with these flags as well.
    pub(crate) fn start_agent_with(&mut self, flags: &[&str]) {
        let arguments = self.agent_arguments(&[&["--uplink", UPLINK], flags].concat());
        let mut command = self.command(
            &self.program(Who::Root),
            Who::Root,
            &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        let log = File::create(self.path("agent.log")).unwrap();
        assert!(self.agent.is_none());
        self.agent = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let ready = wait::until_true("the agent to be in step", LIMIT, || Ok(self.limpet(&["status"]).code == Some(0)));
        let log = fs::read_to_string(self.path("agent.log")).unwrap();
        assert!(ready.is_ok(), "{ready:?}\n{:?}\n{log}", self.limpet(&["status"]));
    }

    /// Kills the agent; its datapath and its socket's file stay.
    pub(crate) fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    /// The XDP program on a device, as the kernel names it; none without one.
    pub(crate) fn xdp_program(&self, device: &str) -> Option<u64> {
        let text = self.ip(&["-j", "link", "show", "dev", device]);
        let links: Value = serde_json::from_str(&text).unwrap();
        links[0]["xdp"]["prog"]["id"].as_u64()
    }

    fn agent_arguments(&self, flags: &[&str]) -> Vec<String> {
        let source = format!("dir:{}", self.path("manifests").display());
        let mut arguments: Vec<String> = ["agent", "--source", &source, "--node", "n1"].map(str::to_owned).into();
        // Those that are given are in the place of its own.
        let limits = LIMITS.chunks(2).filter(|limit| !flags.contains(&limit[0])).flatten();
        arguments.extend(limits.map(|part| (*part).to_owned()));
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        arguments
    }

    /// The socket and the pins are this place's unless the arguments name others.
    fn command(&self, program: &Path, who: Who, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env_clear().args(arguments).stdin(Stdio::null()).current_dir("/");
        if !arguments.contains(&"--socket") {
            command.arg("--socket").arg(self.path("agent.sock"));
        }
        if !arguments.contains(&"--pin-dir") {
            command.arg("--pin-dir").arg(&self.pins);
        }
        self.enter(&mut command, who);
        command
    }

    /// The program; for nobody a copy, since only root may look into some directories that projects lie in.
    fn program(&self, who: Who) -> PathBuf {
        let beside = || Path::new(env!("CARGO_BIN_EXE_limpet-lab")).with_file_name("limpet");
        let program = env::var_os("LIMPET_BIN").map_or_else(beside, PathBuf::from);
        assert!(program.is_file(), "there is no {}; run `cargo xtask build`", program.display());
        match who {
            Who::Root | Who::RootWithout(_) => program,
            Who::Nobody => {
                let copy = self.path("limpet");
                if !copy.exists() {
                    fs::copy(program, &copy).unwrap();
                }
                copy
            }
        }
    }

    fn enter(&self, command: &mut Command, who: Who) {
        let network = self.network.try_clone().unwrap();
        let prepare = move || {
            setns(network.as_fd(), CloneFlags::CLONE_NEWNET)?;
            become_who(who)?;
            // An agent must not outlive a test that was killed; after the change of user, which undoes this.
            set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)
        };
        // SAFETY: between fork and exec the closure makes system calls alone, on what it owns; it allocates nothing.
        unsafe { command.pre_exec(prepare) };
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.kill_agent();
        let removed = fs::remove_dir_all(&self.pins);
        let gone = !self.pins.exists();
        assert!(gone || thread::panicking(), "{} is still there: {removed:?}", self.pins.display());
    }
}

/// The names of the links that are pinned below a directory.
pub(crate) fn links_below(pins: &Path) -> Vec<String> {
    let versions = fs::read_dir(pins).into_iter().flatten();
    let links = versions.flat_map(|version| fs::read_dir(version.unwrap().path().join("links")).unwrap());
    let mut names: Vec<String> = links.map(|link| link.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn new_network() -> File {
    let made = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        File::open("/proc/thread-self/ns/net")
    });
    made.join().unwrap().unwrap_or_else(|error| panic!("cannot make a network namespace: {error}; run this as root"))
}

fn become_who(who: Who) -> io::Result<()> {
    match who {
        Who::Root => Ok(()),
        Who::Nobody => {
            setgroups(&[])?;
            setgid(Gid::from_raw(NOBODY))?;
            Ok(setuid(Uid::from_raw(NOBODY))?)
        }
        Who::RootWithout(missing) => missing.iter().try_for_each(|capability| {
            // What root gets by exec is cut to the bounding set (capabilities(7)).
            // SAFETY: takes numbers alone.
            let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, *capability as libc::c_ulong, 0, 0, 0) };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }),
    }
}
