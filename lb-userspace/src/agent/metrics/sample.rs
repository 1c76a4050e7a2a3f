//! Everything that a scrape shows, as plain values of one moment.

use std::time::Duration;

use jiff::Timestamp;
use lb_common::breaks::BreakReason;

use super::{
    services::{Counters, Labels},
    sync::Rounds,
};
use crate::{
    agent::{
        health::{Answers, Probe},
        report::Progress,
    },
    dataplane::Attached,
    inspect::counters::CounterRow,
    model::WithoutLocalEndpoints,
    source::SourceState,
};

/// What is shown.
#[derive(Debug)]
pub(super) struct Sample {
    /// Packets by reason.
    pub(super) packets: Vec<CounterRow>,
    /// Service ports and the rest.
    pub(super) services: Vec<(Labels, Counters)>,
    /// What the last walk through the maps found; none before the first one.
    pub(super) walk: Option<WalkSample>,
    /// How full the maps are.
    pub(super) fill: Vec<Fill>,
    /// Breaks that were counted but not told one by one.
    pub(super) break_events_lost: u64,
    /// What the agent knows of itself.
    pub(super) agent: AgentSample,
    /// Rounds that were measured.
    pub(super) rounds: Rounds,
}

/// What a walk through the maps found, by Service.
#[derive(Debug)]
pub(super) struct WalkSample {
    /// Clients that are held.
    pub(super) clients: Vec<(Labels, u32)>,
    /// How unevenly.
    pub(super) skew: Vec<(Labels, f64)>,
    /// How long ago that was.
    pub(super) age: Duration,
    /// How long it took.
    pub(super) took: Duration,
}

/// How full a map is.
#[derive(Debug)]
pub(super) struct Fill {
    /// Its name, in small letters.
    pub(super) map: String,
    /// Elements in use; none where nobody has counted them yet.
    pub(super) used: Option<u64>,
    /// Elements that there is room for.
    pub(super) capacity: u64,
}

/// What the agent knows of itself.
#[derive(Debug)]
pub(super) struct AgentSample {
    /// How far programming has come.
    pub(super) progress: Progress,
    /// How it is with the source.
    pub(super) source: SourceState,
    /// Devices with our programs.
    pub(super) uplinks: Vec<Attached>,
    /// Problems: errors, then warnings.
    pub(super) problems: (u64, u64),
    /// Service ports that keep their traffic on the node and have nobody here.
    pub(super) without_local_endpoints: WithoutLocalEndpoints,
    /// Answers to probes.
    pub(super) answers: Answers,
}

impl AgentSample {
    /// Answers to one kind of probes, by code; those that there are to be even before there was one.
    pub(super) fn answers_to(&self, probe: Probe) -> impl Iterator<Item = ([(&'static str, &'static str); 1], u64)> {
        [(200, "200"), (503, "503")].into_iter().map(move |(code, text)| {
            let count = self.answers.get(&(probe, code)).copied().unwrap_or(0);
            ([("code", text)], count)
        })
    }
}

impl Sample {
    /// Breaks, by labels and reason.
    pub(super) fn breaks(&self) -> impl Iterator<Item = ([(&'static str, &str); 5], u64)> {
        let counted = self.services.iter().filter_map(|(labels, counters)| Some((labels, counters.breaks?)));
        counted.flat_map(|(labels, counts)| {
            let [namespace, service, port, protocol] = labels.pairs();
            let row = move |(reason, count): (BreakReason, u64)| {
                ([namespace, service, port, protocol, ("reason", reason.name())], count)
            };
            BreakReason::ALL.into_iter().zip(counts).map(row)
        })
    }
}

/// A moment as Prometheus has it.
pub(super) fn seconds(moment: Timestamp) -> f64 {
    moment.as_duration().as_secs_f64()
}
