//! Which node tells: rendezvous hashing. Every node works out its own place in the line, and all agree. Pure.

use std::{cmp::Reverse, time::Duration};

use lb_common::hash;

/// So long each node leaves to the one before it.
const TURN: Duration = Duration::from_secs(2);
/// And so long the last one waits at most: in large clusters turns are shorter.
const LONGEST: Duration = Duration::from_secs(240);

/// A node's place in the line of those that may tell of this; 0 tells at once. Who is not among them comes last.
pub(super) fn rank<'a>(nodes: impl IntoIterator<Item = &'a str>, own: &str, of: &str) -> usize {
    let place = |node: &str| (Reverse(score(node, of)), node.to_owned());
    let own_place = place(own);
    let (mut before, mut all, mut is_there) = (0, 0, false);
    for node in nodes {
        all += 1;
        is_there |= node == own;
        before += usize::from(place(node) < own_place);
    }
    if is_there { before } else { all }
}

/// How long who has this place waits, where there are so many nodes.
pub(super) fn wait(rank: usize, nodes: usize) -> Duration {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let turn = TURN.min(LONGEST / count(nodes).max(1));
    turn.saturating_mul(count(rank.min(nodes)))
}

fn score(node: &str, of: &str) -> u64 {
    let [high, low] = hash::affinity(&format!("{of} {node}"));
    // FNV leaves the last letters in the low bits alone; nodes often differ in nothing else.
    let mixed = (u64::from(high) << 32 | u64::from(low)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn nodes(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("node-{number}")).collect()
    }

    fn ranks(nodes: &[String], of: &str) -> Vec<usize> {
        nodes.iter().map(|own| rank(nodes.iter().map(String::as_str), own, of)).collect()
    }

    #[test]
    fn every_node_has_a_place_of_its_own() {
        let nodes = nodes(50);
        let ranks = ranks(&nodes, "lab/cart draining");
        assert_eq!(ranks.iter().copied().collect::<BTreeSet<_>>(), (0..50).collect());
        assert_eq!(rank(nodes.iter().map(String::as_str), "stranger", "lab/cart draining"), 50);
        assert_eq!(rank([], "alone", "lab/cart draining"), 0);
    }

    #[test]
    fn the_work_is_spread_and_a_node_that_goes_moves_nobody_back() {
        let nodes = nodes(10);
        let first = |of: &str| ranks(&nodes, of).iter().position(|rank| *rank == 0).unwrap();
        let mut tells = [0; 10];
        for service in 0..1000 {
            tells[first(&format!("lab/service-{service} draining"))] += 1;
        }
        assert!(tells.iter().all(|count| (60..150).contains(count)), "{tells:?}");
        let of = "lab/cart draining";
        let before = ranks(&nodes, of);
        let after = ranks(&nodes[1..], of);
        for (before, after) in before[1..].iter().zip(after) {
            assert!(after == *before || after + 1 == *before, "{before} {after}");
        }
    }

    #[test]
    fn nobody_waits_for_longer_than_four_minutes() {
        let cases = [
            ((0, 3), Duration::ZERO),
            ((1, 3), Duration::from_secs(2)),
            ((2, 3), Duration::from_secs(4)),
            ((119, 120), Duration::from_secs(238)),
            ((5000, 5000), LONGEST),
            ((0, 0), Duration::ZERO),
        ];
        for ((rank, nodes), expected) in cases {
            assert_eq!(wait(rank, nodes), expected, "{rank} of {nodes}");
        }
    }
}
