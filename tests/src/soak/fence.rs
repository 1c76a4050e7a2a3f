//! Finds out by packets what each node has programmed.
//!
//! Each node has a Service of its own with one of two Pods behind it, in turn. When the other Pod answers at the node, all
//! that was written before it took the turn is programmed there as well, but for what the same round of the agent has
//! yet to write: see [`SAME_ROUND`](super::history::SAME_ROUND). Nothing is asked of the agent, who might be wrong.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::history::{History, Moment, Window};
use super::tally::{Event, lock};
use super::traffic::{FENCE, Source};
use crate::Lab;
use crate::address::Family;
use crate::api_server::ApiServer;
use crate::client::{self, Client};
use crate::manifest::Manifests;
use crate::world::{FrontendKind, Protocol, ServiceSpec, World};

/// Turns are so far apart at the least: each costs every agent a round.
const TURN: Duration = Duration::from_millis(250);
/// How long to wait for an answer, and between two looks.
const LOOK: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(5);
/// The longest that a node may take, without the time in which it had no agent or its uplink was down.
const LIMIT: Duration = Duration::from_secs(20);

/// What a node's fence needs.
#[derive(Debug)]
pub(super) struct Fence {
    node: u8,
    pods: [String; 2],
    service: String,
    world: World,
    manifests: Manifests,
    api: Arc<ApiServer>,
    client: Client,
}

/// The names of a node's two Pods for this.
pub(super) fn pods_of(node: u8) -> [String; 2] {
    ["a", "b"].map(|which| format!("fence-{node}-{which}"))
}

impl Fence {
    /// A fence for a node whose Pods are there. Its Service is written by it alone.
    pub(super) fn new(lab: &mut Lab, node: u8) -> Result<Self> {
        let pods = pods_of(node);
        let service = format!("fence-{node}");
        lab.put_service(ServiceSpec::new(&service, &pods[..1]))?;
        let api = Arc::clone(lab.manifests().api_server().context("the soak needs an API server to write to")?);
        let mut manifests = Manifests::in_directories(PathBuf::new(), PathBuf::new());
        manifests.read_from(Arc::clone(&api), PathBuf::new());
        Ok(Self { node, pods, service, world: lab.world().clone(), manifests, api, client: lab.client(1) })
    }

    /// Takes turns until the soak is over, and tells what it finds.
    pub(super) fn run(
        mut self,
        began: Instant,
        over: &AtomicBool,
        history: &Mutex<History>,
        events: &Sender<Event>,
    ) -> Result<()> {
        let client = self.client.clone();
        client.inside(|| {
            let mut source = Source::new(self.client.clone(), FENCE);
            for turn in 1.. {
                let begun = Instant::now();
                let version = self.api.version()?;
                let pod = self.pods[turn % 2].clone();
                self.world.put_service(ServiceSpec::new(&self.service, std::slice::from_ref(&pod)))?;
                self.manifests.write_service(&self.world, &self.service)?;
                let mut is_told = false;
                while !self.is_answered_by(&mut source, &pod)? {
                    if over.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    let (from, now) = (begun.duration_since(began), began.elapsed());
                    if !is_told && self.is_overdue(from, now, history) {
                        is_told = true;
                        let (node, from, now) = (self.node, from.as_secs_f64(), now.as_secs_f64());
                        let what = format!("{now:.3} s: n{node} has not programmed a change of {from:.3} s yet");
                        let _gone = events.send(Event::Problem(what));
                    }
                    thread::sleep(PAUSE);
                }
                lock(history).programmed(began.elapsed(), self.node, version);
                let _gone = events.send(Event::Programmed { node: self.node, took: begun.elapsed() });
                thread::sleep(TURN.saturating_sub(begun.elapsed()));
                if over.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            Ok(())
        })
    }

    fn is_overdue(&self, from: Moment, to: Moment, history: &Mutex<History>) -> bool {
        let took = to.saturating_sub(from);
        took > LIMIT && took - lock(history).hindered(self.node, Window { from, to }).min(took) > LIMIT
    }

    fn is_answered_by(&self, source: &mut Source, pod: &str) -> Result<bool> {
        let service = self.world.service(&self.service)?;
        let to = service.frontend(FrontendKind::NodePort, Family::V4, Protocol::Udp, self.node)?;
        let answer = client::send_within(to, source.next(Family::V4, self.node), LOOK);
        Ok(answer.is_ok_and(|answer| answer.pod == pod))
    }
}
