//! Breaks by Service and reason, and which of them the churn cannot have caused. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::history::{History, Said};
use crate::scenarios::Reasons;
use crate::scenarios::ledger::ByService;
use crate::world::PodState;

/// How the counters of all nodes grew. They are read again and again, because those of a Service begin anew when it is
/// made anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaks {
    last: BTreeMap<u8, ByService>,
    grown: ByService,
    /// Services whose counters fell on a node.
    fell: Vec<(u8, String)>,
}

impl Breaks {
    /// A node's counters as they are now.
    pub(super) fn read(&mut self, node: u8, now: ByService) {
        for (service, reasons) in &now {
            let last = self.last.get(&node).and_then(|last| last.get(service));
            let fell = last.is_some_and(|last| last.iter().any(|(reason, count)| reasons.get(reason) < Some(count)));
            if fell {
                self.fell.push((node, service.clone()));
            }
            for (reason, count) in reasons {
                let before = last.filter(|_| !fell).and_then(|last| last.get(reason)).copied().unwrap_or(0);
                let grown = self.grown.entry(service.clone()).or_default();
                *grown.entry(reason.clone()).or_default() += count - before;
            }
        }
        self.last.insert(node, now);
    }

    /// By how much each Service's grew in all, where it did.
    pub(super) fn grown(&self) -> ByService {
        let some = |reasons: &Reasons| reasons.iter().filter(|(_, count)| **count > 0).map(owned).collect::<Reasons>();
        let grown = self.grown.iter().map(|(service, reasons)| (service.clone(), some(reasons)));
        grown.filter(|(_, reasons)| !reasons.is_empty()).collect()
    }

    /// Everything that what happened to the Services in so much time does not explain: how often, and what.
    pub(super) fn unexplained(&self, history: &History, length: Duration) -> Vec<(u64, String)> {
        let mut unexplained = Vec::new();
        for (service, reasons) in self.grown() {
            let changes: Vec<&Said> = history.all_of(&service).collect();
            for (reason, count) in reasons {
                if !may_be(&changes, &reason, length) {
                    unexplained.push((count, format!("{count} breaks of {service} are {reason}, which it never was")));
                }
            }
        }
        for (node, service) in &self.fell {
            if history.all_of(service).all(|said| said.is_there) {
                unexplained.push((1, format!("the breaks of {service} on n{node} fell, though it was never removed")));
            }
        }
        unexplained
    }
}

fn owned((reason, count): (&String, &u64)) -> (String, u64) {
    (reason.clone(), *count)
}

/// Whether what was said of a Service can cause breaks of this reason.
fn may_be(changes: &[&Said], reason: &str, length: Duration) -> bool {
    let any_is = |state| changes.iter().any(|said| said.members.iter().any(|(_, is)| *is == state));
    match reason {
        "not-ready" => any_is(PodState::NotReady),
        "draining" => any_is(PodState::Terminating),
        "backend-gone" => changes.windows(2).any(|pair| {
            let [before, after] = pair else { return false };
            before.members.iter().any(|(pod, _)| !after.has(pod))
        }),
        "expired" => changes.iter().filter_map(|said| said.affinity).any(|it| Duration::from_secs(it.into()) <= length),
        // Nothing here fills a map, changes a policy or asks Limpet to forget anybody.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(service: &str, reason: &str, count: u64) -> ByService {
        [(service.to_owned(), [(reason.to_owned(), count), ("no reason".to_owned(), 0)].into())].into()
    }

    fn history(states: &[&[(&str, PodState)]]) -> History {
        let mut history = History::default();
        for members in states {
            let members = members.iter().map(|(pod, state)| ((*pod).to_owned(), *state)).collect();
            let said = Said { is_there: true, affinity: Some(60), members, ..Said::default() };
            history.change(Duration::ZERO, "web", said);
        }
        history
    }

    #[test]
    fn a_reason_needs_something_that_happened_to_that_service() {
        use PodState::{NotReady, Ready, Terminating};
        let still = || history(&[&[("a", Ready), ("b", Ready)]]);
        let check = |reason: &str, history: History, seconds, expected| {
            let mut breaks = Breaks::default();
            breaks.read(1, counts("web", reason, 0));
            breaks.read(1, counts("web", reason, 3));
            let unexplained = breaks.unexplained(&history, Duration::from_secs(seconds));
            assert_eq!(unexplained.iter().map(|(count, _)| count).sum::<u64>(), expected, "{reason}: {unexplained:?}");
        };
        for reason in ["not-ready", "draining", "backend-gone", "expired", "evicted", "config-changed", "forgotten"] {
            check(reason, still(), 10, 3);
        }
        check("not-ready", history(&[&[("a", Ready)], &[("a", NotReady)]]), 10, 0);
        check("draining", history(&[&[("a", Ready)], &[("a", Terminating)]]), 10, 0);
        check("backend-gone", history(&[&[("a", Ready)], &[("b", Ready)]]), 10, 0);
        check("expired", still(), 60, 0);
        check("evicted", history(&[&[("a", Ready)], &[("b", Terminating)]]), 100, 3);
    }

    #[test]
    fn counters_that_begin_anew_are_added_up_and_need_a_service_that_was_removed() {
        let mut breaks = Breaks::default();
        for count in [2, 7, 1, 4] {
            breaks.read(2, counts("web", "draining", count));
        }
        assert_eq!(breaks.grown()["web"]["draining"], 11);
        let draining = || history(&[&[("a", PodState::Terminating)]]);
        assert_eq!(breaks.unexplained(&draining(), Duration::ZERO).len(), 1);
        let mut removed = draining();
        removed.change(Duration::ZERO, "web", Said::default());
        assert!(breaks.unexplained(&removed, Duration::ZERO).is_empty());
    }
}
