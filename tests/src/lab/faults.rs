//! What goes wrong in a data centre, or is done there on purpose: servers that restart, nodes that are cut off, agents
//! that are upgraded.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::{Lab, wait_until_ready};
use crate::binaries;
use crate::launch::Running;
use crate::net::topology;

impl Lab {
    /// Ends a Pod's server process and nothing else, as when a container dies. Whoever connects is refused.
    pub fn stop_server(&mut self, pod: &str) -> Result<()> {
        self.world.pod(pod)?;
        let server = self.servers.remove(pod);
        server.with_context(|| format!("Pod {pod} has no server to stop"))?.kill()
    }

    /// Starts a server in a Pod whose server was stopped: the Pod is the same, the process new and without a memory.
    pub fn start_server_again(&mut self, pod: &str) -> Result<()> {
        let planned = self.world.pod(pod)?.clone();
        anyhow::ensure!(!self.servers.contains_key(pod), "Pod {pod} has a server already");
        let mut server = self.start_server(&planned)?;
        wait_until_ready(&mut server, &planned)?;
        self.servers.insert(pod.to_owned(), server);
        Ok(())
    }

    /// Makes a Pod's network again that [`Lab::crash_pod`] removed, with the same addresses, and starts its server.
    pub fn revive_pod(&mut self, name: &str) -> Result<()> {
        let pod = self.world.pod(name)?.clone();
        anyhow::ensure!(!self.servers.contains_key(name), "Pod {name} has a server already");
        self.make_pods(vec![pod]).map(drop)
    }

    /// Cuts a node and its Pods off from everybody, as when its cable is pulled. What runs there runs on.
    pub fn cut_off(&self, node: u8) -> Result<()> {
        topology::connect_node(&self.names, node, false)
    }

    /// Connects a node again that was cut off.
    pub fn reconnect(&self, node: u8) -> Result<()> {
        topology::connect_node(&self.names, node, true)
    }

    /// Takes a node's uplink away, the device itself, with its addresses and routes, as when its driver is unloaded.
    pub fn remove_uplink(&self, node: u8) -> Result<()> {
        topology::remove_uplink(&self.names, node)
    }

    /// Makes a node's uplink anew that was removed: another device of the same name, with another MAC address.
    pub fn make_uplink(&self, node: u8) -> Result<()> {
        let pins = self.pin_directory(node)?.parent().context("pins have no directory above them")?;
        topology::make_uplink(&self.names, node, pins)
    }

    /// Brings a node's uplink up with its addresses and routes, as what configures a real node's network does.
    pub fn restore_uplink(&self, node: u8) -> Result<()> {
        topology::restore_uplink(&self.names, node)
    }

    /// Gives a node's uplink other addresses (IPv4 and IPv6) in place of these, and everybody else the way to its Pods.
    /// What the Node object says is not changed.
    pub fn renumber_node(&self, node: u8, from: [IpAddr; 2], to: [IpAddr; 2]) -> Result<()> {
        topology::renumber_node(&self.names, node, from, to)
    }

    /// Stops a node's agent where it is, as a node without any processor time to spare does.
    pub fn freeze_agent(&self, node: u8) -> Result<()> {
        self.agents[self.agent_at(node)?].signal(Signal::SIGSTOP)
    }

    /// Lets a frozen agent go on.
    pub fn thaw_agent(&self, node: u8) -> Result<()> {
        self.agents[self.agent_at(node)?].signal(Signal::SIGCONT)
    }

    /// Stops the server process of a Pod where it is: the kernel still accepts connections for it, and nobody answers.
    pub fn freeze_server(&self, pod: &str) -> Result<()> {
        self.server(pod)?.signal(Signal::SIGSTOP)
    }

    /// Lets a frozen server go on.
    pub fn thaw_server(&self, pod: &str) -> Result<()> {
        self.server(pod)?.signal(Signal::SIGCONT)
    }

    fn server(&self, pod: &str) -> Result<&Running> {
        self.servers.get(pod).with_context(|| format!("Pod {pod} has no server"))
    }

    /// Replaces a node's agent: the old one is asked to end, and a copy of the program in another place takes over what
    /// is pinned, as after an upgrade. Returns when the new one is in step.
    pub fn upgrade_agent(&mut self, node: u8) -> Result<()> {
        let program = self.copy_of_limpet()?;
        let at = self.agent_at(node)?;
        self.agents[at].stop()?;
        self.agents[at].use_program(program);
        self.start_agent(node)
    }

    /// Beside the program itself: other places may be on file systems that nothing is started from.
    fn copy_of_limpet(&self) -> Result<PathBuf> {
        let original = binaries::limpet()?;
        let directory = original.with_file_name(format!("limpet-lab-{}", self.id));
        let copy = directory.join("limpet");
        if !copy.exists() {
            self.record.make_directory(&directory)?;
            fs::copy(&original, &copy)
                .with_context(|| format!("cannot copy {} to {}", original.display(), copy.display()))?;
        }
        Ok(copy)
    }
}
