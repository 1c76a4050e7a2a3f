//! Does what plan and troubles say, at the pace that was asked for, and writes down when.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::ALLOWED_RANGES;
use super::breaks::Breaks;
use super::history::{History, Moment, Said};
use super::kind::Kind;
use super::measure::{self, Process};
use super::plan::Plan;
use super::tally::{Tally, lock};
use super::trouble::{Trouble, Troubles};
use crate::Lab;
use crate::address::NODES;
use crate::scenarios::ledger;
use crate::world::{ServiceSpec, World};

/// Changes of objects a second.
pub(super) const CHANGES_A_SECOND: f64 = 50.0;
/// The loop looks so often what is due.
const TICK: Duration = Duration::from_millis(10);
/// Steps in a row after something took long, before troubles and measuring have their turn again.
const MAX_CATCHING_UP: usize = 20;
/// Agents and breaks are looked at so often.
const MEASURING: Duration = Duration::from_secs(5);
/// People are told so often.
const PROGRESS: Duration = Duration::from_secs(10);
/// The annotation that churns.
const EXPIRY: &str = "limpet.dev/affinity-expiry";

/// How often what else happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Happened {
    pub(super) agents_killed: u64,
    pub(super) agents_stopped: u64,
    pub(super) uplinks_down: u64,
    pub(super) pods_died: u64,
}

/// Something that ends later.
#[derive(Debug)]
enum Ending {
    Agent(u8),
    Uplink(u8),
    Pod { at: usize, pod: String },
}

impl Ending {
    fn is_of_kind(&self, trouble: Trouble) -> bool {
        match trouble {
            Trouble::AgentEnds { .. } => matches!(self, Self::Agent(_)),
            Trouble::UplinkDown { .. } => matches!(self, Self::Uplink(_)),
            Trouble::PodDies { .. } => matches!(self, Self::Pod { .. }),
        }
    }
}

/// Whoever changes the lab during the soak.
pub(super) struct Director<'a> {
    pub(super) lab: &'a mut Lab,
    /// What Kubernetes knows of the Services that churn.
    world: World,
    pub(super) plan: Plan,
    troubles: Troubles,
    history: &'a Mutex<History>,
    tally: Arc<Mutex<Tally>>,
    began: Instant,
    endings: Vec<(Moment, Ending)>,
    /// Changes of objects so far.
    pub(super) objects: u64,
    pub(super) happened: Happened,
    pub(super) breaks: Breaks,
    /// The most that each node's agents took.
    pub(super) peaks: [Process; NODES as usize],
    /// The longest that it was busy with one round of its loop. Meanwhile nothing changes, and nothing ends.
    pub(super) stall: Duration,
    /// What went wrong that no client sees.
    pub(super) problems: Vec<String>,
}

impl<'a> Director<'a> {
    pub(super) fn new(
        lab: &'a mut Lab,
        plan: Plan,
        troubles: Troubles,
        history: &'a Mutex<History>,
        tally: Arc<Mutex<Tally>>,
        began: Instant,
    ) -> Self {
        Self {
            world: lab.world().clone(),
            lab,
            plan,
            troubles,
            history,
            tally,
            began,
            endings: Vec::new(),
            objects: 0,
            happened: Happened::default(),
            breaks: Breaks::default(),
            peaks: [Process::default(); NODES as usize],
            stall: Duration::ZERO,
            problems: Vec::new(),
        }
    }

    /// Churns until a moment, or until it is told that it is over; gives the moment.
    pub(super) fn churn(&mut self, end: Moment, stop: &AtomicBool) -> Result<Moment> {
        let start = self.now();
        let (mut measured, mut told) = (start, start);
        loop {
            let now = self.now();
            if now >= end || stop.load(Ordering::Relaxed) {
                return Ok(now);
            }
            for trouble in self.troubles.due(now) {
                self.begin(trouble)?;
            }
            self.end_what_is_due(Some(now))?;
            for _ in 0..MAX_CATCHING_UP {
                // Precision beyond 2^52 changes is of no matter.
                if self.objects as f64 >= CHANGES_A_SECOND * (self.now() - start).as_secs_f64() {
                    break;
                }
                self.step()?;
            }
            if self.now() - measured >= MEASURING {
                measured = self.now();
                self.measure()?;
            }
            if self.now() - told >= PROGRESS {
                told = self.now();
                self.tell(end);
            }
            self.stall = self.stall.max(self.now() - now);
            thread::sleep(TICK);
        }
    }

    /// Ends all troubles, and brings everything back to what it was in the beginning.
    pub(super) fn restore(&mut self) -> Result<()> {
        self.end_what_is_due(None)?;
        self.plan.restore();
        (0..self.plan.services().len()).try_for_each(|at| self.write(at))
    }

    /// Looks at the agents and at the counters of breaks.
    pub(super) fn measure(&mut self) -> Result<()> {
        for node in 1..=NODES {
            self.measure_agent(node);
            self.breaks.read(node, ledger::read_node(self.lab, node)?);
        }
        Ok(())
    }

    /// A first word to the history: what there is, and where.
    pub(super) fn introduce(&mut self) -> Result<()> {
        let history = self.history;
        for pod in self.world.pods() {
            lock(history).place(pod.name(), pod.node());
        }
        let version = self.api_version()?;
        for service in self.world.services() {
            let spec = service.spec();
            let members = self.world.pods_of(service).map(|pod| (pod.name().to_owned(), pod.state)).collect();
            let said = Said { is_there: true, affinity: spec.affinity_seconds, restricted: false, members };
            let mut history = lock(history);
            history.change(self.now(), &spec.name, said);
            history.written(&spec.name, version);
        }
        Ok(())
    }

    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    fn api_version(&self) -> Result<u64> {
        self.lab.manifests().api_server().context("the soak needs an API server to write to")?.version()
    }

    fn step(&mut self) -> Result<()> {
        let (at, kind): (usize, Kind) = self.plan.step();
        self.write(at)?;
        self.objects += kind.objects();
        Ok(())
    }

    /// Has Kubernetes say what the plan says of a Service.
    fn write(&mut self, at: usize) -> Result<()> {
        let Some(service) = self.plan.services().get(at).cloned() else { return Ok(()) };
        let mut spec = ServiceSpec::new(&service.name, &[]);
        spec.affinity_seconds = service.affinity;
        if service.stable_expiry {
            spec = spec.with_annotation(EXPIRY, "stable");
        }
        if service.restricted {
            spec = spec.with(json!({"spec": {"loadBalancerSourceRanges": ALLOWED_RANGES}}));
        }
        let mut members = Vec::new();
        for member in &service.members {
            self.world.set_pod_state(&member.pod, member.state)?;
            self.world.patch_endpoint(&member.pod, Some(json!({"targetRef": {"name": member.identity}})))?;
            spec.pods.push(member.pod.clone());
            members.push((member.pod.clone(), member.state));
        }
        self.world.put_service(spec)?;
        let (is_there, affinity, restricted) = (service.is_there, service.affinity, service.restricted);
        lock(self.history).change(self.now(), &service.name, Said { is_there, affinity, restricted, members });
        let manifests = self.lab.manifests();
        if is_there {
            manifests.write_service(&self.world, &service.name)?;
        } else {
            manifests.remove_service(&service.name)?;
        }
        let version = self.api_version()?;
        lock(self.history).written(&service.name, version);
        Ok(())
    }

    /// Nothing happens where another trouble of the kind has not ended yet: ending one may take longer than planned.
    fn begin(&mut self, trouble: Trouble) -> Result<()> {
        if self.endings.iter().any(|(_, ending)| ending.is_of_kind(trouble)) {
            return Ok(());
        }
        match trouble {
            Trouble::AgentEnds { node, killed, away } => {
                self.measure_agent(node);
                lock(self.history).agent_ended(self.now(), node);
                if killed {
                    self.lab.kill_agent(node)?;
                    self.happened.agents_killed += 1;
                } else {
                    self.lab.stop_agent(node)?;
                    self.happened.agents_stopped += 1;
                }
                self.endings.push((self.now() + away, Ending::Agent(node)));
            }
            Trouble::UplinkDown { node, away } => {
                lock(self.history).cut_off(self.now(), node);
                self.lab.cut_off(node)?;
                self.happened.uplinks_down += 1;
                self.endings.push((self.now() + away, Ending::Uplink(node)));
            }
            Trouble::PodDies { told, away } => {
                let Some((at, pod)) = self.plan.lose_a_pod() else { return Ok(()) };
                if told {
                    self.write(at)?;
                }
                lock(self.history).died(self.now(), &pod);
                self.lab.crash_pod(&pod)?;
                if !told {
                    self.write(at)?;
                }
                self.objects += Kind::Removed.objects();
                self.happened.pods_died += 1;
                self.endings.push((self.now() + away, Ending::Pod { at, pod }));
            }
        }
        Ok(())
    }

    /// Ends what is due by then; all where no time is given.
    fn end_what_is_due(&mut self, now: Option<Moment>) -> Result<()> {
        let (due, later) = std::mem::take(&mut self.endings)
            .into_iter()
            .partition(|(at, _): &(Moment, Ending)| now.is_none_or(|now| *at <= now));
        self.endings = later;
        for (_, ending) in due {
            match ending {
                Ending::Agent(node) => {
                    self.lab.launch_agent(node)?;
                    lock(self.history).agent_started(self.now(), node);
                }
                Ending::Uplink(node) => {
                    self.lab.reconnect(node)?;
                    lock(self.history).reconnected(self.now(), node);
                }
                Ending::Pod { at, pod } => {
                    self.lab.revive_pod(&pod)?;
                    lock(self.history).revived(self.now(), &pod);
                    self.plan.regain(at, pod);
                }
            }
        }
        Ok(())
    }

    fn measure_agent(&mut self, node: u8) {
        if self.endings.iter().any(|(_, ending)| matches!(ending, Ending::Agent(of) if *of == node)) {
            return;
        }
        match measure::process(self.lab, node) {
            Ok(process) => {
                let peak = &mut self.peaks[usize::from(node) - 1];
                *peak = peak.max(process);
            }
            Err(error) => self.problems.push(format!("{:.3} s: {error:#}", self.now().as_secs_f64())),
        }
    }

    fn tell(&self, end: Moment) {
        let (now, end) = (self.now().as_secs(), end.as_secs());
        let tally = lock(&self.tally);
        let (requests, errors, unexplained) = (tally.total(), tally.failed(), tally.unexplained);
        let Happened { agents_killed, agents_stopped, uplinks_down, pods_died } = self.happened;
        eprintln!(
            "{now} of {end} s: {requests} requests, {errors} errors, {unexplained} unexplained; {} changes of objects, \
             {} agents ended, {uplinks_down} uplinks down, {pods_died} Pods died",
            self.objects,
            agents_killed + agents_stopped
        );
    }
}
