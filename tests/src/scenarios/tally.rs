//! What a scenario's numbers are, and whether they agree. Pure: made of how users stood before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use crate::sessions::{Counts, Standing};

/// Breaks by reason.
pub type Reasons = BTreeMap<String, u64>;

/// What should come of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Whether Pods with sessions go in it. Then some must be lost, or nothing was tried; else none.
    pub pods_go: bool,
    /// The reasons that breaks may have.
    pub reasons: &'static [&'static str],
}

/// Losses of one step, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Sessions at Pods that went: these must be lost.
    pub unavoidable: u64,
    /// Losses beyond those: of users whose Pod did not go, or of others for the second time.
    pub needless: u64,
}

impl AddAssign for Losses {
    fn add_assign(&mut self, other: Self) {
        self.unavoidable += other.unavoidable;
        self.needless += other.needless;
    }
}

impl Losses {
    /// What one step cost in which these Pods went, from how all users stood before it and stand after it.
    #[must_use]
    pub fn of_step(before: &[Standing], after: &[Standing], gone: &BTreeSet<&str>) -> Self {
        let mut losses = Self::default();
        for (before, after) in before.iter().zip(after) {
            let must_lose = u64::from(before.pod.as_deref().is_some_and(|pod| gone.contains(pod)));
            losses.unavoidable += must_lose;
            losses.needless += (after.counts.lost - before.counts.lost).saturating_sub(must_lose);
        }
        losses
    }
}

/// All that was counted in a scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// How many users there are.
    pub clients: usize,
    /// What they counted themselves.
    pub counts: Counts,
    /// What follows from where their sessions were.
    pub losses: Losses,
    /// What the ledger of breaks says.
    pub ledger: Reasons,
}

impl Measured {
    /// The ledger's breaks of all reasons.
    #[must_use]
    pub fn breaks(&self) -> u64 {
        self.ledger.values().sum()
    }

    /// Everything that is not as it must be, in words; nothing when the numbers agree.
    #[must_use]
    pub fn problems(&self, expected: Expected) -> Vec<String> {
        let Self { clients, counts, losses, ledger } = self;
        let (lost, breaks) = (counts.lost, self.breaks());
        let Losses { unavoidable, needless } = *losses;
        let unexpected: Vec<&str> = ledger
            .iter()
            .filter(|(reason, count)| **count > 0 && !expected.reasons.contains(&reason.as_str()))
            .map(|(reason, _)| reason.as_str())
            .collect();
        let checks = [
            (*clients == 0, "nobody asked".to_owned()),
            (counts.unanswered > 0, format!("{} requests were not answered", counts.unanswered)),
            (lost != unavoidable, format!("{lost} sessions were lost, and {unavoidable} had to be")),
            (breaks != lost, format!("the ledger has {breaks} breaks for {lost} lost sessions")),
            (needless > 0, format!("{needless} losses were not of a Pod that went")),
            (expected.pods_go && unavoidable == 0, "no session was at a Pod that went".to_owned()),
            (!expected.pods_go && unavoidable > 0, format!("{unavoidable} sessions were at Pods that went")),
            (!unexpected.is_empty(), format!("the ledger gives reasons that do not apply: {}", unexpected.join(", "))),
        ];
        checks.into_iter().filter(|(wrong, _)| *wrong).map(|(_, problem)| problem).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAYS: Expected = Expected { pods_go: false, reasons: &[] };
    const GOES: Expected = Expected { pods_go: true, reasons: &["draining"] };

    fn standings(users: &[(&str, u64)]) -> Vec<Standing> {
        let standing = |(pod, lost): &(&str, u64)| Standing {
            address: [198, 18, 1, 2].into(),
            pod: (!pod.is_empty()).then(|| (*pod).to_owned()),
            counts: Counts { lost: *lost, ..Counts::default() },
        };
        users.iter().map(standing).collect()
    }

    #[test]
    fn a_step_costs_the_sessions_of_the_pods_that_went() {
        let before = standings(&[("a", 0), ("b", 3), ("a", 1), ("", 0)]);
        let check = |what: &str, after: &[(&str, u64)], gone: &[&str], expected: (u64, u64)| {
            let losses = Losses::of_step(&before, &standings(after), &gone.iter().copied().collect());
            assert_eq!((losses.unavoidable, losses.needless), expected, "{what}");
        };
        check("nothing went, nothing lost", &[("a", 0), ("b", 3), ("a", 1), ("c", 0)], &[], (0, 0));
        check("a went, its users lost", &[("b", 1), ("b", 3), ("c", 2), ("", 0)], &["a"], (2, 0));
        check("a went, one of its users did not notice", &[("a", 0), ("b", 3), ("c", 2), ("", 0)], &["a"], (2, 0));
        check("a went, and b's user lost", &[("b", 1), ("c", 4), ("c", 2), ("", 0)], &["a"], (2, 1));
        check("a went, one lost twice", &[("b", 2), ("b", 3), ("c", 2), ("", 0)], &["a"], (2, 1));
        check("all went", &[("c", 1), ("c", 4), ("c", 2), ("c", 0)], &["a", "b"], (3, 0));
    }

    fn measured(lost: u64, unavoidable: u64, ledger: &[(&str, u64)]) -> Measured {
        Measured {
            clients: 300,
            counts: Counts { answered: 900, lost, ..Counts::default() },
            losses: Losses { unavoidable, needless: 0 },
            ledger: ledger.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
        }
    }

    #[test]
    fn numbers_agree_only_when_all_three_are_equal_and_as_expected() {
        let check = |what: &str, measured: Measured, expected: Expected, problems: &[&str]| {
            assert_eq!(measured.problems(expected), problems, "{what}");
        };
        let fine = || measured(100, 100, &[("draining", 100), ("evicted", 0)]);
        check("nothing lost", measured(0, 0, &[("expired", 0)]), STAYS, &[]);
        check("as much as must be", fine(), GOES, &[]);
        check(
            "one too many",
            measured(101, 100, &[("draining", 101)]),
            GOES,
            &["101 sessions were lost, and 100 had to be"],
        );
        check(
            "one that should have moved did not",
            measured(99, 100, &[("draining", 99)]),
            GOES,
            &["99 sessions were lost, and 100 had to be"],
        );
        check(
            "the ledger missed one",
            measured(100, 100, &[("draining", 99)]),
            GOES,
            &["the ledger has 99 breaks for 100 lost sessions"],
        );
        check(
            "the ledger made one up",
            measured(0, 0, &[("evicted", 1)]),
            STAYS,
            &["the ledger has 1 breaks for 0 lost sessions", "the ledger gives reasons that do not apply: evicted"],
        );
        check(
            "another reason",
            measured(100, 100, &[("draining", 98), ("expired", 2)]),
            GOES,
            &["the ledger gives reasons that do not apply: expired"],
        );
        check("nothing was tried", measured(0, 0, &[]), GOES, &["no session was at a Pod that went"]);
        check(
            "nobody was to go",
            measured(1, 1, &[("draining", 1)]),
            Expected { pods_go: false, ..GOES },
            &["1 sessions were at Pods that went"],
        );
        let silent = Counts { unanswered: 2, ..fine().counts };
        check("a silent frontend", Measured { counts: silent, ..fine() }, GOES, &["2 requests were not answered"]);
        let needless = Losses { unavoidable: 100, needless: 3 };
        check(
            "the wrong ones lost",
            Measured { losses: needless, ..fine() },
            GOES,
            &["3 losses were not of a Pod that went"],
        );
        check("an empty lab", Measured { clients: 0, ..measured(0, 0, &[]) }, STAYS, &["nobody asked"]);
    }
}
