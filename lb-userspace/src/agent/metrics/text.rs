//! A sample as OpenMetrics text: the names, types and meanings of all metrics stand here, and in docs/metrics.md.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::sample::{AgentSample, Sample, seconds};
use crate::agent::health::Probe;

/// What every name begins with.
const PREFIX: &str = "limpet";
/// The type of what [`encode`] gives.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The sample as text.
pub(super) fn encode(sample: Sample) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(sample));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Sample {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families { encoder };
        by_service(self, &mut families)?;
        by_node(self, &mut families)?;
        of_programming(self, &mut families)?;
        of_the_agent(&self.agent, &mut families)
    }
}

fn by_service(sample: &Sample, families: &mut Families<'_>) -> fmt::Result {
    let taken = |of: fn(&super::services::Counters) -> u64| {
        sample.services.iter().map(move |(labels, counters)| (labels.pairs(), of(counters)))
    };
    families.counters(
        "service_packets",
        "Packets that went on to a Pod, by Service port, at the node that they arrived at",
        taken(|counters| counters.taken.packets),
    )?;
    families.counters(
        "service_bytes",
        "Bytes of these packets, from their IP header on",
        taken(|counters| counters.taken.bytes),
    )?;
    families.counters("service_new_flows", "New flows, by Service port", taken(|counters| counters.taken.new_flows))?;
    families.counters(
        "service_breaks",
        "Clients with session affinity that were given another Pod, by reason",
        sample.breaks(),
    )?;
    let Some(walk) = &sample.walk else {
        return Ok(());
    };
    families.gauges(
        "service_clients",
        "Clients that session affinity holds on this node; port * where all ports share them",
        walk.clients.iter().map(|(labels, clients)| (labels.pairs(), *clients)),
    )?;
    families.gauges(
        "service_skew_ratio",
        "Clients of the usable Pod that has most of them, as a multiple of its fair share",
        walk.skew.iter().map(|(labels, ratio)| (labels.pairs(), *ratio)),
    )?;
    families.gauge("client_scan_age_seconds", "Age of the last count of clients and flows", walk.age.as_secs_f64())?;
    families.gauge("client_scan_duration_seconds", "How long that count took", walk.took.as_secs_f64())
}

fn by_node(sample: &Sample, families: &mut Families<'_>) -> fmt::Result {
    let packets = sample
        .packets
        .iter()
        .map(|row| ([("program", row.program), ("class", row.class), ("reason", row.reason)], row.packets));
    families.counters("packets", "Packets that the programs saw, by what became of them and why", packets)?;
    let used = sample.fill.iter().filter_map(|fill| Some(([("map", fill.map.as_str())], fill.used?)));
    families.gauges("map_used", "Elements of a map that are in use", used)?;
    let capacity = sample.fill.iter().map(|fill| ([("map", fill.map.as_str())], fill.capacity));
    families.gauges("map_capacity", "Elements that a map has room for", capacity)?;
    families.infos(
        "uplink",
        "A device with Limpet's programs, and whether XDP runs in its driver (native) or in the network stack (generic)",
        sample.agent.uplinks.iter().map(|uplink| [("device", uplink.device.as_str()), ("mode", uplink.mode.name())]),
    )?;
    families.counter(
        "break_events_lost",
        "Breaks that are counted but were not told one by one, because there were too many at once",
        sample.break_events_lost,
    )
}

fn of_programming(sample: &Sample, families: &mut Families<'_>) -> fmt::Result {
    let progress = &sample.agent.progress;
    families.histogram("sync_duration_seconds", "How long a round of programming took", &sample.rounds.duration)?;
    families.histogram(
        "network_programming_duration_seconds",
        "From a change of endpoints in the cluster to its being programmed here",
        &sample.rounds.programming,
    )?;
    let moment = |at: Option<jiff::Timestamp>| at.map_or(0.0, seconds);
    families.gauge(
        "sync_last_timestamp_seconds",
        "When a round of programming was last done, since 1970; 0 before the first one",
        moment(progress.last_sync),
    )?;
    families.gauge(
        "sync_last_queued_timestamp_seconds",
        "When a change last came that was to be programmed, since 1970; 0 before the first one",
        moment(progress.last_queued),
    )?;
    families.gauge(
        "service_changes_pending",
        "Changes of Services that are not programmed yet",
        progress.service_changes_pending,
    )?;
    families.counter("service_changes", "Changes of Services", progress.service_changes)?;
    families.gauge(
        "endpoint_changes_pending",
        "Changes of EndpointSlices that are not programmed yet",
        progress.endpoint_changes_pending,
    )?;
    families.counter("endpoint_changes", "Changes of EndpointSlices", progress.endpoint_changes)?;
    let without = sample.agent.without_local_endpoints;
    families.gauges(
        "no_local_endpoints",
        "Service ports with the traffic policy Local and no endpoint on this node, while there are some elsewhere",
        [
            ([("traffic_policy", "internal")], without.internal as u64),
            ([("traffic_policy", "external")], without.external as u64),
        ],
    )
}

fn of_the_agent(agent: &AgentSample, families: &mut Families<'_>) -> fmt::Result {
    families.counters("healthz", "Answers to /healthz, by HTTP status", agent.answers_to(Probe::Ready))?;
    families.counters("livez", "Answers to /livez, by HTTP status", agent.answers_to(Probe::Live))?;
    let (errors, warnings) = agent.problems;
    families.gauges(
        "problems",
        "What `limpet status` says is wrong with objects, devices or settings",
        [([("severity", "error")], errors), ([("severity", "warning")], warnings)],
    )?;
    families.gauge(
        "source_connected",
        "Whether changes of Kubernetes objects are followed at the moment",
        u64::from(agent.source.connected),
    )?;
    families.counter(
        "source_relists",
        "How often objects were listed anew because changes were missed",
        agent.source.relists,
    )?;
    families.gauge(
        "source_age_seconds",
        "Since something was last heard that proves the view of the cluster current",
        agent.source.age_seconds,
    )?;
    families.infos("build", "The agent's version", [[("version", env!("CARGO_PKG_VERSION"))]])
}

/// Writes families of metrics. What a name says of its unit is written as OpenMetrics wants it.
struct Families<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Families<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.family(name, help, MetricType::Counter, |metric| metric.encode_counter::<NoLabelSet, _, f64>(&value, None))
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, |metric| {
            let mut rows = rows.into_iter();
            rows.try_for_each(|(labels, value)| {
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
            })
        })
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, |metric| metric.encode_gauge(&value))
    }

    fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, |metric| {
            rows.into_iter().try_for_each(|(labels, value)| metric.encode_family(&labels)?.encode_gauge(&value))
        })
    }

    fn infos<L: EncodeLabelSet>(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = L>) -> fmt::Result {
        self.family(name, help, MetricType::Info, |metric| {
            rows.into_iter().try_for_each(|labels| metric.encode_info(&labels))
        })
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        let (stem, unit) = in_parts(name);
        histogram.encode(self.encoder.encode_descriptor(stem, help, unit.as_ref(), MetricType::Histogram)?)
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let (stem, unit) = in_parts(name);
        write(&mut self.encoder.encode_descriptor(stem, help, unit.as_ref(), kind)?)
    }
}

/// A name without its unit, and the unit.
fn in_parts(name: &str) -> (&str, Option<Unit>) {
    let units = [Unit::Seconds, Unit::Bytes];
    let found = units.into_iter().find_map(|unit| {
        let stem = name.strip_suffix(unit.as_str())?.strip_suffix('_')?;
        Some((stem, Some(unit)))
    });
    found.unwrap_or((name, None))
}

#[cfg(test)]
mod tests;
