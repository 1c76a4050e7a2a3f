//! What came of a soak, and all that nothing explains. Pure.

use std::time::Duration;

use super::director::Happened;
use super::kind::{Done, Kind};
use super::measure::{DECIDED, Fill, Packets, Process};
use super::tally::Tally;
use crate::scenarios::ledger::ByService;

/// Everything that was counted and measured.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) seed: u64,
    /// How long it churned.
    pub(super) length: Duration,
    pub(super) tally: Tally,
    pub(super) done: Done,
    /// Changes of objects.
    pub(super) objects: u64,
    pub(super) happened: Happened,
    /// The longest that whoever does all this was busy with one thing.
    pub(super) stall: Duration,
    pub(super) breaks: ByService,
    pub(super) unexplained_breaks: Vec<(u64, String)>,
    /// Of each node after the warm-up, and at the end.
    pub(super) start: Vec<(Process, Fill)>,
    pub(super) end: Vec<(Process, Fill)>,
    /// The most that the agents of each node took.
    pub(super) peaks: Vec<Process>,
    /// Of each node, from before the first request until after the last.
    pub(super) packets: Vec<Packets>,
    /// What `limpet verify` had to say.
    pub(super) verified: Vec<String>,
    pub(super) problems: Vec<String>,
}

impl Report {
    /// Requests of all kinds.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.tally.total()
    }

    /// Requests that failed, and clients that were moved without need.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.tally.failed()
    }

    /// How much nothing explains.
    #[must_use]
    pub fn unexplained(&self) -> u64 {
        self.tally.unexplained + self.others().iter().map(|(count, _)| count).sum::<u64>()
    }

    /// Each thing that nothing explains, in words; of very many errors, the first.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.tally.told.iter().cloned().chain(self.others().into_iter().map(|(_, what)| what)).collect()
    }

    /// Every kind of change and trouble that never happened.
    #[must_use]
    pub fn never_happened(&self) -> Vec<&'static str> {
        let Happened { agents_killed, agents_stopped, uplinks_down, pods_died } = self.happened;
        let changes = Kind::ALL.into_iter().filter(|kind| !self.done.contains_key(kind));
        let troubles =
            [(agents_killed + agents_stopped, "agent ended"), (uplinks_down, "uplink down"), (pods_died, "Pod died")];
        let troubles = troubles.into_iter().filter(|(count, _)| *count == 0).map(|(_, what)| what);
        changes.map(Kind::name).chain(troubles).collect()
    }

    /// Changes of objects a second.
    #[must_use]
    pub fn changes_a_second(&self) -> f64 {
        self.objects as f64 / self.length.as_secs_f64().max(f64::EPSILON)
    }

    /// All that no request showed.
    fn others(&self) -> Vec<(u64, String)> {
        let mut others = self.unexplained_breaks.clone();
        others.extend(self.problems.iter().chain(&self.verified).map(|what| (1, what.clone())));
        others.extend(self.growth().into_iter().map(|what| (1, what)));
        others.extend(self.missing_packets().into_iter().map(|what| (1, what)));
        others
    }

    fn growth(&self) -> Vec<String> {
        let mut growth = Vec::new();
        for (node, ((start, end), peak)) in (1..).zip(self.start.iter().zip(&self.end).zip(&self.peaks)) {
            let bound = start.0.bound();
            for (when, process) in [("at the end", end.0), ("at most", *peak)] {
                if !process.is_within(bound) {
                    growth.push(format!("the agent on n{node} takes {process:?} {when}, and the bound is {bound:?}"));
                }
            }
            for what in DECIDED {
                let (before, after) = (start.1.get(what), end.1.get(what));
                if before != after {
                    growth.push(format!(
                        "n{node} has {} {what} for the same objects as in the beginning, when there were {}",
                        after.copied().unwrap_or(0),
                        before.copied().unwrap_or(0)
                    ));
                }
            }
        }
        growth
    }

    fn missing_packets(&self) -> Vec<String> {
        let wrong = (1..).zip(&self.packets).filter(|(_, packets)| packets.device != packets.counted());
        let tell = |(node, packets): (u8, &Packets)| {
            let (device, counted) = (packets.device, packets.counted());
            format!("the uplink of n{node} handed {device} packets to XDP, and the reasons add up to {counted}")
        };
        wrong.map(tell).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A report of which everything is explained.
    pub(in super::super) fn fine() -> Report {
        let process = Process { resident_kib: 20_000, descriptors: 30 };
        let fill: Fill = [("slots".to_owned(), 251), ("flows".to_owned(), 9)].into();
        let packets = Packets { device: 12, reasons: [("not-ours".to_owned(), 5), ("local-new".to_owned(), 7)].into() };
        Report {
            seed: 1,
            length: Duration::from_secs(600),
            tally: Tally::default(),
            done: Done::new(),
            objects: 30_000,
            happened: Happened::default(),
            stall: Duration::ZERO,
            breaks: ByService::new(),
            unexplained_breaks: Vec::new(),
            start: vec![(process, fill.clone())],
            end: vec![(process, fill)],
            peaks: vec![process],
            packets: vec![packets],
            verified: Vec::new(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn whatever_nothing_explains_is_counted_and_told() {
        assert_eq!((fine().unexplained(), fine().problems()), (0, Vec::new()));
        let check = |what: &str, spoil: fn(&mut Report), expected| {
            let mut report = fine();
            spoil(&mut report);
            assert_eq!(report.unexplained(), expected, "{what}: {:?}", report.problems());
            assert!(!report.problems().is_empty(), "{what}");
        };
        let errors = |report: &mut Report| {
            report.tally.unexplained = 3;
            report.tally.told = vec!["a time-out".to_owned()];
        };
        check("errors", errors, 3);
        check("breaks", |report| report.unexplained_breaks = vec![(7, "evicted".to_owned())], 7);
        check("verify", |report| report.verified = vec!["a slot is wrong".to_owned()], 1);
        check("an agent that ended", |report| report.problems = vec!["n1 ended".to_owned()], 1);
        check("memory at the end", |report| report.end[0].0.resident_kib *= 3, 1);
        check("memory meanwhile", |report| report.peaks[0].resident_kib *= 3, 1);
        check("descriptors", |report| report.end[0].0.descriptors += 100, 1);
        check("maps", |report| report.end[0].1 = [("slots".to_owned(), 252)].into(), 1);
        check("packets", |report| report.packets[0].device += 1, 1);
    }

    #[test]
    fn maps_that_packets_fill_may_grow() {
        let mut report = fine();
        report.end[0].1.insert("flows".to_owned(), 60_000);
        assert_eq!(report.unexplained(), 0);
    }

    #[test]
    fn what_never_happened_is_named() {
        assert!(fine().never_happened().contains(&"Pod not ready"));
        assert!(fine().never_happened().contains(&"uplink down"));
    }
}
