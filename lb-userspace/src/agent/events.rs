//! Kubernetes Events on Services: clients got another Pod, or a Service found no room in the maps.
//!
//! Never one for each client. Breaks are added up by Service and reason over a window of five minutes of the wall clock.
//! After its end every node that saw some waits for its place in a line that all nodes agree on ([`rank`]), and creates
//! an Event whose name is the same on all of them: the first one is taken, the others are refused, which is all that
//! there is to agree on. So there is at most one Event for each Service, reason and window, from one node, which tells what
//! it saw itself.

mod post;
mod queue;
mod rank;
mod statement;
mod tally;
mod window;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::Client;
use lb_common::breaks::BreakReason;
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{sleep, sleep_until},
};
use tracing::{info, warn};

pub(super) use self::tally::Counts;
use self::{
    post::Posted,
    queue::{Queue, Waiting},
    statement::{ServiceName, Statement, Subject},
    tally::Told,
    window::Window,
};
use super::http::Troubles;
use crate::{
    dataplane,
    model::ServicePortName,
    source::{Problem, Snapshot},
};

/// What troubles of Events are kept under.
const TROUBLE: &str = "Kubernetes Events";

/// How often the same is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Breaks are added up for so long.
    pub(super) breaks: Duration,
    /// While a limit is reached, that is told again after so long: as long as API servers keep Events.
    pub(super) limits: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { breaks: Duration::from_secs(300), limits: Duration::from_secs(3600) }
    }
}

/// What there is to tell, as the agent's loop hands it over. Shared with the task that tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Announcer {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    known: Mutex<Known>,
    has_limits: Notify,
}

#[derive(Debug, Default)]
struct Known {
    told: Told,
    /// Services that found no room, and why.
    limited: BTreeMap<ServiceName, String>,
    /// Where Services' uids and the nodes are.
    snapshot: Snapshot,
}

/// Reads the datapath's counters of breaks.
pub(super) type ReadCounts = Arc<dyn Fn() -> Result<Counts, dataplane::Error> + Send + Sync>;

/// Who tells, and from where.
pub(super) struct Reporter {
    /// The way to the API server.
    pub(super) client: Client,
    /// This node's name.
    pub(super) node: String,
    /// The datapath's counters of breaks.
    pub(super) counts: ReadCounts,
    /// Where it is said that Events cannot be created.
    pub(super) troubles: Troubles,
    /// How often the same is told.
    pub(super) pace: Pace,
}

impl Announcer {
    /// A client of this Service port got another backend.
    pub(super) fn broken(&self, service: &ServicePortName, reason: BreakReason) {
        self.known().told.add(service, reason);
    }

    /// A round is done: this is the cluster, and these limits of the maps were met.
    pub(super) fn synced(&self, snapshot: Snapshot, limits: &[Problem]) {
        let limited: BTreeMap<_, _> = limits.iter().filter_map(limited).collect();
        let mut known = self.known();
        known.snapshot = snapshot;
        let is_new = known.limited != limited;
        known.limited = limited;
        drop(known);
        if is_new {
            self.shared.has_limits.notify_one();
        }
    }

    /// Tells for as long as the agent runs.
    pub(super) async fn tell(self, reporter: Reporter) {
        let mut telling = Telling::new(self, reporter).await;
        loop {
            // No later than the clock says, even if somebody sets it.
            let rest = telling.window.rest(Timestamp::now()).min(telling.reporter.pace.breaks);
            let due = telling.queue.next_due().unwrap_or_else(Instant::now);
            tokio::select! {
                () = sleep(rest) => telling.close_window().await,
                () = telling.announcer.shared.has_limits.notified() => telling.tell_limits(),
                () = sleep_until(due.into()), if telling.queue.next_due().is_some() => telling.tell_next().await,
            }
        }
    }

    /// A panic elsewhere leaves nothing half-written in here that matters.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that tells.
struct Telling {
    announcer: Announcer,
    reporter: Reporter,
    window: Window,
    /// The counters when the window began.
    counts: Counts,
    /// Limits that were told already, and in which window.
    limits: BTreeMap<ServiceName, Window>,
    queue: Queue,
}

impl Telling {
    async fn new(announcer: Announcer, reporter: Reporter) -> Self {
        let window = Window::of(Timestamp::now(), reporter.pace.breaks);
        let counts = read(&reporter.counts).await.unwrap_or_default();
        Self { announcer, reporter, window, counts, limits: BTreeMap::new(), queue: Queue::default() }
    }

    /// Lets what happened in the window wait for its turn, if the window is over.
    async fn close_window(&mut self) {
        let now = Window::of(Timestamp::now(), self.reporter.pace.breaks);
        if now == self.window {
            return;
        }
        let over = std::mem::replace(&mut self.window, now);
        let told = self.announcer.known().told.take();
        let counted = match read(&self.reporter.counts).await {
            Some(counts) => {
                let grown = tally::growth(&self.counts, &counts);
                self.counts = counts;
                grown
            }
            None => Counts::new(),
        };
        self.enqueue(tally::statements(counted, told, over));
        self.tell_limits();
    }

    /// Lets what is new about limits wait for its turn.
    fn tell_limits(&mut self) {
        let window = Window::of(Timestamp::now(), self.reporter.pace.limits);
        let new = new_limits(&self.announcer.known().limited, &mut self.limits, window);
        self.enqueue(new);
    }

    fn enqueue(&mut self, statements: Vec<Statement>) {
        if statements.is_empty() {
            return;
        }
        let nodes = live_nodes(&self.announcer.known().snapshot);
        let now = Instant::now();
        let mut untold = 0;
        for statement in statements {
            let ServiceName { namespace, name } = &statement.service;
            let of = format!("{namespace}/{name} {}", statement.subject.word());
            let rank = rank::rank(nodes.iter().map(String::as_str), &self.reporter.node, &of);
            let due = now + rank::wait(rank, nodes.len());
            // Two windows later it is old news.
            let until = due + 2 * self.reporter.pace.breaks;
            untold += u32::from(!self.queue.push(due, Waiting { statement, until }));
        }
        if untold > 0 {
            warn!(untold, "too many Kubernetes Events at once; these are not told");
        }
    }

    async fn tell_next(&mut self) {
        let Some(waiting) = self.queue.pop(Instant::now()) else {
            return;
        };
        // Who is gone is not told of.
        let Some(uid) = uid(&self.announcer.known().snapshot, &waiting.statement.service) else {
            return;
        };
        let event = waiting.statement.event(uid.as_deref(), &self.reporter.node, Timestamp::now());
        let trouble = match post::create(&self.reporter.client, &event).await {
            Posted::Told => {
                let ServiceName { namespace, name } = &waiting.statement.service;
                info!(
                    service = format!("{namespace}/{name}"),
                    about = waiting.statement.subject.word(),
                    "Event created"
                );
                None
            }
            Posted::ToldByAnother | Posted::TooLate => None,
            Posted::Refused(why) => Some(why),
            Posted::Failed(why) => {
                self.queue.retry(waiting, Instant::now());
                Some(why)
            }
        };
        // The same once more is not logged again.
        self.reporter.troubles.set(TROUBLE, trouble.map(|why| Problem::warning(why).about(TROUBLE)));
    }
}

/// The counters, off the runtime's threads. One that cannot be read says nothing, and `limpet status` says why.
async fn read(counts: &ReadCounts) -> Option<Counts> {
    let counts = Arc::clone(counts);
    match spawn_blocking(move || counts()).await {
        Ok(Ok(counts)) => Some(counts),
        Ok(Err(error)) => {
            warn!("cannot read the counters of breaks: {error}");
            None
        }
        Err(_) => None,
    }
}

/// The limits that were not told in this window; afterwards they were.
fn new_limits(
    limited: &BTreeMap<ServiceName, String>,
    told: &mut BTreeMap<ServiceName, Window>,
    window: Window,
) -> Vec<Statement> {
    told.retain(|_, told| *told == window);
    let mut is_new = |service: &ServiceName| told.insert(service.clone(), window).is_none();
    let statement = |(service, why): (&ServiceName, &String)| {
        let subject = Subject::LimitReached(why.clone());
        is_new(service).then(|| Statement { service: service.clone(), subject, window })
    };
    limited.iter().filter_map(statement).collect()
}

/// The Service that a limit was met by, and what happens to it.
fn limited(problem: &Problem) -> Option<(ServiceName, String)> {
    let (namespace, name) = problem.object.as_deref()?.strip_prefix("Service ")?.split_once('/')?;
    Some((ServiceName { namespace: namespace.to_owned(), name: name.to_owned() }, problem.message.clone()))
}

/// Those that are not being deleted.
fn live_nodes(snapshot: &Snapshot) -> Vec<String> {
    let live = snapshot.nodes.iter().filter(|node| node.object.metadata.deletion_timestamp.is_none());
    live.filter_map(|node| node.object.metadata.name.clone()).collect()
}

/// The uid of a Service, where it has one; none of it where there is no such Service.
fn uid(snapshot: &Snapshot, service: &ServiceName) -> Option<Option<String>> {
    let is_it = |metadata: &kube::api::ObjectMeta| {
        metadata.name.as_deref() == Some(service.name.as_str())
            && metadata.namespace.as_deref() == Some(service.namespace.as_str())
    };
    let found = snapshot.services.iter().find(|it| is_it(&it.object.metadata))?;
    Some(found.object.metadata.uid.clone())
}

#[cfg(test)]
mod tests;
