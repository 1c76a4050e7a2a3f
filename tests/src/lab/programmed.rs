//! Waiting until the nodes do what Kubernetes says.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::Lab;
use crate::address::Family;
use crate::agent::Agent;
use crate::wait;

/// How long a change may take until it is programmed.
const LIMIT: Duration = Duration::from_secs(30);

impl Lab {
    /// Waits until these nodes send new connections to a Service to exactly the Pods that they may go to now, and have
    /// finished everything else that they had to write. Their agents must run.
    pub fn wait_until_programmed(&self, service: &str, nodes: &[u8]) -> Result<()> {
        let known = self.world.service(service)?;
        ensure!(!known.spec().local_only, "which Pods a node uses depends on the node: Service {service} is Local");
        let usable = self.world.usable_pods_of(known);
        let expected: BTreeSet<IpAddr> =
            usable.into_iter().flat_map(|pod| Family::BOTH.map(|family| pod.address(family))).collect();
        nodes.iter().try_for_each(|node| wait_for_agent(&self.agents[self.agent_at(*node)?], service, &expected))
    }
}

fn wait_for_agent(agent: &Agent, service: &str, expected: &BTreeSet<IpAddr>) -> Result<()> {
    let what = format!("the agent on {} to use the Pods of Service {service}", agent.node());
    let programmed = wait::until_true(&what, LIMIT, || {
        let used = agent.used_backends(service)?;
        ensure!(used == *expected, "it uses {used:?}, and {expected:?} are ready");
        Ok(true)
    });
    // The agent says so only after the last write of the same change.
    let in_step = programmed.and_then(|()| agent.wait_until_in_step());
    if let Err(error) = in_step {
        bail!("{error:#}\n{}", agent.log_tail());
    }
    Ok(())
}
