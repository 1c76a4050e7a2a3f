//! A BPF file system that is unmounted under a running agent, or covered: packets do not notice, an operator is told, and
//! what is pinned is pinned again.
//!
//! The agent runs in a mount namespace of its own, with a BPF file system of its own.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use limpet_lab::address::Family;
use limpet_lab::world::{Protocol, ServiceSpec};
use limpet_lab::{Lab, wait};

use crate::support::{
    CHANGE_LIMIT, Held, Test, all_first_pods, ask_all, first_pods, frontend, hold, is_content, says, serve,
    while_clients_connect,
};

/// The node whose agent it is; clients come in there as well.
const NODE: u8 = 3;
const HELD: u8 = 20;
/// Where BPF file systems are.
const BPFFS: &str = "/sys/fs/bpf";
/// Becomes what follows, where only its own BPF file system is at the usual place.
const OWN: &str = "umount -l /sys/fs/bpf && mount -t bpf bpf /sys/fs/bpf && exec \"$@\"";

pub(crate) fn tests() -> Vec<Test> {
    vec![Test::new("an_unmounted_or_covered_bpf_file_system_is_told_and_costs_no_connection", unmounted)]
}

fn unmounted(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("unmounted", &first_pods([1, NODE])))?;
    lab.detach(&[NODE])?;
    lab.start_agent_within(NODE, &["unshare", "--mount", "--propagation", "private", "sh", "-c", OWN, "sh"])?;
    lab.route_frontends_via(NODE)?;
    let outcome = while_it_is_away(lab);
    lab.route_frontends_via(1)?;
    // What it pinned ends with its namespace.
    lab.kill_agent(NODE)?;
    lab.start_agent_within(NODE, &[])?;
    outcome
}

fn while_it_is_away(lab: &mut Lab) -> Result<()> {
    let to = frontend(lab, "unmounted", Family::V4, Protocol::Tcp)?;
    let mut held = hold(lab, to, HELD)?;
    while_clients_connect(&lab.client(2), to, 0, || {
        inside(lab, &["umount", "-l", BPFFS])?;
        is_told(lab, &mut held)?;
        inside(lab, &["mount", "-t", "bpf", "bpf", BPFFS])?;
        is_pinned(lab, &mut held)?;
        // Something else, which goes again.
        inside(lab, &["mount", "-t", "tmpfs", "none", BPFFS])?;
        is_told(lab, &mut held)?;
        inside(lab, &["umount", BPFFS])?;
        is_pinned(lab, &mut held)?;
        // Another one, in which everything is pinned at once, and which goes with all that.
        inside(lab, &["mount", "-t", "bpf", "bpf", BPFFS])?;
        is_pinned(lab, &mut held)?;
        inside(lab, &["umount", "-l", BPFFS])?;
        is_pinned(lab, &mut held)
    })?;
    // What is written and attached is the same as before.
    let mut spec = lab.world().service("unmounted")?.spec().clone();
    spec.pods = all_first_pods();
    lab.put_service(spec)?;
    is_content(lab, NODE)?;
    ask_all(&mut held, "after all that")
}

fn is_told(lab: &Lab, held: &mut [Held]) -> Result<()> {
    let parts = ["error", "was unmounted, or something is mounted over it", "leave it running", "mount -t bpf"];
    says(lab, NODE, 1, &parts)?;
    ask_all(held, "while the pins cannot be reached")
}

fn is_pinned(lab: &Lab, held: &mut [Held]) -> Result<()> {
    let root = lab.pin_directory(NODE)?.to_string_lossy().into_owned();
    wait::until_true("everything to be pinned again", CHANGE_LIMIT, || {
        let found = inside(lab, &["find", &root])?;
        for part in ["/maps/CONFIG", "/maps/FLOWS4", "/links/xdp-native-", "/links/tcx-egress-"] {
            ensure!(found.contains(part), "there is no {part}: {found}");
        }
        let status = lab.status(NODE)?;
        ensure!(status.agent.in_step == Some(true) && status.problems.is_empty(), "{status:?}");
        Ok(true)
    })?;
    ask_all(held, "while everything is pinned again")
}

/// Runs a command in the agent's mount namespace, and returns what it prints.
fn inside(lab: &Lab, command: &[&str]) -> Result<String> {
    let process = lab.agent_process(NODE)?.context("no agent runs")?;
    let output = Command::new("nsenter").arg(format!("--mount=/proc/{process}/ns/mnt")).args(command).output()?;
    ensure!(output.status.success(), "{command:?} failed: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}
