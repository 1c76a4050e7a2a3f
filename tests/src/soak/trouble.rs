//! What else happens beside changes of objects: agents that end, uplinks that are down, Pods that die. Pure, by seed.

use std::time::Duration;

use super::dice::Dice;
use super::history::Moment;
use crate::address::NODES;

/// The node whose agent is left alone in the second half, so that its memory is measured over a long life.
pub(super) const LONG_LIVED: u8 = 3;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A node's agent ends, by SIGKILL or SIGTERM, and is started again after this long.
    AgentEnds { node: u8, killed: bool, away: Duration },
    /// A node's uplink is down for this long.
    UplinkDown { node: u8, away: Duration },
    /// A Pod's server and network end; before or after Kubernetes says so. They are back after this long.
    PodDies { told: bool, away: Duration },
}

/// When what happens next: one of each kind at a time, and never two nodes in trouble of one kind.
#[derive(Debug)]
pub(super) struct Troubles {
    dice: Dice,
    end: Moment,
    next: [(Moment, Pause); 3],
}

/// Between two troubles of a kind, in milliseconds, from the begin of one to that of the next: always longer than one lasts.
type Pause = (usize, usize);

const AGENTS: Pause = (2_500, 4_500);
const UPLINKS: Pause = (5_000, 11_000);
const PODS: Pause = (2_500, 5_000);

impl Troubles {
    /// Troubles for a soak that ends at this moment; none begins in its last seconds.
    pub(super) fn new(seed: u64, end: Moment) -> Self {
        let mut dice = Dice::new(seed).fork(u64::MAX);
        let next = [AGENTS, UPLINKS, PODS].map(|(least, most)| {
            let first = Duration::from_millis(u64::try_from(500 + dice.below(least.min(most))).unwrap_or(500));
            (first, (least, most))
        });
        Self { dice, end, next }
    }

    /// What is due by now.
    pub(super) fn due(&mut self, now: Moment) -> Vec<Trouble> {
        let mut due = Vec::new();
        for kind in 0..self.next.len() {
            let (at, pause) = self.next[kind];
            if now < at || now + Duration::from_secs(3) > self.end {
                continue;
            }
            // Counted from when it was due, so that what happens does not depend on when somebody looked.
            self.next[kind].0 = at + self.between(pause);
            due.extend(self.one(kind, at));
        }
        due
    }

    fn one(&mut self, kind: usize, at: Moment) -> Option<Trouble> {
        let node = 1 + u8::try_from(self.dice.below(NODES.into())).unwrap_or(0);
        match kind {
            0 => {
                let (killed, away) = (self.dice.happens(50), self.between((100, 1_500)));
                let spared = node == LONG_LIVED && at > self.end / 2;
                (!spared).then_some(Trouble::AgentEnds { node, killed, away })
            }
            1 => Some(Trouble::UplinkDown { node, away: self.between((300, 1_500)) }),
            _ => Some(Trouble::PodDies { told: self.dice.happens(60), away: self.between((500, 2_000)) }),
        }
    }

    fn between(&mut self, (least, most): Pause) -> Duration {
        let milliseconds = least + self.dice.below(most - least);
        Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all(seed: u64, seconds: u64) -> Vec<(Moment, Trouble)> {
        let mut troubles = Troubles::new(seed, Duration::from_secs(seconds));
        let moments = (0..seconds * 10).map(|tenth| Duration::from_millis(tenth * 100));
        moments.flat_map(|now| troubles.due(now).into_iter().map(move |trouble| (now, trouble))).collect()
    }

    #[test]
    fn all_kinds_come_to_all_nodes_and_the_last_seconds_are_quiet() {
        let all_of = all(1, 300);
        let agents = all_of.iter().filter_map(|(_, trouble)| match trouble {
            Trouble::AgentEnds { node, killed, .. } => Some((*node, *killed)),
            Trouble::UplinkDown { .. } | Trouble::PodDies { .. } => None,
        });
        assert_eq!(agents.collect::<BTreeSet<_>>().len(), 6, "each node, by each signal");
        let uplinks = all_of.iter().filter_map(|(_, trouble)| match trouble {
            Trouble::UplinkDown { node, .. } => Some(*node),
            Trouble::AgentEnds { .. } | Trouble::PodDies { .. } => None,
        });
        assert_eq!(uplinks.collect::<BTreeSet<_>>().len(), 3);
        assert!(all_of.iter().all(|(at, _)| *at <= Duration::from_secs(297)));
        assert_eq!(all(1, 300), all_of);
        assert_ne!(all(2, 300), all_of);
    }

    #[test]
    fn even_a_short_soak_has_one_of_each() {
        for seed in 0..20 {
            let all = all(seed, 12);
            let any = |wanted: fn(&Trouble) -> bool| all.iter().any(|(_, trouble)| wanted(trouble));
            assert!(any(|it| matches!(it, Trouble::AgentEnds { .. })), "seed {seed}");
            assert!(any(|it| matches!(it, Trouble::UplinkDown { .. })), "seed {seed}");
            assert!(any(|it| matches!(it, Trouble::PodDies { .. })), "seed {seed}");
        }
    }

    #[test]
    fn one_agent_is_left_alone_in_the_second_half() {
        let late = all(3, 600).into_iter().filter(|(at, _)| *at > Duration::from_secs(300));
        let ends = late.filter(|(_, it)| matches!(it, Trouble::AgentEnds { node, .. } if *node == LONG_LIVED));
        assert_eq!(ends.count(), 0);
    }
}
