//! `limpet detach`: nothing of Limpet is left in the kernel, and it can begin again.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use limpet_lab::address::Family;
use limpet_lab::world::{Protocol, ServiceSpec};
use limpet_lab::{Lab, Namespace};
use nix::libc;

use crate::support::{INGRESS, Test, all_first_pods, frontend, serve, wait_until_answered};

const NODE: u8 = 3;
const UPLINK: &str = "eth0";

/// `BPF_PROG_QUERY` in the kernel's `enum bpf_cmd`.
const BPF_PROG_QUERY: libc::c_long = 16;
/// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS` in the kernel's `enum bpf_attach_type`.
const TCX: [u32; 2] = [46, 47];

/// The `query` part of the kernel's `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct Query {
    ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    program_ids: u64,
    program_count: u32,
    pad: u32,
    program_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_stopped_agent_leaves_the_datapath_running", stopped_agent),
        Test::new("detach_leaves_nothing_and_a_new_start_works", detach),
    ]
}

fn stopped_agent(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("stopped", &all_first_pods()))?;
    let to = frontend(lab, "stopped", Family::V4, Protocol::Tcp)?;
    lab.stop_agent(INGRESS)?;
    let answered = lab.client(1).tcp_who(to, None);
    lab.start_agent(INGRESS)?;
    answered.context("nobody answers while the agent is stopped")?;
    Ok(())
}

fn detach(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("detached", &all_first_pods()))?;
    let node = lab.node(NODE);
    ensure!(xdp_is_attached(&node)? && tcx_programs(&node)? > 0);

    lab.stop_agent(NODE)?;
    let said = lab.limpet(NODE, &["detach"]);
    let left = nothing_is_left(lab, &node);
    lab.start_agent(NODE)?;
    let said = said?;
    ensure!(said.success, "detach failed: {}", said.stderr.trim());
    left?;

    lab.route_frontends_via(NODE)?;
    let to = frontend(lab, "detached", Family::V6, Protocol::Udp)?;
    let answered = wait_until_answered(lab, Protocol::Udp, to);
    lab.route_frontends_via(INGRESS)?;
    answered
}

fn nothing_is_left(lab: &Lab, node: &Namespace) -> Result<()> {
    ensure!(!xdp_is_attached(node)?, "an XDP program is left");
    ensure!(tcx_programs(node)? == 0, "a tcx program is left");
    let pins = lab.pin_directory(NODE)?;
    ensure!(!pins.exists(), "{} is left", pins.display());
    Ok(())
}

fn xdp_is_attached(node: &Namespace) -> Result<bool> {
    node.run(|| {
        let output = Command::new("ip").args(["-json", "link", "show", "dev", UPLINK]).output()?;
        let links: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        Ok(links[0].get("xdp").is_some())
    })
}

fn tcx_programs(node: &Namespace) -> Result<u32> {
    node.run(|| {
        let ifindex = nix::net::if_::if_nametoindex(UPLINK)?;
        TCX.into_iter().try_fold(0, |sum, attach_type| {
            let mut query = Query { ifindex, attach_type, ..Query::default() };
            // SAFETY: `query` has the layout and the size of the kernel's `query` attributes and
            // lives through the call; its pointers are null, which asks for the count alone.
            let outcome = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<Query>()) };
            ensure!(outcome == 0, "cannot ask for tcx programs: {}", std::io::Error::last_os_error());
            Ok(sum + query.program_count)
        })
    })
}
