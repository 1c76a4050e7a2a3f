//! What the agent says of itself, kept up to date for its socket; new problems also go to the log, once.

use std::{
    collections::BTreeSet,
    mem,
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
    uplink_problems: Vec<Problem>,
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
            connected: false,
            error: None,
            relists: 0,
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
            uplink_problems: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The source has changed, and the datapath not yet.
    pub(super) fn fall_behind(&self) {
        self.state().in_step = false;
    }

    /// The maps are what the source asks for, as far as they can be.
    pub(super) fn in_step(&self, outcome: Outcome, hop_problems: Vec<Problem>) {
        let mut state = self.state();
        let before = mem::replace(&mut state.problems, outcome.problems.clone());
        state.source = outcome.source;
        state.read_at = Instant::now();
        state.hop_problems = hop_problems;
        state.in_step = true;
        state.syncs += 1;
        state.last_sync = Some(state.read_at);
        state.error = None;
        drop(state);
        log_news(&before, &outcome.problems);
    }

    /// The datapath could not be brought in step.
    pub(super) fn failed(&self, failure: &anyhow::Error) {
        let mut state = self.state();
        state.in_step = false;
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

    /// All of it, as it is now.
    pub(super) fn status(&self) -> AgentStatus {
        let state = self.state();
        AgentStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: state.node.clone(),
            pid: std::process::id(),
            uptime_seconds: state.started.elapsed().as_secs(),
            source: SourceStatus { age_seconds: state.read_at.elapsed().as_secs(), ..state.source.clone() },
            in_step: state.in_step && state.uplink_problems.is_empty(),
            syncs: state.syncs,
            last_sync_seconds_ago: state.last_sync.map(|at| at.elapsed().as_secs()),
            error: state.error.clone(),
            uplinks: state.uplinks.clone(),
            problems: [&state.problems, &state.hop_problems, &state.uplink_problems]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
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
        let outcome = || Outcome { source: report.state().source.clone(), problems: Vec::new(), again_in: None };
        report.in_step(outcome(), Vec::new());
        assert!(report.status().in_step);
        report.uplinks(Vec::new(), vec![Problem::error("no device").about("Device eth0")]);
        report.in_step(outcome(), Vec::new());
        let status = report.status();
        assert!(!status.in_step);
        assert_eq!(status.problems.len(), 1);
        report.uplinks(Vec::new(), Vec::new());
        assert!(report.status().in_step);
    }

    fn report() -> Report {
        use clap::Parser;

        use crate::cli::{Cli, Command};
        let line = ["limpet", "agent", "--source", "dir:/d", "--node", "n1"];
        match Cli::try_parse_from(line).unwrap().command {
            Command::Agent(options) => Report::new(&options),
            other => panic!("{other:?}"),
        }
    }
}
