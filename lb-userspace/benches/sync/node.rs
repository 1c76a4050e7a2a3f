//! The node that the agent runs on: a network namespace that ends with this process.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, unshare};

use crate::cluster::{NODES, node_address};

/// The node's uplink.
pub(crate) const UPLINK: &str = "eth0";

/// Moves this thread, and what it starts from now on, into a network namespace with an uplink, and a neighbour for each
/// other node.
pub(crate) fn enter_a_network_of_our_own() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace; the bench is run as root")?;
    ip("link set lo up")?;
    ip(&format!("link add {UPLINK} type veth peer name far"))?;
    ip(&format!("address add {}/24 dev {UPLINK}", node_address(0)))?;
    ip("link set far up")?;
    ip(&format!("link set {UPLINK} up"))?;
    for node in 1..NODES {
        let address = node_address(node);
        ip(&format!("neighbour add {address} lladdr 02:00:00:00:00:{node:02x} dev {UPLINK} nud permanent"))?;
    }
    Ok(())
}

fn ip(line: &str) -> Result<()> {
    let output = Command::new("ip").args(line.split(' ')).output().context("cannot run ip")?;
    ensure!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
