//! How long programming takes, measured round by round.

use jiff::Timestamp;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};

use super::super::report::SyncFacts;

/// Rounds, and the changes in them. Shared with whoever shows them.
#[derive(Clone, Debug)]
pub(super) struct Rounds {
    /// From reading the source to the last map written.
    pub(super) duration: Histogram,
    /// From a change in the cluster to its being programmed (C.5).
    pub(super) programming: Histogram,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { duration: Histogram::new(duration_buckets()), programming: Histogram::new(programming_buckets()) }
    }
}

/// Those of kube-proxy's `sync_proxy_rules_duration_seconds`: from a millisecond to 16 s.
fn duration_buckets() -> impl Iterator<Item = f64> {
    exponential_buckets(0.001, 2.0, 15)
}

/// Those of kube-proxy's `network_programming_duration_seconds`, from 0.25 s to 5 minutes, and three below them.
fn programming_buckets() -> impl Iterator<Item = f64> {
    [0.01, 0.05, 0.1]
        .into_iter()
        .chain(linear_buckets(0.25, 0.25, 2))
        .chain(linear_buckets(1.0, 1.0, 59))
        .chain(linear_buckets(60.0, 5.0, 12))
        .chain(linear_buckets(120.0, 30.0, 7))
}

impl Rounds {
    /// A round ended at this time.
    pub(super) fn ended(&self, facts: &SyncFacts, now: Timestamp) {
        self.duration.observe(facts.duration.as_secs_f64());
        for trigger in &facts.triggers {
            // Another node's clock may be ahead.
            self.programming.observe(now.duration_since(*trigger).as_secs_f64().max(0.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    #[test]
    fn buckets_are_those_of_kube_proxy() {
        let duration: Vec<f64> = duration_buckets().collect();
        assert_eq!((duration.len(), duration[0], duration[14]), (15, 0.001, 16.384));
        let programming: Vec<f64> = programming_buckets().collect();
        assert!(programming.is_sorted_by(|one, next| one < next), "{programming:?}");
        assert_eq!(programming[3..7], [0.25, 0.5, 1.0, 2.0]);
        assert_eq!((programming.len(), programming[programming.len() - 1]), (83, 300.0));
    }

    #[test]
    fn each_change_counts_and_one_of_the_future_took_no_time() {
        let rounds = Rounds::default();
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let facts = SyncFacts {
            duration: Duration::from_millis(20),
            triggers: vec![at(0), at(5), at(99)],
            ..SyncFacts::default()
        };
        rounds.ended(&facts, at(7));
        rounds.ended(&SyncFacts::default(), at(8));
        let mut registry = Registry::default();
        registry.register("duration", "d", rounds.duration);
        registry.register("programming", "p", rounds.programming);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in ["programming_sum 9.0", "programming_count 3", "duration_sum 0.02", "duration_count 2"] {
            assert!(text.lines().any(|it| it == line), "{line}: {text}");
        }
    }
}
