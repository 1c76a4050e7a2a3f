//! Which Service ports have series of their own: a bounded number, however many there are. Pure.
//!
//! Those with the most packets do; the rest is one sum. A sum of other Services than a moment ago must not look like a
//! counter that fell, so it is kept from what each of them grew by while it belonged there.

use std::collections::BTreeMap;

use lb_common::{
    breaks::BreakReason,
    layout::{BreakCounts, ServiceCounts},
};

use super::super::events::Counts;
use crate::{inspect::held::HeldFor, model::ServicePortName};

/// The name under which the rest is summed up; its namespace is empty, which no Service's is.
const OTHER: &str = "other";
/// In place of port and protocol where the ports of a Service share their clients.
const ALL_PORTS: &str = "*";

/// The labels of a Service port.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Labels {
    namespace: String,
    service: String,
    port: String,
    protocol: String,
}

impl Labels {
    /// Those of the rest.
    pub(super) fn other() -> Self {
        let empty = String::new;
        Self { namespace: empty(), service: OTHER.to_owned(), port: empty(), protocol: empty() }
    }

    /// As pairs.
    pub(super) fn pairs(&self) -> [(&'static str, &str); 4] {
        let Self { namespace, service, port, protocol } = self;
        [("namespace", namespace), ("service", service), ("port", port), ("protocol", protocol)]
    }
}

impl From<&ServicePortName> for Labels {
    fn from(name: &ServicePortName) -> Self {
        let ServicePortName { namespace, name, port, protocol } = name.clone();
        Self { namespace, service: name, port, protocol: protocol.to_string() }
    }
}

impl From<&HeldFor> for Labels {
    fn from(held_for: &HeldFor) -> Self {
        let HeldFor { namespace, name, port, protocol } = held_for.clone();
        let or_all = |text: Option<String>| text.unwrap_or_else(|| ALL_PORTS.to_owned());
        Self { namespace, service: name, port: or_all(port), protocol: or_all(protocol) }
    }
}

/// What the counters of a Service port say.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counters {
    /// What it took in.
    pub(super) taken: ServiceCounts,
    /// Breaks by the numbers of their reasons; none where it never held a client.
    pub(super) breaks: Option<BreakCounts>,
}

impl Counters {
    /// What there is more than before. A counter that is smaller than before began anew.
    fn since(self, before: Self) -> Self {
        let grown = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        let old = before.breaks.unwrap_or_default();
        let breaks = self.breaks.map(|mut breaks| {
            breaks.iter_mut().zip(old).for_each(|(now, before)| *now = grown(*now, before));
            breaks
        });
        let (now, before) = (self.taken, before.taken);
        Self {
            taken: ServiceCounts {
                packets: grown(now.packets, before.packets),
                bytes: grown(now.bytes, before.bytes),
                new_flows: grown(now.new_flows, before.new_flows),
            },
            breaks,
        }
    }

    fn and(self, other: Self) -> Self {
        let breaks = match (self.breaks, other.breaks) {
            (Some(mut one), Some(other)) => {
                one.iter_mut().zip(other).for_each(|(sum, count)| *sum = sum.wrapping_add(count));
                Some(one)
            }
            (one, other) => one.or(other),
        };
        Self { taken: self.taken.and(other.taken), breaks }
    }
}

/// The counters of all Service ports.
pub(super) type Reading = BTreeMap<ServicePortName, Counters>;

/// What was read before, and the sum of the rest.
#[derive(Debug)]
pub(super) struct Ledger {
    limit: usize,
    before: Reading,
    other: Option<Counters>,
}

impl Ledger {
    /// For so many series of their own.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, before: Reading::new(), other: None }
    }

    /// What there is to show of this reading: those with the most packets, and the rest where there is any.
    pub(super) fn rows(&mut self, reading: Reading) -> Vec<(Labels, Counters)> {
        let mut ranked: Vec<(&ServicePortName, &Counters)> = reading.iter().collect();
        // By name where they have the same, so that an idle cluster's series stay.
        ranked.sort_by_key(|(name, counters)| (std::cmp::Reverse(counters.taken.packets), *name));
        let (own, rest) = ranked.split_at(self.limit.min(ranked.len()));
        for (name, counters) in rest {
            let before = self.before.get(*name).copied().unwrap_or_default();
            self.other = Some(self.other.unwrap_or_default().and(counters.since(before)));
        }
        let own = own.iter().map(|(name, counters)| (Labels::from(*name), **counters));
        let rows = own.chain(self.other.map(|other| (Labels::other(), other))).collect();
        self.before = reading;
        rows
    }
}

/// The largest of these values under their own labels, and the others' sum; none is left out.
pub(super) fn largest(values: impl IntoIterator<Item = (Labels, u32)>, limit: usize) -> Vec<(Labels, u32)> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let rest = values.split_off(limit.min(values.len()));
    let sum = rest.iter().fold(0, |sum: u32, (_, value)| sum.saturating_add(*value));
    values.extend((!rest.is_empty()).then(|| (Labels::other(), sum)));
    values
}

/// Breaks of a reading, by Service port and reason.
pub(super) fn breaks(reading: &Reading) -> Counts {
    let of = |(name, counters): (&ServicePortName, &Counters)| {
        let (name, counts) = (name.clone(), counters.breaks?);
        Some(BreakReason::ALL.into_iter().zip(counts).map(move |(reason, count)| ((name.clone(), reason), count)))
    };
    reading.iter().filter_map(of).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    fn name(service: &str) -> ServicePortName {
        ServicePortName {
            namespace: "lab".to_owned(),
            name: service.to_owned(),
            port: "tcp-80".to_owned(),
            protocol: Protocol::Tcp,
        }
    }

    fn counters(packets: u64, breaks: Option<u64>) -> Counters {
        let breaks = breaks.map(|count| {
            let mut counts = BreakCounts::default();
            counts[BreakReason::Draining.index() as usize] = count;
            counts
        });
        Counters { taken: ServiceCounts { packets, bytes: packets * 100, new_flows: packets / 10 }, breaks }
    }

    fn reading(of: &[(&str, u64, u64)]) -> Reading {
        of.iter().map(|(service, packets, breaks)| (name(service), counters(*packets, Some(*breaks)))).collect()
    }

    /// Services and their packets and breaks.
    type Rows<'a> = &'a [(&'a str, u64, u64)];

    /// What there is of them.
    fn shown(rows: &[(Labels, Counters)]) -> Vec<(&str, u64, u64)> {
        let breaks = |counters: &Counters| counters.breaks.map_or(0, |counts| counts.iter().sum());
        rows.iter().map(|(labels, it)| (labels.service.as_str(), it.taken.packets, breaks(it))).collect()
    }

    #[test]
    fn those_with_the_most_packets_have_series_of_their_own() {
        let mut ledger = Ledger::new(2);
        let rows = ledger.rows(reading(&[("a", 5, 1), ("b", 50, 2), ("c", 500, 3), ("d", 7, 4)]));
        assert_eq!(shown(&rows), [("c", 500, 3), ("b", 50, 2), ("other", 12, 5)]);
        assert_eq!(rows[2].0.pairs(), [("namespace", ""), ("service", "other"), ("port", ""), ("protocol", "")]);
        let expected = [("namespace", "lab"), ("service", "c"), ("port", "tcp-80"), ("protocol", "TCP")];
        assert_eq!(rows[0].0.pairs(), expected);
    }

    #[test]
    fn a_cluster_of_any_size_has_so_many_series_and_no_more() {
        let mut ledger = Ledger::new(1000);
        let many: Reading =
            (0..10_000).map(|number| (name(&format!("s{number:05}")), counters(number, None))).collect();
        let rows = ledger.rows(many);
        assert_eq!(rows.len(), 1001);
        assert_eq!(rows[1000].1.taken.packets, (0..9000).sum::<u64>());
        assert_eq!(shown(&Ledger::new(0).rows(reading(&[("a", 5, 1)]))), [("other", 5, 1)]);
        assert_eq!(shown(&Ledger::new(1).rows(reading(&[("a", 5, 1)]))), [("a", 5, 1)], "no rest, no series of it");
    }

    /// The rest never falls, and what is shown grows by what there was.
    #[test]
    fn changing_places_does_not_look_like_a_reset() {
        let mut ledger = Ledger::new(1);
        let steps: [(&str, Reading, Rows<'_>); 5] = [
            ("at first", reading(&[("a", 10, 0), ("b", 4, 1)]), &[("a", 10, 0), ("other", 4, 1)]),
            ("the other overtakes", reading(&[("a", 11, 0), ("b", 30, 2)]), &[("b", 30, 2), ("other", 5, 1)]),
            ("and is overtaken", reading(&[("a", 40, 0), ("b", 33, 2)]), &[("a", 40, 0), ("other", 8, 1)]),
            ("one begins anew", reading(&[("a", 40, 0), ("b", 2, 0)]), &[("a", 40, 0), ("other", 10, 1)]),
            ("one is gone", reading(&[("a", 41, 0)]), &[("a", 41, 0), ("other", 10, 1)]),
        ];
        for (description, reading, expected) in steps {
            assert_eq!(shown(&ledger.rows(reading)), expected, "{description}");
        }
    }

    #[test]
    fn clients_are_bounded_in_the_same_way() {
        let values =
            || [("a", 3), ("b", 9), ("c", 5), ("d", 5)].map(|(service, count)| (Labels::from(&name(service)), count));
        let of = |limit| {
            let rows = largest(values(), limit);
            rows.into_iter().map(|(labels, count)| (labels.service, count)).collect::<Vec<_>>()
        };
        let row = |service: &str, count| (service.to_owned(), count);
        assert_eq!(of(2), [row("b", 9), row("c", 5), row("other", 8)]);
        assert_eq!(of(4).len(), 4);
        assert_eq!(of(0), [row("other", 22)]);
    }

    #[test]
    fn ports_that_share_their_clients_are_a_star() {
        let held_for = HeldFor { namespace: "lab".to_owned(), name: "cart".to_owned(), port: None, protocol: None };
        let expected = [("namespace", "lab"), ("service", "cart"), ("port", "*"), ("protocol", "*")];
        assert_eq!(Labels::from(&held_for).pairs(), expected);
    }
}
