//! What goes wrong in a data centre, or is done there on purpose: servers that restart, nodes that are cut off, agents
//! that are upgraded.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Lab, wait_until_ready};
use crate::binaries;
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

    /// Cuts a node and its Pods off from everybody, as when its cable is pulled. What runs there runs on.
    pub fn cut_off(&self, node: u8) -> Result<()> {
        topology::connect_node(&self.names, node, false)
    }

    /// Connects a node again that was cut off.
    pub fn reconnect(&self, node: u8) -> Result<()> {
        topology::connect_node(&self.names, node, true)
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
