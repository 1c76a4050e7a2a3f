//! What every scenario plays on: a lab of its own, a Service with affinity, and users who are logged in.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::ledger;
use super::tally::{Losses, Measured};
use crate::address::{CLIENTS, Family, NODES};
use crate::client::Client;
use crate::sessions::{Counts, Crowd};
use crate::world::{FrontendKind, PodState, Protocol, ServiceSpec};
use crate::{Lab, Options};

/// The Service that users ask.
pub(super) const SERVICE: &str = "shop";
/// The node that everybody comes in at, unless a scenario changes it.
pub(super) const INGRESS: u8 = 1;
/// Kubernetes' default, in seconds: no scenario lasts so long.
pub(super) const AFFINITY_SECONDS: u32 = 10_800;
/// Users of each family on each client machine. They ask from their second address on: the first is
/// what everything else on that machine uses.
const USERS: [(Family, u8); 2] = [(Family::V4, 100), (Family::V6, 50)];

/// The lab while a scenario is played, and what it has cost so far.
pub(super) struct Stage<'a> {
    pub(super) lab: &'a mut Lab,
    pub(super) crowd: &'a Crowd,
    /// Nodes that are connected and have an agent: the others cannot follow what Kubernetes says.
    following: BTreeSet<u8>,
    losses: Losses,
}

/// Builds a lab, lets everybody log in, plays, and says what was counted meanwhile.
///
/// `pods` are the nodes and names of those behind the Service in the beginning. Fails when something could not be done
/// at all, with the agents' logs.
pub(super) fn play(pods: &[(u8, &str)], script: fn(&mut Stage<'_>) -> Result<()>) -> Result<Measured> {
    let mut lab = Lab::start(Options::default())?;
    let outcome = play_in(&mut lab, pods, script);
    let outcome = outcome.map_err(|error| anyhow!("{error:#}\n{}", lab.agent_logs()));
    lab.end().and(outcome)
}

fn play_in(lab: &mut Lab, pods: &[(u8, &str)], script: fn(&mut Stage<'_>) -> Result<()>) -> Result<Measured> {
    lab.add_pods_named(pods)?;
    let names: Vec<String> = pods.iter().map(|(_, name)| (*name).to_owned()).collect();
    lab.put_service(ServiceSpec::new(SERVICE, &names).with_affinity(AFFINITY_SECONDS))?;
    let everywhere: Vec<u8> = (1..=NODES).collect();
    lab.wait_until_programmed(SERVICE, &everywhere)?;

    let crowd = crowd(lab)?;
    let (losses, ledger) = crowd.keep_asking(|| {
        crowd.whole_round()?;
        let without: usize = crowd.standings().iter().filter(|user| user.pod.is_none()).count();
        ensure!(without == 0, "{without} users could not log in");
        let before = ledger::read(lab, SERVICE)?;
        let following = everywhere.into_iter().collect();
        let mut stage = Stage { lab, crowd: &crowd, following, losses: Losses::default() };
        script(&mut stage)?;
        let losses = stage.losses;
        Ok((losses, ledger::growth(&before, &ledger::read(lab, SERVICE)?)?))
    })?;

    let standings = crowd.standings();
    let mut counts = Counts::default();
    standings.iter().for_each(|user| counts += user.counts);
    Ok(Measured { clients: standings.len(), counts, losses, ledger })
}

fn crowd(lab: &Lab) -> Result<Crowd> {
    let service = lab.world().service(SERVICE)?;
    let mut machines = Vec::new();
    for number in 1..=CLIENTS {
        let client = lab.client(number);
        let mut users = Vec::new();
        for (family, count) in USERS {
            let to = service.frontend(FrontendKind::LoadBalancerIp, family, Protocol::Tcp, INGRESS)?;
            users.extend(addresses(&client, family, count).map(|from| (from, to)));
        }
        machines.push((client, users));
    }
    Ok(Crowd::new(machines))
}

fn addresses(client: &Client, family: Family, count: u8) -> impl Iterator<Item = IpAddr> {
    (2..=count + 1).map(move |index| client.address(family, index))
}

impl Stage<'_> {
    /// One change, in which the sessions at the Pods that are `going` cannot be kept, and no others may be lost.
    ///
    /// Users ask all the time, and at the end of it everybody has asked after the change. They must have done so as
    /// well while a Pod that is to come back is away: some users would not notice it else.
    pub(super) fn step(&mut self, going: &[&str], change: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let before = self.crowd.standings();
        change(self)?;
        self.crowd.whole_round()?;
        self.losses += Losses::of_step(&before, &self.crowd.standings(), &going.iter().copied().collect());
        Ok(())
    }

    /// Waits until every node that can has followed what Kubernetes says.
    pub(super) fn programmed(&self) -> Result<()> {
        let nodes: Vec<u8> = self.following.iter().copied().collect();
        self.lab.wait_until_programmed(SERVICE, &nodes)
    }

    /// The same, and until everybody has asked since.
    pub(super) fn settled(&self) -> Result<()> {
        self.programmed()?;
        self.crowd.whole_round()
    }

    /// Lets everybody ask until this much time has passed, and once at the least.
    pub(super) fn rounds_for(&self, time: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            self.crowd.whole_round()?;
            if start.elapsed() >= time {
                return Ok(());
            }
        }
    }

    /// From now on this node is not expected to follow changes.
    pub(super) fn loses_node(&mut self, node: u8) {
        self.following.remove(&node);
    }

    /// Starts Pods and puts them behind the Service, as ready ones.
    pub(super) fn join(&mut self, pods: &[(u8, &str)]) -> Result<()> {
        self.lab.add_pods_named(pods)?;
        let mut spec = self.lab.world().service(SERVICE)?.spec().clone();
        spec.pods.extend(pods.iter().map(|(_, name)| (*name).to_owned()));
        self.lab.put_service(spec)?;
        self.programmed()
    }

    /// Takes Pods away as Kubernetes does: they terminate, which everybody has time to notice, and then they are gone.
    pub(super) fn leave(&mut self, pods: &[&str]) -> Result<()> {
        self.set_state(pods, PodState::Terminating)?;
        self.crowd.whole_round()?;
        pods.iter().try_for_each(|pod| self.lab.remove_pod(pod))?;
        self.programmed()
    }

    /// Has Kubernetes say this about Pods, and waits until it is programmed.
    pub(super) fn set_state(&mut self, pods: &[&str], state: PodState) -> Result<()> {
        pods.iter().try_for_each(|pod| self.lab.set_pod_state(pod, state))?;
        self.programmed()
    }

    /// How many sessions a Pod has.
    pub(super) fn sessions_at(&self, pod: &str) -> usize {
        self.crowd.standings().iter().filter(|user| user.pod.as_deref() == Some(pod)).count()
    }
}
