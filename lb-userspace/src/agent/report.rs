//! What the agent says of itself, kept up to date for its socket; new problems also go to the log, once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tracing::{error, info, warn};

use super::sync::{Outcome, Serve};
use crate::{
    api::{AgentStatus, SourceStatus},
    cli::AgentOptions,
    dataplane::Attached,
    model::NodeEligibility,
    source::{Problem, Severity, SourceState, Standing},
};

/// The agent's state, shared with whoever tells of it.
#[derive(Clone, Debug)]
pub(super) struct Report {
    standing: Standing,
    state: Arc<Mutex<State>>,
    listeners: Arc<Mutex<Listeners>>,
}

#[derive(Debug)]
struct State {
    node: String,
    started: Instant,
    source: SourceStatus,
    in_step: bool,
    syncs: u64,
    last_sync: Option<(Instant, Timestamp)>,
    last_queued: Option<Timestamp>,
    oldest_pending: Option<Instant>,
    /// Changes of Services and of slices that are programmed.
    programmed: (u64, u64),
    serve: Serve,
    error: Option<String>,
    uplinks: Vec<Attached>,
    problems: Vec<Problem>,
    hop_problems: Vec<Problem>,
    uplink_problems: Vec<Problem>,
    other_problems: BTreeMap<&'static str, Vec<Problem>>,
}

/// What a round did, and how fast.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SyncFacts {
    /// From reading the source to the last map written.
    pub(super) duration: Duration,
    /// How much was written.
    pub(super) writes: usize,
    /// Changes of Services since the agent started that are programmed now.
    pub(super) service_changes: u64,
    /// Changes of EndpointSlices, in the same way.
    pub(super) endpoint_changes: u64,
    /// When the changes happened that this round programmed, of the slices that say so (C.5).
    pub(super) triggers: Vec<Timestamp>,
}

/// How far programming has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Progress {
    /// Rounds that were done.
    pub(super) syncs: u64,
    /// When the last one was.
    pub(super) last_sync: Option<Timestamp>,
    /// When the source last had something to do.
    pub(super) last_queued: Option<Timestamp>,
    /// Since when the oldest change waits that is not programmed; none while there is none.
    pub(super) oldest_pending: Option<Instant>,
    /// Changes of Services that came since the agent started.
    pub(super) service_changes: u64,
    /// Those of them that are not programmed yet.
    pub(super) service_changes_pending: u64,
    /// Changes of EndpointSlices that came since the agent started.
    pub(super) endpoint_changes: u64,
    /// Those of them that are not programmed yet.
    pub(super) endpoint_changes_pending: u64,
}

/// Who wants to hear of every round.
#[derive(Default)]
struct Listeners(Vec<Listener>);

type Listener = Box<dyn Fn(&SyncFacts) + Send>;

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} listeners", self.0.len())
    }
}

impl State {
    fn all_problems(&self) -> impl Iterator<Item = &Problem> {
        let own = [&self.problems, &self.hop_problems, &self.uplink_problems];
        own.into_iter().chain(self.other_problems.values()).flatten()
    }
}

impl Report {
    pub(super) fn new(options: &AgentOptions, standing: Standing) -> Self {
        let state = State {
            node: options.node.clone(),
            started: Instant::now(),
            source: SourceStatus::default(),
            in_step: false,
            syncs: 0,
            last_sync: None,
            last_queued: None,
            oldest_pending: None,
            programmed: (0, 0),
            serve: Serve::default(),
            error: None,
            uplinks: Vec::new(),
            problems: Vec::new(),
            hop_problems: Vec::new(),
            uplink_problems: Vec::new(),
            other_problems: BTreeMap::new(),
        };
        Self { standing, state: Arc::new(Mutex::new(state)), listeners: Arc::default() }
    }

    /// From now on this hears of every round that is done, from the agent's loop: it must be quick.
    pub(super) fn on_sync(&self, listener: impl Fn(&SyncFacts) + Send + 'static) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).0.push(Box::new(listener));
    }

    /// The source has changed, and the datapath not yet.
    pub(super) fn fall_behind(&self) {
        let mut state = self.state();
        state.in_step = false;
        state.last_queued = Some(Timestamp::now());
        state.oldest_pending.get_or_insert_with(Instant::now);
    }

    /// The source has changed, but does not know everything yet: nothing waits to be programmed.
    pub(super) fn nothing_to_do(&self) {
        self.state().oldest_pending = None;
    }

    /// The maps are what the source asks for, as far as they can be.
    pub(super) fn in_step(&self, outcome: &Outcome, hop_problems: Vec<Problem>) {
        let mut state = self.state();
        let before = mem::replace(&mut state.problems, outcome.problems.clone());
        state.source = SourceStatus {
            complete: outcome.snapshot.complete,
            services: outcome.snapshot.services.len(),
            endpoint_slices: outcome.snapshot.slices.len(),
            nodes: outcome.snapshot.nodes.len(),
            ..SourceStatus::default()
        };
        state.hop_problems = hop_problems;
        state.in_step = true;
        state.syncs += 1;
        state.last_sync = Some((Instant::now(), Timestamp::now()));
        state.oldest_pending = None;
        state.programmed = (outcome.facts.service_changes, outcome.facts.endpoint_changes);
        state.serve.clone_from(&outcome.serve);
        state.error = None;
        drop(state);
        for listener in &self.listeners.lock().unwrap_or_else(PoisonError::into_inner).0 {
            listener(&outcome.facts);
        }
        log_news(&before, &outcome.problems);
    }

    /// The datapath could not be brought in step.
    pub(super) fn failed(&self, failure: &anyhow::Error) {
        let mut state = self.state();
        state.in_step = false;
        state.oldest_pending.get_or_insert_with(Instant::now);
        state.error = Some(format!("{failure:#}"));
    }

    /// These devices have our programs, and this is wrong with others. While anything is, the datapath is not in step.
    pub(super) fn uplinks(&self, attached: Vec<Attached>, problems: Vec<Problem>) {
        let mut state = self.state();
        let before = mem::replace(&mut state.uplink_problems, problems.clone());
        state.uplinks = attached;
        drop(state);
        log_news(&before, &problems);
    }

    /// These nodes cannot be reached.
    pub(super) fn hops(&self, problems: Vec<Problem>) {
        self.state().hop_problems = problems;
    }

    /// This is wrong with another part of the agent, which has the name given; what was before is over.
    pub(super) fn problems_of(&self, part: &'static str, problems: Vec<Problem>) {
        let before = self.state().other_problems.insert(part, problems.clone()).unwrap_or_default();
        log_news(&before, &problems);
    }

    /// How it is with the source now.
    pub(super) fn source(&self) -> SourceState {
        self.standing.state()
    }

    /// How far programming has come.
    pub(super) fn progress(&self) -> Progress {
        let (service_changes, endpoint_changes) = self.standing.seen();
        let state = self.state();
        let (services, endpoints) = state.programmed;
        Progress {
            syncs: state.syncs,
            last_sync: state.last_sync.map(|(_, at)| at),
            last_queued: state.last_queued,
            oldest_pending: state.oldest_pending,
            service_changes,
            service_changes_pending: service_changes.saturating_sub(services),
            endpoint_changes,
            endpoint_changes_pending: endpoint_changes.saturating_sub(endpoints),
        }
    }

    /// Whether load balancers may send to this node.
    pub(super) fn eligibility(&self) -> NodeEligibility {
        self.state().serve.eligibility
    }

    /// The devices with our programs, and how many problems there are: errors, then warnings.
    pub(super) fn figures(&self) -> (Vec<Attached>, (u64, u64)) {
        let state = self.state();
        let count = |(errors, warnings), problem: &Problem| match problem.severity {
            Severity::Error => (errors + 1, warnings),
            Severity::Warning => (errors, warnings + 1),
        };
        (state.uplinks.clone(), state.all_problems().fold((0, 0), count))
    }

    /// What the last round found that others serve.
    pub(super) fn serve(&self) -> Serve {
        self.state().serve.clone()
    }

    /// All of it, as it is now.
    pub(super) fn status(&self) -> AgentStatus {
        let SourceState { place, connected, error, relists, age_seconds, disconnected_seconds } = self.standing.state();
        let state = self.state();
        AgentStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: state.node.clone(),
            pid: std::process::id(),
            uptime_seconds: state.started.elapsed().as_secs(),
            source: SourceStatus {
                place,
                connected,
                error,
                relists,
                age_seconds,
                disconnected_seconds,
                ..state.source.clone()
            },
            in_step: state.in_step && state.uplink_problems.is_empty(),
            syncs: state.syncs,
            last_sync_seconds_ago: state.last_sync.map(|(at, _)| at.elapsed().as_secs()),
            error: state.error.clone(),
            uplinks: state.uplinks.clone(),
            problems: state.all_problems().cloned().collect(),
        }
    }

    /// A panic elsewhere leaves nothing half-written in here that matters.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_news(before: &[Problem], now: &[Problem]) {
    let (new, over) = news(before, now);
    for problem in new {
        match problem.severity {
            Severity::Error => error!("{}", problem.line()),
            Severity::Warning => warn!("{}", problem.line()),
        }
    }
    for problem in over {
        info!("no longer: {}", problem.line());
    }
}

/// The problems that are new, and those that are no more, each in order. There may be a hundred thousand of them.
fn news<'a>(before: &'a [Problem], now: &'a [Problem]) -> (Vec<&'a Problem>, Vec<&'a Problem>) {
    let (before, now): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), now.iter().collect());
    (now.difference(&before).copied().collect(), before.difference(&now).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Snapshot;

    #[test]
    fn news_of_many_problems_are_found_at_once() {
        let problems = |range: std::ops::Range<u32>| -> Vec<Problem> {
            range.map(|number| Problem::error(format!("{number:06}"))).collect()
        };
        // Comparing each with each would be ten thousand million comparisons.
        let (before, now) = (problems(0..100_000), problems(1..100_001));
        let (new, over) = news(&before, &now);
        assert_eq!((new, over), (vec![&problems(100_000..100_001)[0]], vec![&problems(0..1)[0]]));
    }

    #[test]
    fn an_uplink_without_programs_is_not_in_step() {
        let report = report();
        report.in_step(&outcome(), Vec::new());
        assert!(report.status().in_step);
        report.uplinks(Vec::new(), vec![Problem::error("no device").about("Device eth0")]);
        report.in_step(&outcome(), Vec::new());
        let status = report.status();
        assert!(!status.in_step);
        assert_eq!(status.problems.len(), 1);
        report.uplinks(Vec::new(), Vec::new());
        assert!(report.status().in_step);
    }

    #[test]
    fn what_waits_is_known_until_it_is_done() {
        let report = report();
        assert_eq!(report.progress(), Progress::default());
        report.fall_behind();
        let since = report.progress().oldest_pending;
        report.failed(&anyhow::anyhow!("no"));
        report.fall_behind();
        assert!(since.is_some());
        assert_eq!(report.progress().oldest_pending, since, "the oldest one counts");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&heard);
        report.on_sync(move |facts| hear.lock().unwrap().push(facts.clone()));
        let facts = SyncFacts { writes: 3, ..SyncFacts::default() };
        report.in_step(&Outcome { facts: facts.clone(), ..outcome() }, Vec::new());
        let progress = report.progress();
        assert_eq!((progress.oldest_pending, progress.syncs), (None, 1));
        assert_eq!(*heard.lock().unwrap(), [facts]);
    }

    #[test]
    fn what_is_wrong_elsewhere_is_told_until_it_is_over() {
        let report = report();
        report.problems_of("health", vec![Problem::warning("no port")]);
        report.problems_of("metrics", vec![Problem::warning("no port either")]);
        assert_eq!(report.status().problems.len(), 2);
        report.problems_of("health", Vec::new());
        assert_eq!(report.status().problems, [Problem::warning("no port either")]);
    }

    fn outcome() -> Outcome {
        Outcome {
            snapshot: Snapshot::default(),
            problems: Vec::new(),
            again_in: None,
            serve: Serve::default(),
            facts: SyncFacts::default(),
            limits: Vec::new(),
        }
    }

    fn report() -> Report {
        use clap::Parser;

        use crate::{
            cli::{Cli, Command},
            source::Source,
        };
        let line = ["limpet", "agent", "--source", "dir:/d", "--node", "n1"];
        match Cli::try_parse_from(line).unwrap().command {
            Command::Agent(options) => Report::new(&options, Source::directory("/d").unwrap().standing()),
            other => panic!("{other:?}"),
        }
    }
}
