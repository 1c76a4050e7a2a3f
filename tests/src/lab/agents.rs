//! The lab's agents: starting and ending them, and asking them and `limpet` on their nodes.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Lab;
use crate::address::NODES;
use crate::agent::{self, Agent, Said, Status};
use crate::binaries;
use crate::net::topology;

/// Which `limpet` an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The one that there is for people.
    Usual,
    /// One whose maps have another layout, as that of another version may.
    Other,
}

impl Lab {
    /// Lets these nodes' agents be this program from their next start on, and `limpet` there from now on.
    pub fn use_layout(&mut self, nodes: &[u8], layout: Layout) -> Result<()> {
        let program = match layout {
            Layout::Usual => binaries::limpet(),
            Layout::Other => binaries::limpet_other(),
        }?;
        for node in nodes {
            let at = self.agent_at(*node)?;
            self.agents[at].use_program(program.clone());
        }
        Ok(())
    }

    /// Starts a node's agent and does not wait for it.
    pub fn launch_agent(&mut self, node: u8) -> Result<()> {
        let at = self.agent_at(node)?;
        self.agents[at].start(&self.record, &self.manifests)
    }

    /// The same, with these flags beside those that every agent has, and these variables of its environment; they are also
    /// those of later starts, until it is given others.
    pub fn launch_agent_with(&mut self, node: u8, flags: &[&str], variables: &[(&str, &str)]) -> Result<()> {
        let at = self.agent_at(node)?;
        self.agents[at].use_flags(flags);
        self.agents[at].use_variables(variables);
        self.launch_agent(node)
    }

    /// Starts a node's agent by a command that becomes what is named after it, such as one that makes other namespaces, and
    /// waits until it is in step. Later starts are by the same, until it is given another one; none is by itself.
    pub fn start_agent_within(&mut self, node: u8, command: &[&str]) -> Result<()> {
        let at = self.agent_at(node)?;
        self.agents[at].use_surroundings(command);
        self.start_agent(node)
    }

    /// Waits until a node's agent ends by itself, and returns how it did.
    pub fn wait_for_agents_end(&mut self, node: u8, limit: Duration) -> Result<ExitStatus> {
        let at = self.agent_at(node)?;
        self.agents[at].wait_for_end(limit)
    }

    /// Waits until a node's agent is in step.
    pub fn wait_until_in_step(&self, node: u8) -> Result<()> {
        self.agents[self.agent_at(node)?].wait_until_in_step()
    }

    /// Waits until a node's agent is in step, or ends by itself; then this is how it did.
    pub fn wait_until_in_step_or_ended(&mut self, node: u8) -> Result<Option<ExitStatus>> {
        let at = self.agent_at(node)?;
        self.agents[at].wait_until_in_step_or_ended()
    }

    /// Starts a node's agent and waits until it is in step.
    pub fn start_agent(&mut self, node: u8) -> Result<()> {
        self.start_agents(&[node])
    }

    /// The same for several nodes at once.
    pub fn start_agents(&mut self, nodes: &[u8]) -> Result<()> {
        nodes.iter().try_for_each(|node| self.launch_agent(*node))?;
        nodes.iter().try_for_each(|node| self.agents[self.agent_at(*node)?].wait_until_in_step())
    }

    /// Gives agents these flags beside those that every agent has: ends those of the nodes and starts them again. None
    /// takes them back. Returns when all are in step.
    pub fn restart_agents_with(&mut self, nodes: &[u8], flags: &[&str]) -> Result<()> {
        for node in nodes {
            let at = self.agent_at(*node)?;
            self.agents[at].stop()?;
            self.agents[at].use_flags(flags);
        }
        self.start_agents(nodes)
    }

    /// Takes Limpet off nodes, as an operator does: ends their agents and runs `limpet detach`.
    pub fn detach(&mut self, nodes: &[u8]) -> Result<()> {
        for node in nodes {
            let at = self.agent_at(*node)?;
            self.agents[at].stop()?;
            let said = self.agents[at].limpet(&["detach"])?;
            ensure!(said.success, "`limpet detach` failed on n{node}: {}", said.stderr.trim());
        }
        Ok(())
    }

    /// Ends a node's agent as an upgrade would, by SIGTERM. Its datapath goes on.
    pub fn stop_agent(&mut self, node: u8) -> Result<()> {
        let at = self.agent_at(node)?;
        self.agents[at].stop()
    }

    /// Ends a node's agent by SIGKILL. Its datapath goes on.
    pub fn kill_agent(&mut self, node: u8) -> Result<()> {
        let at = self.agent_at(node)?;
        self.agents[at].kill()
    }

    /// The number of a node's agent's process; none while it does not run.
    pub fn agent_process(&self, node: u8) -> Result<Option<u32>> {
        Ok(self.agents[self.agent_at(node)?].process())
    }

    /// What `limpet status` says on a node.
    pub fn status(&self, node: u8) -> Result<Status> {
        self.agents[self.agent_at(node)?].status()
    }

    /// Runs a `limpet` command on a node, with the flags that it needs there.
    pub fn limpet(&self, node: u8, arguments: &[&str]) -> Result<Said> {
        self.agents[self.agent_at(node)?].limpet(arguments)
    }

    /// Where a node's agent pins its maps and links.
    pub fn pin_directory(&self, node: u8) -> Result<&Path> {
        Ok(self.agents[self.agent_at(node)?].pin_directory())
    }

    /// A command line for people that runs `limpet ARGUMENTS` on a node.
    pub fn limpet_line(&self, node: u8, arguments: &str) -> Result<String> {
        let agent = &self.agents[self.agent_at(node)?];
        let flags = agent.flags();
        let flags: Vec<_> = flags.iter().map(|flag| flag.to_string_lossy()).collect();
        let program = agent.program().display();
        Ok(format!("{program} {} {arguments}", flags.join(" ")))
    }

    /// The last lines of all agents' logs, to show when something failed.
    #[must_use]
    pub fn agent_logs(&self) -> String {
        self.agents.iter().map(Agent::log_tail).collect()
    }

    /// All that agents complained about, the latest of it where it is much.
    #[must_use]
    pub fn agent_warnings(&self) -> String {
        self.agents.iter().map(Agent::warnings).collect()
    }

    pub(super) fn add_agents(
        &mut self,
        limpet: &Path,
        arguments: &[String],
        environment: &[(String, String)],
    ) -> Result<()> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let pin_root = agent::make_pin_root(&self.record, &self.id)?;
        topology::wake_router(&self.names, &pin_root)?;
        for node in 1..=NODES {
            let namespace = self.names.node(node);
            let mut agent = Agent::new(&self.record, namespace, node, limpet.to_owned(), &pin_root)?;
            agent.use_flags(&arguments);
            agent.use_variables(&environment);
            agent.start(&self.record, &self.manifests)?;
            self.agents.push(agent);
        }
        self.agents.iter().try_for_each(Agent::wait_until_in_step)
    }

    pub(super) fn agent_at(&self, node: u8) -> Result<usize> {
        let at = usize::from(node).checked_sub(1);
        at.filter(|at| *at < self.agents.len()).with_context(|| format!("there is no agent on node {node}"))
    }
}
