//! The agent on a node, and all that the lab relies on in `limpet`'s command line and output.
//!
//! - `limpet agent --source dir:PATH|kube [--kubeconfig FILE] --node NAME --uplink DEV --pin-dir DIR --socket PATH
//!   --max-flows N --max-clients N --max-slots N` runs in the node's network namespace until SIGTERM, and leaves
//!   the datapath as it is then. It starts again after SIGKILL with the old socket's file there.
//! - `limpet --pin-dir DIR --socket PATH status -o json` prints an object with `agent` and
//!   `problems`, also when no agent is alive; see [`Status`].
//! - `limpet --pin-dir DIR get backends -A -o json` prints an array of objects with `address`,
//!   `service`, which has `namespace` and `name`, and `slots`: how much of a table is the backend's.
//! - `limpet --pin-dir DIR detach` takes programs, links, maps and the pin directory away.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::Signal;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use serde::Deserialize;
use serde_json::Value;

use crate::launch::{Launch, Output, Running, launch};
use crate::manifest::Manifests;
use crate::net::namespace::Namespace;
use crate::net::topology::UPLINK;
use crate::process;
use crate::record::{Made, Record};
use crate::wait;
use crate::world::NAMESPACE;

/// Where the kernel keeps pinned BPF objects.
const BPFFS: &str = "/sys/fs/bpf";
/// What there is room for on each node: flows a few times what any test holds, clients that are held by affinity many
/// times those of any test, and lookup tables.
const LIMITS: [(&str, u32); 3] = [("--max-flows", 65_536), ("--max-clients", 16_384), ("--max-slots", 1 << 20)];
/// How long a command of `limpet` may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// How long an agent may take from its start until it has programmed everything.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How much of an agent's log is shown when something fails.
const LOG_LINES: usize = 25;
/// And how many of its warnings.
const WARNING_LINES: usize = 60;

/// What `limpet status -o json` says, as far as the lab needs it.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// About the agent's process.
    pub agent: AgentStatus,
    /// What is wrong, one object each.
    #[serde(default)]
    pub problems: Vec<Value>,
}

/// The `agent` part of [`Status`].
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct AgentStatus {
    /// Whether an agent answers on the socket.
    pub alive: bool,
    /// Whether it has programmed what it first read.
    #[serde(default)]
    pub ready: bool,
    /// Whether everything that it has read since is programmed as well.
    #[serde(default)]
    pub in_step: Option<bool>,
    /// About where it reads what Kubernetes knows.
    #[serde(default)]
    pub source: SourceStatus,
}

/// The `source` part of [`AgentStatus`].
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct SourceStatus {
    /// Whether it hears of changes.
    #[serde(default)]
    pub connected: bool,
}

impl AgentStatus {
    fn has_caught_up(self) -> bool {
        self.alive && self.ready && self.in_step.unwrap_or(true)
    }
}

/// A row of `limpet get backends -o json`, as far as the lab needs it.
#[derive(Debug, Deserialize)]
struct BackendRow {
    address: IpAddr,
    service: ServiceOfRow,
    slots: u32,
}

#[derive(Debug, Deserialize)]
struct ServiceOfRow {
    namespace: String,
    name: String,
}

/// What a `limpet` command said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Whether it ended with exit code 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Said {
    /// Standard output as JSON; fails when the command did.
    pub fn json(&self) -> Result<Value> {
        ensure!(self.success, "limpet failed: {}", self.stderr.trim());
        serde_json::from_str(&self.stdout).with_context(|| format!("limpet printed what is not JSON: {}", self.stdout))
    }
}

/// One node's agent: where it is, and its process while there is one.
#[derive(Debug)]
pub(crate) struct Agent {
    node: String,
    namespace: Namespace,
    limpet: PathBuf,
    pin_directory: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    /// Flags beside those that every agent has.
    more_flags: Vec<String>,
    /// Variables of its environment beside those of this process.
    variables: Vec<(String, String)>,
    /// A command that it is started by, which becomes it; none by itself.
    surroundings: Vec<String>,
    running: Option<Running>,
}

/// The directory that all agents of a lab pin below.
pub(crate) fn make_pin_root(record: &Record, id: &str) -> Result<PathBuf> {
    let is_bpffs = statfs(BPFFS).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
    ensure!(
        is_bpffs,
        "there is no BPF file system on {BPFFS}; run `cargo xtask setup`, or `mount -t bpf bpf \
         {BPFFS}`"
    );
    let root = PathBuf::from(BPFFS).join(format!("limpet-lab-{id}"));
    record.make_directory(&root)?;
    Ok(root)
}

impl Agent {
    /// An agent that has not been started yet. Its pins are on record from now on.
    pub(crate) fn new(
        record: &Record,
        namespace: Namespace,
        node: u8,
        limpet: PathBuf,
        pin_root: &std::path::Path,
    ) -> Result<Self> {
        let node = format!("n{node}");
        let pin_directory = pin_root.join(&node);
        record.add(&Made::Pins {
            directory: pin_directory.clone(),
            namespace: namespace.name().to_owned(),
            limpet: limpet.clone(),
        })?;
        let directory = record.directory();
        Ok(Self {
            socket: directory.join(format!("{node}.sock")),
            log: directory.join("logs").join(format!("agent-{node}.log")),
            node,
            namespace,
            limpet,
            pin_directory,
            more_flags: Vec::new(),
            variables: Vec::new(),
            surroundings: Vec::new(),
            running: None,
        })
    }

    /// Starts the process; does not wait for it to be ready.
    pub(crate) fn start(&mut self, record: &Record, manifests: &Manifests) -> Result<()> {
        if self.running.is_some() {
            bail!("the agent on {} runs already", self.node);
        }
        let mut arguments: Vec<OsString> =
            ["agent", "--node", &self.node, "--uplink", UPLINK].into_iter().map(OsString::from).collect();
        arguments.extend(manifests.flags());
        arguments.extend(["--pin-dir".into(), self.pin_directory.clone().into()]);
        arguments.extend(["--socket".into(), self.socket.clone().into()]);
        for (flag, room) in LIMITS {
            // One that it was given goes before.
            if !self.more_flags.iter().any(|given| given == flag) {
                arguments.extend([flag.into(), room.to_string().into()]);
            }
        }
        arguments.extend(self.more_flags.iter().map(OsString::from));
        let mut program = self.limpet.clone();
        if let Some((command, rest)) = self.surroundings.split_first() {
            let before = rest.iter().map(OsString::from).chain([program.into()]);
            arguments = before.chain(arguments).collect();
            program = command.into();
        }
        let running = launch(
            record,
            Launch {
                namespace: &self.namespace,
                what: format!("the agent on {}", self.node),
                program,
                arguments,
                variables: &self.variables,
                log: &self.log,
                output: Output::Log,
            },
        )?;
        self.running = Some(running);
        Ok(())
    }

    /// Waits until the agent has programmed everything it has read, or has ended by itself; then it says how, and is
    /// reaped.
    pub(crate) fn wait_until_in_step_or_ended(&mut self) -> Result<Option<ExitStatus>> {
        let mut running = self.take_running()?;
        let what = format!("the agent on {} to be in step, or to end", self.node);
        let outcome = wait::until(&what, START_LIMIT, || {
            if let Some(status) = running.child.try_wait().context("cannot ask for a process' end")? {
                return Ok(Some(Some(status)));
            }
            Ok(self.status()?.agent.has_caught_up().then_some(None))
        });
        if !matches!(outcome, Ok(Some(_))) {
            self.running = Some(running);
        }
        outcome.map_err(|error| anyhow!("{error:#}\n{}", self.log_tail()))
    }

    /// Waits until the agent has programmed everything it has read; fails at once when it ends.
    pub(crate) fn wait_until_in_step(&self) -> Result<()> {
        let what = format!("the agent on {} to be in step", self.node);
        let outcome = wait::until(&what, START_LIMIT, || {
            if !self.running.as_ref().is_some_and(|running| running.identity.is_alive()) {
                return Ok(Some(false));
            }
            Ok(self.status()?.agent.has_caught_up().then_some(true))
        });
        match outcome {
            Ok(true) => Ok(()),
            Ok(false) => bail!("the agent on {} ended instead of serving\n{}", self.node, self.log_tail()),
            Err(error) => bail!("{error:#}\n{}", self.log_tail()),
        }
    }

    /// Ends the process by SIGTERM; the datapath goes on.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.take_running()?.end()
    }

    /// Ends the process by SIGKILL; the datapath goes on.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.take_running()?.kill()
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.running.as_ref().with_context(|| format!("no agent runs on {}", self.node))?.signal(signal)
    }

    /// Runs a `limpet` command on the agent's node.
    pub(crate) fn limpet(&self, arguments: &[&str]) -> Result<Said> {
        let outcome = self.namespace.run(|| {
            let mut command = Command::new(&self.limpet);
            command.args(self.flags()).args(arguments);
            process::run_within(&mut command, COMMAND_LIMIT)
        })?;
        Ok(Said { success: outcome.status.success(), stdout: outcome.stdout, stderr: outcome.stderr })
    }

    /// What `limpet status` says. Its exit code may tell the same; the text is what counts here.
    pub(crate) fn status(&self) -> Result<Status> {
        let said = self.limpet(&["status", "-o", "json"])?;
        serde_json::from_str(&said.stdout).with_context(|| {
            let (stdout, stderr) = (&said.stdout, &said.stderr);
            format!("`limpet status -o json` printed {stdout:?} and {stderr:?}")
        })
    }

    /// The addresses of the backends that new connections to a Service may be sent to on this node.
    pub(crate) fn used_backends(&self, service: &str) -> Result<BTreeSet<IpAddr>> {
        let rows = self.limpet(&["get", "backends", "-A", "-o", "json"])?.json()?;
        let rows: Vec<BackendRow> = serde_json::from_value(rows).context("`limpet get backends` has another form")?;
        let is_used = |row: &BackendRow| {
            let ServiceOfRow { namespace, name } = &row.service;
            namespace == NAMESPACE && name == service && row.slots > 0
        };
        Ok(rows.into_iter().filter(is_used).map(|row| row.address).collect())
    }

    /// The flags that make any `limpet` command speak about this node.
    pub(crate) fn flags(&self) -> Vec<OsString> {
        vec!["--pin-dir".into(), self.pin_directory.clone().into(), "--socket".into(), self.socket.clone().into()]
    }

    /// Gives it these flags beside those that every agent has, from its next start on.
    pub(crate) fn use_flags(&mut self, flags: &[&str]) {
        self.more_flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    }

    /// Gives it these variables beside those of this process, from its next start on.
    pub(crate) fn use_variables(&mut self, variables: &[(&str, &str)]) {
        self.variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    }

    /// Has it started by this command, which must become what is named after it, from its next start on.
    pub(crate) fn use_surroundings(&mut self, command: &[&str]) {
        self.surroundings = command.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Waits until the process ends by itself, and reaps it.
    pub(crate) fn wait_for_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let mut running = self.take_running()?;
        let ended = wait::until(&format!("the agent on {} to end", self.node), limit, || {
            running.child.try_wait().context("cannot ask for a process' end")
        });
        if ended.is_err() {
            self.running = Some(running);
        }
        ended
    }

    /// The number of its process while it runs.
    pub(crate) fn process(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// Lets this program be the agent from its next start on.
    pub(crate) fn use_program(&mut self, limpet: PathBuf) {
        self.limpet = limpet;
    }

    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    pub(crate) fn pin_directory(&self) -> &std::path::Path {
        &self.pin_directory
    }

    pub(crate) fn program(&self) -> &std::path::Path {
        &self.limpet
    }

    /// The end of the agent's log, for messages about failures.
    pub(crate) fn log_tail(&self) -> String {
        format!("log of the agent on {}:\n{}", self.node, self.last_lines(LOG_LINES, |_| true))
    }

    /// What it complained about, in its log.
    pub(crate) fn warnings(&self) -> String {
        let is_complaint =
            |line: &str| line.contains(" WARN ") || line.contains(" ERROR ") || line.contains("panicked");
        let lines = self.last_lines(WARNING_LINES, is_complaint);
        format!("warnings of the agent on {}:\n{lines}", self.node)
    }

    /// The last lines of its log that are wanted.
    fn last_lines(&self, count: usize, is_wanted: impl Fn(&str) -> bool) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| is_wanted(line)).collect();
        lines[lines.len().saturating_sub(count)..].iter().map(|line| format!("    {line}\n")).collect()
    }

    /// Reaps the process after somebody else ended it.
    pub(crate) fn reap(&mut self) {
        if let Some(mut running) = self.running.take() {
            // It is gone either way; how it ended was shown by its log.
            let _status = running.child.wait();
        }
    }

    fn take_running(&mut self) -> Result<Running> {
        self.running.take().with_context(|| format!("no agent runs on {}", self.node))
    }
}
