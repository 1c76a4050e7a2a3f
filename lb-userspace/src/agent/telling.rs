//! What is told to others than the command line: probes, metrics, Kubernetes Events. Wires their servers to the agent.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::Router;

use super::{
    events::{Announcer, Pace, Reporter},
    health::{Facts, Health},
    health_checks::HealthChecks,
    http::{self, Troubles},
    metrics::Metrics,
    report::Report,
};
use crate::{
    cli::AgentOptions,
    dataplane::Pins,
    inspect::read,
    plan::Applied,
    source::{Problem, Snapshot},
};

/// The part of the agent whose problems are about ports of Services.
const HEALTH_CHECKS: &str = "health checks";

/// All that is told, and where it comes from.
pub(super) struct Telling {
    report: Report,
    health_checks: HealthChecks,
    metrics: Metrics,
    announcer: Option<Announcer>,
}

impl Telling {
    /// Begins to tell, of the maps that are pinned now. Without a client there are no Events. Addresses that cannot be
    /// listened on are problems of `report`.
    ///
    /// # Errors
    /// When the maps cannot be opened.
    pub(super) fn start(options: &AgentOptions, report: &Report, client: Option<kube::Client>) -> Result<Self> {
        let asked = report.clone();
        let health = Health::new(move || {
            let progress = asked.progress();
            Facts { queued: progress.oldest_pending, updated: progress.last_sync, eligibility: asked.eligibility() }
        });
        let opened = read::open(&Pins::new(&options.places.pin_dir)).context("cannot open the maps for the metrics")?;
        let metrics = Metrics::new(opened, options, report.clone(), health.clone());
        let told = report.clone();
        let troubles = Troubles::to(move |part, problem| told.problems_of(part, problem.into_iter().collect()));
        let serve = |address: Option<SocketAddr>, flag, router: Router| {
            if let Some(address) = address {
                tokio::spawn(http::serve_at(address, flag, router, troubles.clone()));
            }
        };
        serve(options.telling.health_address.0, "--health-address", health.router());
        serve(options.telling.metrics_address.0, "--metrics-address", metrics.router());
        let announcer = client.filter(|_| options.telling.break_events).map(|client| {
            let counted = metrics.clone();
            let reporter = Reporter {
                client,
                node: options.node.clone(),
                counts: std::sync::Arc::new(move || counted.breaks()),
                troubles: troubles.clone(),
                pace: Pace::default(),
            };
            let announcer = Announcer::default();
            tokio::spawn(announcer.clone().tell(reporter));
            announcer
        });
        Ok(Self { report: report.clone(), health_checks: HealthChecks::new(health), metrics, announcer })
    }

    /// Who is to hear of single breaks.
    pub(super) fn announcer(&self) -> Option<Announcer> {
        self.announcer.clone()
    }

    /// This is programmed, also when not everything could be.
    pub(super) fn programmed(&self, applied: &Applied) {
        self.metrics.programmed(applied);
    }

    /// A round is done, of which the report knows: this is the cluster, and these limits were met.
    pub(super) async fn synced(&mut self, snapshot: Snapshot, limits: &[Problem]) {
        if let Some(announcer) = &self.announcer {
            announcer.synced(snapshot, limits);
        }
        let problems = self.health_checks.follow(self.report.serve().health_checks).await;
        self.report.problems_of(HEALTH_CHECKS, problems);
    }

    /// Tries again what could not be listened on.
    pub(super) async fn retry(&mut self) {
        let problems = self.health_checks.retry().await;
        self.report.problems_of(HEALTH_CHECKS, problems);
    }
}
