//! What happened when: what Kubernetes said of each Service, what each node had programmed, who was cut off or dead.
//!
//! Pure: written by the director and the fences, asked by the judge. Times are since the soak began.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::address::NODES;
use crate::world::PodState;

/// Time since the soak began.
pub(super) type Moment = Duration;

/// From the packet that shows that a node has programmed a change until everything else that it had to write in the
/// same round is written as well. A round of the agent writes one Service after the other.
pub(super) const SAME_ROUND: Duration = Duration::from_millis(500);
/// How long after a node's uplink is up again requests may still fail: its neighbours have to be found first.
pub(super) const UPLINK_SETTLES: Duration = Duration::from_millis(500);

/// An uplink that is down for longer than this may end open connections: TCP sends again after pauses that double, so the
/// next time comes as late again, and clients wait for twelve seconds. Uplinks are planned to be down for much less, but a
/// busy machine may be late in connecting them again.
pub(super) const LONG_CUT: Duration = Duration::from_secs(4);

/// A piece of time. It is open while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Moment,
    pub(super) to: Option<Moment>,
}

impl Span {
    /// Whether any of it is in the window, or would be if it lasted longer by this much.
    fn touches(self, window: Window, longer: Duration) -> bool {
        self.from <= window.to && self.to.is_none_or(|to| to + longer >= window.from)
    }

    /// How much of it is in the window.
    fn part_of(self, window: Window) -> Duration {
        let to = self.to.map_or(window.to, |to| to.min(window.to));
        to.saturating_sub(self.from.max(window.from))
    }
}

/// The time of a request, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: Moment,
    pub(super) to: Moment,
}

/// What Kubernetes says of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) is_there: bool,
    pub(super) affinity: Option<u32>,
    /// Whether its load-balancer IPs are for the first client machine alone.
    pub(super) restricted: bool,
    /// Pods behind it, and how they are.
    pub(super) members: Vec<(String, PodState)>,
}

impl Said {
    /// The Pods that new connections go to: the ready ones; if there are none, those that serve while they terminate.
    pub(super) fn usable(&self) -> Vec<&str> {
        let in_state = |state| {
            let members = self.members.iter().filter(move |(_, of)| *of == state);
            members.map(|(pod, _)| pod.as_str()).collect::<Vec<_>>()
        };
        if !self.is_there {
            return Vec::new();
        }
        let ready = in_state(PodState::Ready);
        if ready.is_empty() { in_state(PodState::Terminating) } else { ready }
    }

    pub(super) fn has(&self, pod: &str) -> bool {
        self.is_there && self.members.iter().any(|(member, _)| member == pod)
    }
}

/// A change: what is said from its moment on.
#[derive(Clone, Debug)]
struct Change {
    /// Just before it was written.
    begun: Moment,
    /// The version of the objects when it was written whole; none until then.
    version: Option<u64>,
    said: Said,
}

/// All that happened.
#[derive(Debug, Default)]
pub(super) struct History {
    services: BTreeMap<String, Vec<Change>>,
    /// Of each node, when it was seen to have programmed everything up to a version.
    programmed: BTreeMap<u8, Vec<(Moment, u64)>>,
    cuts: BTreeMap<u8, Vec<Span>>,
    agents_away: BTreeMap<u8, Vec<Span>>,
    deaths: BTreeMap<String, Vec<Span>>,
    /// The node of each Pod.
    places: BTreeMap<String, u8>,
}

impl History {
    /// A Pod is on this node.
    pub(super) fn place(&mut self, pod: &str, node: u8) {
        self.places.insert(pod.to_owned(), node);
    }

    /// A change of a Service is about to be written.
    pub(super) fn change(&mut self, now: Moment, service: &str, said: Said) {
        let change = Change { begun: now, version: None, said };
        self.services.entry(service.to_owned()).or_default().push(change);
    }

    /// The last change of a Service is written; this is the version of the objects now.
    pub(super) fn written(&mut self, service: &str, version: u64) {
        if let Some(change) = self.services.get_mut(service).and_then(|changes| changes.last_mut()) {
            change.version = Some(version);
        }
    }

    /// A packet shows that a node has programmed what was written up to a version.
    pub(super) fn programmed(&mut self, now: Moment, node: u8, version: u64) {
        self.programmed.entry(node).or_default().push((now, version));
    }

    pub(super) fn cut_off(&mut self, now: Moment, node: u8) {
        self.cuts.entry(node).or_default().push(Span { from: now, to: None });
    }

    pub(super) fn reconnected(&mut self, now: Moment, node: u8) {
        end(self.cuts.get_mut(&node), now);
    }

    pub(super) fn agent_ended(&mut self, now: Moment, node: u8) {
        self.agents_away.entry(node).or_default().push(Span { from: now, to: None });
    }

    pub(super) fn agent_started(&mut self, now: Moment, node: u8) {
        end(self.agents_away.get_mut(&node), now);
    }

    pub(super) fn died(&mut self, now: Moment, pod: &str) {
        self.deaths.entry(pod.to_owned()).or_default().push(Span { from: now, to: None });
    }

    pub(super) fn revived(&mut self, now: Moment, pod: &str) {
        end(self.deaths.get_mut(pod), now);
    }

    /// The node of a Pod; none of one that never was.
    pub(super) fn node_of(&self, pod: &str) -> Option<u8> {
        self.places.get(pod).copied()
    }

    /// Everything that a node may have had programmed of a Service in this time, the oldest first: from the newest that
    /// it was known to have before, to the newest that was being written at its end.
    pub(super) fn possible(&self, service: &str, node: u8, window: Window) -> impl Iterator<Item = &Said> {
        self.possible_changes(service, node, window).iter().map(|change| &change.said)
    }

    /// The same in words.
    pub(super) fn tell(&self, service: &str, node: u8, window: Window) -> String {
        let tell = |change: &Change| {
            let Said { is_there, affinity, restricted, .. } = change.said;
            let (at, usable) = (change.begun.as_secs_f64(), change.said.usable().join(" "));
            let gone = if is_there { "" } else { "gone " };
            let restricted = if restricted { "restricted " } else { "" };
            format!("since {at:.3} s: {gone}{restricted}affinity {affinity:?}, usable [{usable}]")
        };
        let mut told: Vec<String> = self.possible_changes(service, node, window).iter().map(tell).collect();
        for (node, cut) in self.cuts.iter().filter_map(|(node, cuts)| Some((node, cuts.last()?))) {
            let to = cut.to.map_or_else(|| "now".to_owned(), |to| format!("{:.3} s", to.as_secs_f64()));
            told.push(format!("n{node} was last cut off from {:.3} s to {to}", cut.from.as_secs_f64()));
        }
        told.join("; ")
    }

    fn possible_changes(&self, service: &str, node: u8, window: Window) -> &[Change] {
        let changes = self.services.get(service).map_or(&[][..], Vec::as_slice);
        let known = self.known(node, window.from);
        let is_programmed = |change: &Change| change.version.is_some_and(|version| version <= known);
        let first = changes.partition_point(is_programmed).saturating_sub(1);
        let end = changes.partition_point(|change| change.begun <= window.to);
        &changes[first.min(end)..end]
    }

    /// All that was ever said of a Service.
    pub(super) fn all_of(&self, service: &str) -> impl Iterator<Item = &Said> {
        self.services.get(service).into_iter().flatten().map(|change| &change.said)
    }

    /// Whether a node was cut off in this time, or had not settled yet.
    pub(super) fn was_cut_off(&self, node: u8, window: Window) -> bool {
        self.cuts.get(&node).is_some_and(|cuts| cuts.iter().any(|cut| cut.touches(window, UPLINK_SETTLES)))
    }

    /// Whether a node was cut off in this time, and that for longer than open connections can be expected to bear.
    pub(super) fn was_cut_off_for_long(&self, node: u8, window: Window) -> bool {
        let is_long = |cut: &&Span| cut.to.is_none_or(|to| to - cut.from > LONG_CUT);
        let mut cuts = self.cuts.get(&node).into_iter().flatten().filter(is_long);
        cuts.any(|cut| cut.touches(window, UPLINK_SETTLES))
    }

    /// For how long of this time a node had no agent or was cut off; at most, where both happened at once.
    pub(super) fn hindered(&self, node: u8, window: Window) -> Duration {
        let spans = [&self.cuts, &self.agents_away].into_iter().filter_map(|spans| spans.get(&node)).flatten();
        spans.map(|span| span.part_of(window)).sum()
    }

    /// Whether a Pod's server was not running at some time of it.
    pub(super) fn was_dead(&self, pod: &str, window: Window) -> bool {
        self.deaths.get(pod).is_some_and(|deaths| deaths.iter().any(|death| death.touches(window, Duration::ZERO)))
    }

    /// The version that a node is sure to have had programmed at this time.
    fn known(&self, node: u8, at: Moment) -> u64 {
        let seen = self.programmed.get(&node).map_or(&[][..], Vec::as_slice);
        let count = seen.partition_point(|(when, _)| *when + SAME_ROUND <= at);
        count.checked_sub(1).and_then(|last| seen.get(last)).map_or(0, |(_, version)| *version)
    }

    /// Nodes that have not yet shown that they programmed this version.
    pub(super) fn lagging(&self, version: u64) -> Vec<u8> {
        let last =
            |node: &u8| self.programmed.get(node).and_then(|seen| seen.last()).map_or(0, |(_, version)| *version);
        (1..=NODES).filter(|node| last(node) < version).collect()
    }
}

fn end(spans: Option<&mut Vec<Span>>, now: Moment) {
    if let Some(last) = spans.and_then(|spans| spans.last_mut()) {
        last.to = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Duration::from_millis(milliseconds)
    }

    fn window(from: u64, to: u64) -> Window {
        Window { from: at(from), to: at(to) }
    }

    fn said(pods: &[&str]) -> Said {
        let members = pods.iter().map(|pod| ((*pod).to_owned(), PodState::Ready)).collect();
        Said { is_there: true, members, ..Said::default() }
    }

    fn history() -> History {
        let mut history = History::default();
        for (when, version, pods) in [(0, 10, "a"), (1_000, 20, "b"), (2_000, 30, "c")] {
            history.change(at(when), "web", said(&[pods]));
            history.written("web", version);
        }
        history.programmed(at(500), 1, 12);
        history.programmed(at(1_250), 1, 20);
        history
    }

    #[test]
    fn a_node_may_have_what_was_written_since_it_last_showed_what_it_has() {
        let history = history();
        let check = |what: &str, node, window, expected: &[&str]| {
            let possible = history.possible("web", node, window);
            assert_eq!(possible.map(|said| said.usable().concat()).collect::<Vec<_>>(), expected, "{what}");
        };
        check("before it was written", 1, window(100, 900), &["a"]);
        check("while it is written", 1, window(900, 1_000), &["a", "b"]);
        check("shown, but the round may go on", 1, window(1_600, 1_700), &["a", "b"]);
        check("shown", 1, window(1_750, 1_800), &["b"]);
        check("the next one comes", 1, window(1_750, 2_100), &["b", "c"]);
        check("it has shown nothing since", 1, window(9_000, 9_100), &["b", "c"]);
        check("another node never showed anything", 2, window(9_000, 9_100), &["a", "b", "c"]);
        assert_eq!(history.possible("other", 1, window(0, 1)).count(), 0);
        assert_eq!(history.lagging(20), [2, 3]);
    }

    #[test]
    fn what_is_being_written_is_not_programmed() {
        let mut history = history();
        history.change(at(3_000), "web", said(&["d"]));
        history.programmed(at(3_500), 1, 99);
        let possible = |history: &History| history.possible("web", 1, window(9_000, 9_100)).count();
        assert_eq!(possible(&history), 2);
        history.written("web", 40);
        assert_eq!(possible(&history), 1);
    }

    #[test]
    fn terminating_pods_serve_when_no_other_is_ready_and_nobody_while_the_service_is_gone() {
        let members = |states: &[PodState]| {
            let members = states.iter().zip(["a", "b"]).map(|(state, pod)| (pod.to_owned(), *state)).collect();
            Said { is_there: true, members, ..Said::default() }
        };
        assert_eq!(members(&[PodState::Ready, PodState::Terminating]).usable(), ["a"]);
        assert_eq!(members(&[PodState::NotReady, PodState::Terminating]).usable(), ["b"]);
        let gone = Said { is_there: false, ..members(&[PodState::Ready]) };
        assert!(gone.usable().is_empty() && !gone.has("a"));
    }

    #[test]
    fn a_cut_is_long_when_connections_cannot_bear_it_and_hinders_its_node_alone() {
        let mut history = History::default();
        let long = LONG_CUT + at(1);
        for (from, lasts) in [(at(1_000), LONG_CUT), (at(20_000), long)] {
            history.cut_off(from, 2);
            history.reconnected(from + lasts, 2);
        }
        history.agent_ended(at(2_000), 1);
        history.agent_started(at(2_500), 1);
        assert!(!history.was_cut_off_for_long(2, window(1_000, 2_000)));
        assert!(history.was_cut_off_for_long(2, window(20_000, 21_000)));
        assert_eq!(history.hindered(2, window(2_000, 3_000)), at(1_000));
        assert_eq!(history.hindered(1, window(0, 9_000)), at(500));
        assert_eq!(history.hindered(3, window(0, 9_000)), at(0));
    }

    #[test]
    fn cuts_last_until_neighbours_are_found_and_deaths_until_the_server_runs() {
        let mut history = History::default();
        history.cut_off(at(1_000), 2);
        history.died(at(1_000), "a");
        assert!(history.was_cut_off(2, window(5_000, 5_001)) && history.was_dead("a", window(5_000, 5_001)));
        history.reconnected(at(2_000), 2);
        history.revived(at(2_000), "a");
        let settled = 2_000 + u64::try_from(UPLINK_SETTLES.as_millis()).unwrap();
        assert!(history.was_cut_off(2, window(settled, settled + 1)));
        assert!(!history.was_cut_off(2, window(settled + 1, settled + 2)));
        assert!(!history.was_cut_off(2, window(900, 999)) && !history.was_cut_off(1, window(1_500, 1_600)));
        assert!(history.was_dead("a", window(2_000, 2_001)) && !history.was_dead("a", window(2_001, 2_002)));
    }
}
