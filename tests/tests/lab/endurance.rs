//! What tests of agents that die or are replaced have in common: what goes on meanwhile, and what must be as it was.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use limpet_lab::Lab;
use limpet_lab::address::{CLIENTS, Family, NODES};
use limpet_lab::sessions::Crowd;
use limpet_lab::wait::let_pass;
use limpet_lab::world::{FrontendKind, Protocol, ServiceSpec};

use crate::support::{Held, INGRESS, ask_all};

/// Users of each family on each client machine, whose sessions are held by affinity.
const USERS: u8 = 50;
/// Between two rounds of held connections: the processor is the agents' as well.
const PAUSE: Duration = Duration::from_millis(50);
/// Longer than all of it takes.
const AFFINITY_SECONDS: u32 = 10_800;

/// All nodes.
pub(crate) fn nodes() -> Vec<u8> {
    (1..=NODES).collect()
}

/// Has the agents compare what is programmed with what should be: nothing may be different.
pub(crate) fn verified(lab: &Lab, nodes: &[u8]) -> Result<()> {
    for node in nodes {
        let said = lab.limpet(*node, &["verify"])?;
        ensure!(said.success, "`limpet verify` on n{node}:\n{}{}", said.stdout, said.stderr);
    }
    Ok(())
}

/// How many clients were given another Pod, of all Services that are programmed, on all nodes.
pub(crate) fn breaks(lab: &Lab) -> Result<u64> {
    let mut sum = 0;
    for node in nodes() {
        let said = lab.limpet(node, &["breaks", "-A", "-o", "json"])?.json()?;
        let totals = said["totals"].as_array().context("`limpet breaks` has another form")?;
        sum += totals.iter().filter_map(|of| of["total"].as_u64()).sum::<u64>();
    }
    Ok(sum)
}

/// A Service that holds its clients.
pub(crate) fn sticky(pods: &[String]) -> ServiceSpec {
    ServiceSpec::new("sticky", pods).with_affinity(AFFINITY_SECONDS)
}

/// Users of the Service that holds its clients: every client machine has some of both families.
pub(crate) fn crowd(lab: &Lab) -> Result<Crowd> {
    let service = lab.world().service("sticky")?;
    let mut machines = Vec::new();
    for client in (1..=CLIENTS).map(|number| lab.client(number)) {
        let mut users = Vec::new();
        for family in Family::BOTH {
            let to = service.frontend(FrontendKind::LoadBalancerIp, family, Protocol::Tcp, INGRESS)?;
            // The first address is what everything else on the machine uses, and others are held connections'.
            users.extend((0..USERS).map(|index| (client.address(family, 200 + index), to)));
        }
        machines.push((client, users));
    }
    Ok(Crowd::new(machines))
}

/// Does something while all held connections are asked again and again; says how often.
pub(crate) fn while_data_moves(held: &mut [Held], work: impl FnOnce() -> Result<()>) -> Result<usize> {
    let over = AtomicBool::new(false);
    let (outcome, asked) = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !over.load(Ordering::Relaxed) {
                ask_all(held, "while agents die")?;
                asked += held.len();
                let_pass(PAUSE);
            }
            anyhow::Ok(asked)
        });
        let outcome = work();
        over.store(true, Ordering::Relaxed);
        (outcome, asking.join())
    });
    let asked = asked.map_err(|_| anyhow!("asking panicked"))??;
    outcome.map(|()| asked)
}
