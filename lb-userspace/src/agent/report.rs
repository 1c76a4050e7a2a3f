//! What the agent says of itself, kept up to date for its socket; new problems also go to the log, once.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tracing::{error, info, warn};

use super::sync::Outcome;
use crate::{
    api::{AgentStatus, SourceStatus},
    cli::AgentOptions,
    dataplane::Attached,
    source::{Problem, Severity},
};

/// The agent's state, shared with its socket.
#[derive(Clone, Debug)]
pub(super) struct Report {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    node: String,
    started: Instant,
    source: SourceStatus,
    read_at: Instant,
    in_step: bool,
    syncs: u64,
    last_sync: Option<Instant>,
    error: Option<String>,
    uplinks: Vec<Attached>,
    problems: Vec<Problem>,
    hop_problems: Vec<Problem>,
}

impl Report {
    pub(super) fn new(options: &AgentOptions) -> Self {
        let source = SourceStatus {
            place: options.source.to_string(),
            complete: false,
            services: 0,
            endpoint_slices: 0,
            nodes: 0,
            age_seconds: 0,
        };
        let now = Instant::now();
        let state = State {
            node: options.node.clone(),
            started: now,
            source,
            read_at: now,
            in_step: false,
            syncs: 0,
            last_sync: None,
            error: None,
            uplinks: Vec::new(),
            problems: Vec::new(),
            hop_problems: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The source has changed, and the datapath not yet.
    pub(super) fn fall_behind(&self) {
        self.state().in_step = false;
    }

    /// The datapath is what the source asks for, as far as it can be.
    pub(super) fn in_step(&self, outcome: Outcome, hop_problems: Vec<Problem>) {
        let mut state = self.state();
        log_news(&state.problems, &outcome.problems);
        state.source = outcome.source;
        state.read_at = Instant::now();
        state.problems = outcome.problems;
        state.hop_problems = hop_problems;
        state.in_step = true;
        state.syncs += 1;
        state.last_sync = Some(state.read_at);
        state.error = None;
    }

    /// The datapath could not be brought in step.
    pub(super) fn failed(&self, failure: &anyhow::Error) {
        let mut state = self.state();
        state.in_step = false;
        state.error = Some(format!("{failure:#}"));
    }

    /// These devices have our programs.
    pub(super) fn attached(&self, uplinks: Vec<Attached>) {
        self.state().uplinks = uplinks;
    }

    /// These nodes cannot be reached.
    pub(super) fn hops(&self, problems: Vec<Problem>) {
        self.state().hop_problems = problems;
    }

    /// All of it, as it is now.
    pub(super) fn status(&self) -> AgentStatus {
        let state = self.state();
        AgentStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: state.node.clone(),
            pid: std::process::id(),
            uptime_seconds: state.started.elapsed().as_secs(),
            source: SourceStatus { age_seconds: state.read_at.elapsed().as_secs(), ..state.source.clone() },
            in_step: state.in_step,
            syncs: state.syncs,
            last_sync_seconds_ago: state.last_sync.map(|at| at.elapsed().as_secs()),
            error: state.error.clone(),
            uplinks: state.uplinks.clone(),
            problems: state.problems.iter().chain(&state.hop_problems).cloned().collect(),
        }
    }

    /// A panic elsewhere leaves nothing half-written in here that matters.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_news(before: &[Problem], now: &[Problem]) {
    for problem in now.iter().filter(|problem| !before.contains(problem)) {
        match problem.severity {
            Severity::Error => error!("{problem}"),
            Severity::Warning => warn!("{problem}"),
        }
    }
    for problem in before.iter().filter(|problem| !now.contains(problem)) {
        info!("no longer: {problem}");
    }
}
