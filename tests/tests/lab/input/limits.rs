//! Maps that are full: who finds no room is named with the limit and the flag, and everybody else stays.
//!
//! The ingress node's agent is replaced by one with little room, which reads manifests of its own.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use limpet_lab::Lab;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::{FREE, OTHER_FREE, answered_by, is_content, says, service};
use crate::support::{INGRESS, Test};

/// Where the Service would be that finds no room.
const NO_ROOM: &str = "203.0.113.253";
/// Slots of the smallest lookup table.
const SMALLEST_TABLE: u32 = 251;

/// A limit that holds two Services on one Pod, and no third one on a Pod of another node.
struct Limit {
    flag: &'static str,
    value: u32,
    message: &'static str,
}

const LIMITS: [Limit; 5] = [
    Limit { flag: "--max-frontends", value: 2, message: "no room for its frontends" },
    // The first element of the arrays of backends and of Services is nobody's, that of nodes is this node.
    Limit { flag: "--max-backends", value: 3, message: "no ids left for its backends" },
    Limit { flag: "--max-services", value: 3, message: "no id left for it" },
    Limit { flag: "--max-nodes", value: 2, message: "no id left for the nodes of its backends" },
    Limit { flag: "--max-slots", value: 2 * SMALLEST_TABLE, message: "no room for its lookup table" },
];

pub(super) fn tests() -> Vec<Test> {
    let test = |limit: Limit| {
        let name = format!("what_is_beyond_{}_is_named_and_the_rest_stays", limit.flag[2..].replace('-', "_"));
        Test::new(name, move |lab| instead_of_the_agent(lab, |lab| full(lab, &limit)))
    };
    LIMITS.into_iter().map(test).collect()
}

fn full(lab: &Lab, limit: &Limit) -> Result<()> {
    let manifests = lab.directory().join("limited");
    lab_nodes(lab, &manifests, &["node-n1.yaml", "node-n2.yaml"])?;
    fs::write(manifests.join("first.yaml"), service("first", FREE, &["p1-1"], lab)?)?;
    fs::write(manifests.join("second.yaml"), service("second", OTHER_FREE, &["p1-1"], lab)?)?;
    let _agent = LimitedAgent::start(lab, &manifests, limit)?;
    let both_are_answered = || answered_by(lab, FREE, "p1-1").and_then(|()| answered_by(lab, OTHER_FREE, "p1-1"));
    both_are_answered()?;
    is_content(lab)?;

    // Sorted between the two that are there: it must take the place of neither.
    lab_nodes(lab, &manifests, &["node-n3.yaml"])?;
    fs::write(manifests.join("more.yaml"), service("more", NO_ROOM, &["p3-1"], lab)?)?;
    let number = format!("({})", limit.value);
    says(lab, 1, &["error", "Service lab/more", limit.message, &number, "raise", limit.flag])?;
    both_are_answered()?;

    fs::remove_file(manifests.join("more.yaml"))?;
    fs::remove_file(manifests.join("node-n3.yaml"))?;
    is_content(lab)?;
    both_are_answered()
}

/// Runs a case without the ingress node's agent and datapath, and starts both again after it, whatever happens.
fn instead_of_the_agent(lab: &mut Lab, case: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    lab.stop_agent(INGRESS)?;
    let outcome = detach(lab).and_then(|()| case(lab));
    let logged = fs::read_to_string(log(lab)).unwrap_or_default();
    detach(lab)?;
    lab.start_agent(INGRESS)?;
    outcome.with_context(|| format!("log of the agent with little room:\n{logged}"))
}

fn detach(lab: &Lab) -> Result<()> {
    let said = lab.limpet(INGRESS, &["detach"])?;
    ensure!(said.success, "cannot detach: {}", said.stderr);
    Ok(())
}

fn log(lab: &Lab) -> PathBuf {
    lab.directory().join("logs").join("agent-limited.log")
}

/// Copies Nodes of the lab to the manifests of the agent with little room.
fn lab_nodes(lab: &Lab, manifests: &Path, files: &[&str]) -> Result<()> {
    fs::create_dir_all(manifests)?;
    for file in files {
        fs::copy(lab.manifests().directory().join(file), manifests.join(file))?;
    }
    Ok(())
}

/// An agent with little room on the ingress node; killed when dropped, or when this process is.
struct LimitedAgent(Child);

impl LimitedAgent {
    fn start(lab: &Lab, manifests: &Path, limit: &Limit) -> Result<Self> {
        let arguments = format!(
            "agent --source dir:{} --node n{INGRESS} --uplink eth0 --max-flows 1024 --max-clients 1024 {} {}",
            manifests.display(),
            limit.flag,
            limit.value
        );
        let line = lab.limpet_line(INGRESS, &arguments)?;
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().context("a command line begins with the program")?);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log(lab))?);
        let network = File::open(lab.node(INGRESS).path())?;
        let enter = move || {
            setns(network.as_fd(), CloneFlags::CLONE_NEWNET)?;
            Ok(set_pdeathsig(Signal::SIGKILL)?)
        };
        // SAFETY: between fork and exec the closure makes two system calls on what it owns; it allocates nothing.
        unsafe { command.pre_exec(enter) };
        Ok(Self(command.spawn().context("cannot start an agent with little room")?))
    }
}

impl Drop for LimitedAgent {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("error: cannot end the agent with little room: {error}");
        }
    }
}
