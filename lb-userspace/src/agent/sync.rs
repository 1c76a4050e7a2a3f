//! One round: read the source, compute what should be, plan, write.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use lb_common::layout::THIS_NODE;
use tracing::info;

use super::{hops::Hops, report::SyncFacts};
use crate::{
    cli::AgentOptions,
    dataplane::{self, Maps},
    fail_point,
    model::{self, Desired, HealthCheck, Memo, NodeEligibility, Options, WithoutLocalEndpoints},
    plan::{self, Applied, Limits, Plan, Settled, Write},
    source::{Changes, Problem, Snapshot, Source},
};

/// Pause before ways that could not be looked up are tried again.
const WAYS_RETRY: Duration = Duration::from_secs(2);

/// Beyond so many changes that wait to be programmed, the time that newer ones take is not measured.
const MAX_TRIGGERS: usize = 65_536;

/// What a round found and did.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The objects that all of it comes from.
    pub(super) snapshot: Snapshot,
    /// What is wrong with the objects, or does not fit.
    pub(super) problems: Vec<Problem>,
    /// When another round may do more although nothing else changes.
    pub(super) again_in: Option<Duration>,
    /// What others serve.
    pub(super) serve: Serve,
    /// What was done, and how fast.
    pub(super) facts: SyncFacts,
    /// Limits of the maps that were met; among the problems as well.
    pub(super) limits: Vec<Problem>,
}

/// What the objects ask for besides what is programmed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Serve {
    /// Health-check node ports, sorted.
    pub(super) health_checks: Vec<HealthCheck>,
    /// Whether load balancers may send to this node.
    pub(super) eligibility: NodeEligibility,
    /// Service ports that keep their traffic on the node and have nobody here.
    pub(super) without_local_endpoints: WithoutLocalEndpoints,
}

/// What is programmed, and how what should be is worked out.
pub(super) struct Syncer {
    options: Options,
    limits: Limits,
    applied: Applied,
    /// What Services asked for in the last round.
    memo: Memo,
    /// What was desired when everything was last written; none while something is left to do.
    settled: Option<Settled>,
    started: Instant,
    /// When the last round was planned.
    planned_seconds: u64,
    /// When what is being programmed happened, as far as it is known; kept over rounds that fail.
    triggers: Vec<Timestamp>,
}

/// What a round is to do, and what it comes from.
struct Round {
    snapshot: Snapshot,
    problems: Vec<Problem>,
    changes: Changes,
    plan: Plan,
    desired: Desired,
}

impl Syncer {
    /// Reads back what an earlier agent programmed.
    ///
    /// # Errors
    /// When the maps cannot be read, or the tunnel cannot be moved to another port than that agent's.
    pub(super) fn start(options: &AgentOptions, maps: &mut Maps) -> Result<Self> {
        let applied = dataplane::read(maps, 0).context("cannot read back what is programmed")?;
        if !applied.services.is_empty() {
            info!(
                service_ports = applied.services.len(),
                frontends = applied.frontends.len(),
                "took over the datapath that an earlier agent left"
            );
        }
        let own = applied.nodes.get(&THIS_NODE).map(|node| node.addresses).unwrap_or_default();
        dataplane::move_tunnel(maps, own, options.tunnel_port)?;
        Ok(Self {
            options: Options {
                node: options.node.clone(),
                tunnel_port: options.tunnel_port,
                service_class: options.services.service_class.clone(),
                service_proxy_name: options.services.service_proxy_name.clone(),
                node_port_addresses: options.services.node_port_addresses.clone(),
                local_addresses: Vec::new(),
            },
            limits: Limits::from(&options.limits.sizes()),
            applied,
            memo: Memo::default(),
            settled: None,
            started: Instant::now(),
            planned_seconds: 0,
            triggers: Vec::new(),
        })
    }

    /// From the next round on, these are the addresses of this node's devices.
    pub(super) fn use_addresses(&mut self, addresses: Vec<IpAddr>) {
        self.options.local_addresses = addresses;
    }

    /// Brings the datapath in step. After a failure the next round goes on from where this one came to.
    ///
    /// Ways to other nodes that cannot be looked up hold nothing else up: it is among the problems of `hops`, and
    /// another round is asked for. None while the source does not know everything: then nothing is done at all.
    ///
    /// # Errors
    /// When a map cannot be written. What was written before stays.
    pub(super) async fn sync(
        &mut self,
        source: &mut Source,
        maps: &mut Maps,
        hops: &mut Hops,
    ) -> Result<Option<Outcome>> {
        let begun = Instant::now();
        let now_seconds = self.started.elapsed().as_secs();
        // With many Services this takes long, in which the other tasks get another thread.
        let Some(round) = tokio::task::block_in_place(|| self.plan(source, now_seconds)) else {
            return Ok(None);
        };
        let Round { snapshot, mut problems, changes, plan, desired } = round;
        let serve = Serve::of(&desired);
        if self.triggers.len() < MAX_TRIGGERS {
            self.triggers.extend(changes.triggers);
        }
        problems.extend(plan.problems.iter().cloned());
        let mut ways = None;
        for write in &plan.writes {
            // Before anything points at a backend on a new node, the way there.
            if ways.is_none() && matches!(write, Write::Table { .. } | Write::Frontend { .. }) {
                ways = Some(hops.follow(&self.applied, self.options.tunnel_port, maps).await);
            }
            fail_point::pass("write");
            dataplane::write(maps, write, &self.applied, self.options.tunnel_port)?;
            self.applied.apply(write, now_seconds);
        }
        self.settled = Settled::after(&plan, desired);
        // Again, for the nodes that went since, unless it was in vain just now.
        let ways = match ways {
            Some(Err(failure)) => Err(failure),
            Some(Ok(())) | None => hops.follow(&self.applied, self.options.tunnel_port, maps).await,
        };
        if !plan.writes.is_empty() {
            info!(writes = plan.writes.len(), service_ports = self.applied.services.len(), "brought in step");
        }
        problems.sort();
        problems.dedup();
        let planned = plan.again_at.map(|at| Duration::from_secs(at.saturating_sub(now_seconds).max(1)));
        let retry = ways.is_err().then_some(WAYS_RETRY);
        Ok(Some(Outcome {
            snapshot,
            problems,
            again_in: planned.into_iter().chain(retry).min(),
            serve,
            facts: SyncFacts {
                duration: begun.elapsed(),
                writes: plan.writes.len(),
                service_changes: changes.service_changes,
                endpoint_changes: changes.endpoint_changes,
                triggers: std::mem::take(&mut self.triggers),
            },
            limits: plan.problems,
        }))
    }

    /// The tunnel's port.
    pub(super) fn tunnel_port(&self) -> u16 {
        self.options.tunnel_port
    }

    /// What is programmed.
    pub(super) fn applied(&self) -> &Applied {
        &self.applied
    }

    /// What will be programmed when all that is desired now is, and what does not fit; none while the source does not know
    /// everything. Nothing is written, and what only waits for its time is no part of it.
    pub(super) fn due(&mut self, source: &mut Source) -> Option<(Applied, Vec<Problem>)> {
        let (snapshot, _problems, changes) = source.read()?;
        // The next round programs them.
        self.triggers.extend(changes.triggers);
        let (desired, _problems) = model::desired_with(&snapshot, &self.options, &mut self.memo);
        let plan = plan::plan(&self.applied, &desired, self.planned_seconds, &self.limits);
        let mut applied = self.applied.clone();
        plan.writes.iter().for_each(|write| applied.apply(write, self.planned_seconds));
        Some((applied, plan.problems))
    }

    /// From the next round on, what the maps hold now is what is programmed.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn read_back(&mut self, maps: &Maps) -> Result<()> {
        let now_seconds = self.started.elapsed().as_secs();
        let read = dataplane::read(maps, now_seconds).context("cannot read back what is programmed")?;
        self.applied = read.with_times_of(&self.applied, now_seconds);
        self.settled = None;
        Ok(())
    }

    /// What the source says, what is wrong with it, and what must be written.
    fn plan(&mut self, source: &mut Source, now_seconds: u64) -> Option<Round> {
        let (snapshot, mut problems, changes) = source.read()?;
        let (desired, found) = model::desired_with(&snapshot, &self.options, &mut self.memo);
        problems.extend(found);
        self.planned_seconds = now_seconds;
        // Taken: it is good again when all that is planned now is written.
        let settled = self.settled.take();
        let plan = plan::plan_after(settled.as_ref(), &self.applied, &desired, now_seconds, &self.limits);
        Some(Round { snapshot, problems, changes, plan, desired })
    }
}

impl Serve {
    fn of(desired: &Desired) -> Self {
        let Desired { health_checks, eligibility, without_local_endpoints, .. } = desired;
        Self {
            health_checks: health_checks.clone(),
            eligibility: *eligibility,
            without_local_endpoints: *without_local_endpoints,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, panic::resume_unwind, thread};

    use clap::Parser;
    use nix::sched::{CloneFlags, unshare};
    use tokio::runtime::{Builder, Runtime};

    use super::*;
    use crate::{
        cli::{Cli, Command},
        dataplane::{Sizes, Switches, load},
        netlink::Netlink,
    };

    const MANIFESTS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.10}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: [{addresses: [10.1.0.1], nodeName: n1, targetRef: {kind: Pod, name: a}}]
---
apiVersion: v1
kind: Node
metadata: {name: n0}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}
"#;

    fn options(source: &str) -> AgentOptions {
        let limits =
            "--max-flows=64 --max-slots=1024 --max-backends=16 --max-services=8 --max-frontends=16 --max-nodes=8";
        let line = format!("limpet agent --source dir:{source} --node n0 {limits}");
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Agent(options) => *options,
            other => panic!("{other:?}"),
        }
    }

    fn runtime() -> Runtime {
        Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    /// Netlink once held up everything, and its error was forgotten by the next round, which had nothing to write.
    #[test]
    fn ways_that_cannot_be_looked_up_hold_nothing_up_and_are_tried_again() {
        let test = || {
            let home = tempfile::tempdir().unwrap();
            fs::write(home.path().join("all.yaml"), MANIFESTS).unwrap();
            let options = options(home.path().to_str().unwrap());
            let sizes: Sizes = options.limits.sizes();
            let mut maps =
                load(&sizes, None, Switches::default()).expect("this test makes BPF maps: run it as root").maps;
            unshare(CloneFlags::CLONE_NEWNET).expect("this test makes a network namespace: run it as root");
            let runtime = runtime();
            // A connection that ends with its runtime.
            let broken = self::runtime().block_on(async { Netlink::open().unwrap() });
            let mut hops = Hops::new(broken);
            let mut syncer = Syncer::start(&options, &mut maps).unwrap();
            runtime.block_on(async {
                let mut source = Source::directory(home.path()).unwrap();
                for round in ["first", "with nothing to write"] {
                    let outcome = syncer.sync(&mut source, &mut maps, &mut hops).await.unwrap().unwrap();
                    assert_eq!(outcome.problems, [], "{round}");
                    assert_eq!(outcome.again_in, Some(WAYS_RETRY), "{round}");
                    assert!(hops.problems()[0].message.contains("netlink"), "{round}: {:?}", hops.problems());
                    // The Service's, and this node's end of the tunnel.
                    assert_eq!(maps.v4.frontends.keys().count(), 2, "{round}");
                }
                let mut hops = Hops::new(Netlink::open().unwrap());
                let outcome = syncer.sync(&mut source, &mut maps, &mut hops).await.unwrap().unwrap();
                assert_eq!(outcome.again_in, None);
                assert!(hops.problems()[0].message.contains("there is no route"), "{:?}", hops.problems());
            });
        };
        thread::spawn(test).join().unwrap_or_else(|panic| resume_unwind(panic));
    }
}
