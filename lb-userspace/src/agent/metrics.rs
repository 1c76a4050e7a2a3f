//! `/metrics` in OpenMetrics text. What each one means stands in docs/metrics.md.
//!
//! A scrape reads the counters in the pinned maps at that moment, by handles that were opened once, and copies a few numbers
//! from the agent: it never waits for the agent's loop. What takes long is done beside it, see [`scan`]. The number of
//! series is bounded by `--metrics-services`, see [`services`].

mod programmed;
mod sample;
mod scan;
mod services;
mod sync;
mod text;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use tokio::task::spawn_blocking;

use self::{
    programmed::Programmed,
    sample::{AgentSample, Fill, Sample, WalkSample},
    scan::{Scanner, WALKED, Walked},
    services::{Counters, Labels, Ledger, Reading},
    sync::Rounds,
};
use super::{events::Counts, health::Health, report::Report};
use crate::{
    cli::{AgentOptions, Format},
    dataplane::{self, Sizes},
    inspect::{breaks, counters, read::Opened},
    plan::Applied,
};

/// What is measured. Shared between the agent's loop and whoever shows it.
#[derive(Clone)]
pub(super) struct Metrics {
    shared: Arc<Shared>,
}

struct Shared {
    opened: Arc<Opened>,
    sizes: Sizes,
    /// So many Services have series of their own.
    limit: usize,
    report: Report,
    health: Health,
    rounds: Rounds,
    programmed: Mutex<Programmed>,
    ledger: Mutex<Ledger>,
    scanner: Scanner,
    /// One scrape at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Metrics {
    /// Of these maps and this agent.
    pub(super) fn new(opened: Opened, options: &AgentOptions, report: Report, health: Health) -> Self {
        let rounds = Rounds::default();
        let measured = rounds.clone();
        report.on_sync(move |facts| measured.ended(facts, Timestamp::now()));
        let limit = usize::try_from(options.telling.metrics_services).unwrap_or(usize::MAX);
        let shared = Shared {
            opened: Arc::new(opened),
            sizes: options.limits.sizes(),
            limit,
            report,
            health,
            rounds,
            programmed: Mutex::default(),
            ledger: Mutex::new(Ledger::new(limit)),
            scanner: Scanner::default(),
            turn: tokio::sync::Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// This is programmed now.
    pub(super) fn programmed(&self, applied: &Applied) {
        lock(&self.shared.programmed).update(applied);
    }

    /// How often clients of each Service port were given another backend, since it was programmed.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub(super) fn breaks(&self) -> Result<Counts, dataplane::Error> {
        Ok(services::breaks(&self.shared.reading()?))
    }

    /// The one path.
    pub(super) fn router(&self) -> Router {
        let metrics = self.clone();
        Router::new().route("/metrics", get(async move || metrics.respond().await))
    }

    async fn respond(&self) -> Response {
        let _turn = self.shared.turn.lock().await;
        let shared = Arc::clone(&self.shared);
        let text = spawn_blocking(move || text::encode(shared.sample()?).map_err(anyhow::Error::from)).await;
        match text {
            Ok(Ok(text)) => ([(header::CONTENT_TYPE, text::CONTENT_TYPE)], text).into_response(),
            Ok(Err(error)) => failed(format!("{error:#}")),
            Err(error) => failed(error.to_string()),
        }
    }
}

fn failed(error: String) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot read the datapath's counters: {error}\n")).into_response()
}

impl Shared {
    fn sample(&self) -> Result<Sample, dataplane::Error> {
        let reading = self.reading()?;
        let walked = self.scanner.latest(&self.opened);
        let mut fill = lock(&self.programmed).fill(&self.sizes);
        fill.extend(WALKED.map(|map| self.walked_fill(map, walked.as_deref())));
        Ok(Sample {
            packets: counters::rows(&self.opened.counters()?, Format::Json),
            services: lock(&self.ledger).rows(reading),
            walk: walked.map(|walked| self.walk_sample(&walked, Instant::now())),
            fill,
            break_events_lost: breaks::lost_events(&self.opened)?,
            agent: self.agent(),
            rounds: self.rounds.clone(),
        })
    }

    /// The counters of all Service ports that have a name.
    fn reading(&self) -> Result<Reading, dataplane::Error> {
        let Programmed { services, holding, .. } = lock(&self.programmed).clone();
        let mut reading = Reading::new();
        for (id, name) in services {
            let taken = self.opened.maps.service_counts(id)?;
            let breaks = breaks::counts(&self.opened, id)?;
            // Who held clients once may not hold them any more.
            let has_breaks = holding.contains(&id) || breaks.iter().any(|count| *count > 0);
            reading.insert(name, Counters { taken, breaks: has_breaks.then_some(breaks) });
        }
        Ok(reading)
    }

    fn walked_fill(&self, map: &'static str, walked: Option<&Walked>) -> Fill {
        let used = walked.and_then(|walked| walked.used.get(map)).map(|used| u64::from(*used));
        Fill { map: map.to_lowercase(), used, capacity: self.opened.room(map).into() }
    }

    fn walk_sample(&self, walked: &Walked, now: Instant) -> WalkSample {
        let clients = walked.spreads.iter().map(|(held_for, spread)| (Labels::from(held_for), spread.clients));
        let mut ratios = walked.spreads.iter().map(|(held_for, spread)| (Labels::from(held_for), spread.worst_ratio));
        let clients = services::largest(clients, self.limit);
        // Of those that are shown; of a sum there is no skew.
        let shown = |labels: &Labels| clients.iter().any(|(other, _)| other == labels);
        let skew = ratios.by_ref().filter_map(|(labels, ratio)| Some((labels, ratio?)));
        let skew = skew.filter(|(labels, _)| shown(labels)).collect();
        WalkSample { skew, clients, age: now.saturating_duration_since(walked.at), took: walked.took }
    }

    fn agent(&self) -> AgentSample {
        let (uplinks, problems) = self.report.figures();
        AgentSample {
            progress: self.report.progress(),
            source: self.report.source(),
            uplinks,
            problems,
            without_local_endpoints: self.report.serve().without_local_endpoints,
            answers: self.health.answers(),
        }
    }
}

/// A panic elsewhere leaves nothing half-written in here that matters.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
