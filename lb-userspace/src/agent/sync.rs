//! One round: read the source, compute what should be, plan, write.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lb_common::layout::THIS_NODE;
use tracing::info;

use super::hops::Hops;
use crate::{
    api::SourceStatus,
    cli::{AgentOptions, SourceOption},
    dataplane::{self, Maps},
    model::{self, Options},
    plan::{self, Applied, Limits, Write},
    source::{Directory, Problem},
};

/// What a round found and did.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The source as it was read.
    pub(super) source: SourceStatus,
    /// What is wrong with the objects, or does not fit.
    pub(super) problems: Vec<Problem>,
    /// When another round may do more although nothing else changes.
    pub(super) again_in: Option<Duration>,
}

/// What is programmed, and where to read what should be.
pub(super) struct Syncer {
    directory: Directory,
    place: String,
    options: Options,
    limits: Limits,
    applied: Applied,
    started: Instant,
}

impl Syncer {
    /// Reads back what an earlier agent programmed.
    ///
    /// # Errors
    /// When the maps cannot be read, or the tunnel cannot be moved to another port than that agent's.
    pub(super) fn start(options: &AgentOptions, maps: &mut Maps) -> Result<Self> {
        let SourceOption::Directory(directory) = &options.source;
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
        let sizes = options.limits.sizes();
        Ok(Self {
            directory: Directory::new(directory),
            place: options.source.to_string(),
            options: Options { node: options.node.clone(), tunnel_port: options.tunnel_port },
            limits: Limits {
                slots: sizes.slots,
                backends: sizes.backends,
                services: sizes.services,
                frontends: sizes.frontends,
                nodes: sizes.nodes,
            },
            applied,
            started: Instant::now(),
        })
    }

    /// Brings the datapath in step. After a failure the next round goes on from where this one came to.
    ///
    /// # Errors
    /// When a map cannot be written. What was written before stays.
    pub(super) async fn sync(&mut self, maps: &mut Maps, hops: &mut Hops) -> Result<Outcome> {
        let (snapshot, mut problems) = tokio::task::block_in_place(|| self.directory.read());
        let (desired, found) = model::desired(&snapshot, &self.options);
        problems.extend(found);
        let now_seconds = self.started.elapsed().as_secs();
        let plan = plan::plan(&self.applied, &desired, now_seconds, &self.limits);
        problems.extend(plan.problems);
        let mut ways_are_known = false;
        for write in &plan.writes {
            // Before anything points at a backend on a new node, the way there.
            if !ways_are_known && matches!(write, Write::Table { .. } | Write::Frontend { .. }) {
                hops.follow(&self.applied, maps).await?;
                ways_are_known = true;
            }
            dataplane::write(maps, write, &self.applied, self.options.tunnel_port)?;
            self.applied.apply(write, now_seconds);
        }
        hops.follow(&self.applied, maps).await?;
        if !plan.writes.is_empty() {
            info!(writes = plan.writes.len(), service_ports = self.applied.services.len(), "brought in step");
        }
        problems.sort();
        problems.dedup();
        Ok(Outcome {
            source: SourceStatus {
                place: self.place.clone(),
                complete: snapshot.complete,
                services: snapshot.services.len(),
                endpoint_slices: snapshot.slices.len(),
                nodes: snapshot.nodes.len(),
                age_seconds: 0,
            },
            problems,
            again_in: plan.again_at.map(|at| Duration::from_secs(at.saturating_sub(now_seconds).max(1))),
        })
    }
}
