//! How many clients of which Service port got another Pod since the window began. Pure.
//!
//! Two sources that each miss something: the pinned counters count every break, but begin anew when a Service port's id is
//! given to another; single events are lost when there are too many, but have the Service's name. The greater one counts.

use std::collections::BTreeMap;

use lb_common::breaks::BreakReason;

use super::{
    statement::{ServiceName, Statement, Subject},
    window::Window,
};
use crate::model::ServicePortName;

/// Pairs of Service port and reason that are counted by single events; more are left to the counters.
const MAX_TOLD: usize = 10_000;

/// Breaks by Service port and reason.
pub(in crate::agent) type Counts = BTreeMap<(ServicePortName, BreakReason), u64>;

/// What single events told.
#[derive(Debug, Default)]
pub(super) struct Told {
    counts: Counts,
}

impl Told {
    /// One more.
    pub(super) fn add(&mut self, service: &ServicePortName, reason: BreakReason) {
        let is_full = self.counts.len() >= MAX_TOLD;
        let key = (service.clone(), reason);
        match self.counts.get_mut(&key) {
            Some(count) => *count += 1,
            None if is_full => {}
            None => {
                self.counts.insert(key, 1);
            }
        }
    }

    /// All of it; the next window begins.
    pub(super) fn take(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

/// What happened between two readings of the counters. One that is smaller than before began anew.
pub(super) fn growth(before: &Counts, now: &Counts) -> Counts {
    let since = |(key, count): (&(ServicePortName, BreakReason), &u64)| {
        let before = before.get(key).copied().unwrap_or(0);
        let grown = count.checked_sub(before).unwrap_or(*count);
        (grown > 0).then(|| (key.clone(), grown))
    };
    now.iter().filter_map(since).collect()
}

/// What there is to say of a window: one statement for each Service and reason.
pub(super) fn statements(counted: Counts, told: Counts, window: Window) -> Vec<Statement> {
    let mut counts = counted;
    for (key, told) in told {
        let count = counts.entry(key).or_default();
        *count = told.max(*count);
    }
    let mut subjects: BTreeMap<(ServiceName, BreakReason), BTreeMap<String, u64>> = BTreeMap::new();
    for ((ServicePortName { namespace, name, port, .. }, reason), count) in counts {
        let ports = subjects.entry((ServiceName { namespace, name }, reason)).or_default();
        *ports.entry(port).or_default() += count;
    }
    let statement = |((service, reason), ports)| Statement { service, subject: Subject::Broken(reason, ports), window };
    subjects.into_iter().map(statement).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::model::Protocol;

    fn port(service: &str, port: &str) -> ServicePortName {
        ServicePortName {
            namespace: "lab".to_owned(),
            name: service.to_owned(),
            port: port.to_owned(),
            protocol: Protocol::Tcp,
        }
    }

    fn counts(of: &[(&str, &str, BreakReason, u64)]) -> Counts {
        of.iter().map(|(service, name, reason, count)| ((port(service, name), *reason), *count)).collect()
    }

    #[test]
    fn counters_grow_and_begin_anew() {
        use BreakReason::{Draining, Expired};
        let before = counts(&[("a", "", Draining, 5), ("b", "", Draining, 5), ("c", "", Expired, 7)]);
        let now =
            counts(&[("a", "", Draining, 8), ("b", "", Draining, 5), ("c", "", Expired, 2), ("d", "", Expired, 1)]);
        let expected = counts(&[("a", "", Draining, 3), ("c", "", Expired, 2), ("d", "", Expired, 1)]);
        assert_eq!(growth(&before, &now), expected);
        assert_eq!(growth(&now, &now), Counts::new());
    }

    #[test]
    fn one_statement_for_a_service_and_reason() {
        use BreakReason::{Draining, Expired};
        let window = Window::of(Timestamp::UNIX_EPOCH, Duration::from_secs(300));
        // The ring buffer lost two of cart's, and knows one of a Service that is gone.
        let counted =
            counts(&[("cart", "http", Draining, 5), ("cart", "https", Draining, 1), ("cart", "http", Expired, 2)]);
        let told = counts(&[("cart", "http", Draining, 3), ("gone", "", Draining, 1)]);
        let said: Vec<_> =
            statements(counted, told, window).into_iter().map(|it| (it.service.name, it.subject)).collect();
        let broken = |reason, ports: &[(&str, u64)]| {
            Subject::Broken(reason, ports.iter().map(|(port, count)| ((*port).to_owned(), *count)).collect())
        };
        let expected = [
            ("cart".to_owned(), broken(Draining, &[("http", 5), ("https", 1)])),
            ("cart".to_owned(), broken(Expired, &[("http", 2)])),
            ("gone".to_owned(), broken(Draining, &[("", 1)])),
        ];
        assert_eq!(said, expected);
        assert_eq!(statements(Counts::new(), Counts::new(), window), []);
    }

    #[test]
    fn what_events_told_is_bounded() {
        let mut told = Told::default();
        for number in 0..MAX_TOLD + 5 {
            told.add(&port(&format!("s{number}"), ""), BreakReason::Expired);
        }
        told.add(&port("s0", ""), BreakReason::Expired);
        let counts = told.take();
        assert_eq!((counts.len(), counts[&(port("s0", ""), BreakReason::Expired)]), (MAX_TOLD, 2));
        assert_eq!(told.take(), Counts::new(), "the next window");
    }
}
