//! A node's agent without a kernel: model and plan, with what is programmed as a value, and what must hold of each round.

use std::fmt::Display;

use lb_common::host::Input;
use lb_userspace::{
    model::{self, Desired, Memo, NodePortAddresses, Options},
    plan::{Applied, Limits, Plan, Settled, plan, plan_after},
    source::{Problem, Snapshot},
};

use crate::{names, sense, sound};

/// Room for whatever an input of a few kilobytes can ask for.
const ROOMY: Limits = Limits {
    slots: 4_000_000,
    backends: 10_000,
    services: 1_000,
    frontends: 10_000,
    source_ranges: 10_000,
    siblings: 40_000,
    nodes: 1_000,
};
/// So many rounds at the same moment are enough to do all that can be done then.
const ROUNDS: usize = 8;
/// Longest line that is told.
const MAX_LINE: usize = 2_000;

/// The agent.
pub(crate) struct Node {
    options: Options,
    limits: Limits,
    applied: Applied,
    seen: sound::Memory,
    memo: Memo,
    settled: Option<Settled>,
    now_seconds: u64,
}

impl Node {
    /// One that has programmed nothing. The input decides how much fits, and which options it has.
    pub(crate) fn new(input: &mut Input<'_>) -> Self {
        let limits = if input.one_in(4) { tight(input) } else { ROOMY };
        let within = input.one_in(2).then(|| NodePortAddresses::Within(Vec::new()));
        Self {
            options: Options {
                node: "n1".to_owned(),
                tunnel_port: 6181,
                service_class: input.one_in(16).then(|| "limpet.dev/x".to_owned()),
                node_port_addresses: within.unwrap_or_default(),
                local_addresses: vec![
                    [10, 0, 0, 1].into(),
                    [192, 0, 2, 9].into(),
                    [0xfd00, 0, 0, 0, 0, 0, 0, 1].into(),
                ],
                ..Options::default()
            },
            limits,
            applied: Applied::default(),
            seen: sound::Memory::default(),
            memo: Memo::default(),
            settled: None,
            now_seconds: 1_000,
        }
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now_seconds += seconds;
    }

    /// The agent is another one, that knows no more than what is programmed.
    pub(crate) fn restart(&mut self) {
        self.memo = Memo::default();
        self.settled = None;
    }

    /// A round in which everything is written.
    pub(crate) fn sync(&mut self, snapshot: &Snapshot, problems: &[Problem]) {
        let (desired, planned) = self.plan(snapshot, problems);
        self.write(&planned);
        self.settled = Settled::after(&planned, desired.clone());
        self.check_done(&desired, &planned);
    }

    /// A round that ends after this share (of 256) of its writes, and the agent with it.
    pub(crate) fn crash(&mut self, snapshot: &Snapshot, problems: &[Problem], share: u8) {
        let (_, planned) = self.plan(snapshot, problems);
        let written = &planned.writes[..planned.writes.len() * usize::from(share) / 256];
        sound::begin(&mut self.applied, &mut self.seen, written, self.now_seconds, &self.limits);
        self.restart();
    }

    /// What is to be done. It is the same for an agent that remembers and for one that does not.
    fn plan(&mut self, snapshot: &Snapshot, told: &[Problem]) -> (Desired, Plan) {
        let (desired, problems) = model::desired_with(snapshot, &self.options, &mut self.memo);
        let (anew, problems_anew) = model::desired(snapshot, &self.options);
        assert_eq!((&desired, &problems), (&anew, &problems_anew));
        sense::check_sense(&desired);
        let settled = self.settled.take();
        let planned = plan_after(settled.as_ref(), &self.applied, &desired, self.now_seconds, &self.limits);
        assert_eq!(planned, plan(&self.applied, &desired, self.now_seconds, &self.limits));
        told.iter().chain(&problems).chain(&planned.problems).for_each(check_line);
        (desired, planned)
    }

    /// Writes what was planned, and looks after each write.
    fn write(&mut self, planned: &Plan) {
        sound::follow(&mut self.applied, &mut self.seen, &planned.writes, self.now_seconds, &self.limits);
    }

    /// What must hold once all that was planned is written.
    fn check_done(&mut self, desired: &Desired, planned: &Plan) {
        let is_all = planned.problems.is_empty() && !planned.is_tight;
        let mut rounds = 0;
        loop {
            let more = plan(&self.applied, desired, self.now_seconds, &self.limits);
            if more.writes.is_empty() {
                break;
            }
            assert!(!is_all, "planned again there is more to do: {:?}", more.writes);
            rounds += 1;
            assert!(rounds < ROUNDS, "it does not come to an end: {:?}", more.writes);
            self.settled = None;
            self.write(&more);
        }
        if is_all && desired.complete {
            assert_eq!(names::by_names(&self.applied), names::wanted_by_names(desired));
            assert_eq!(names::live_backends(&self.applied), names::wanted_backends(desired));
            assert_eq!(names::siblings(&self.applied), names::wanted_siblings(desired));
            assert_eq!(names::ranges(&self.applied), names::wanted_ranges(desired));
        }
    }
}

/// Hardly room for anything.
fn tight(input: &mut Input<'_>) -> Limits {
    let mut up_to = |most: u16| u32::from(input.word() % (most + 1));
    Limits {
        slots: up_to(60_000),
        backends: up_to(14),
        services: up_to(6),
        frontends: up_to(9),
        source_ranges: up_to(9),
        siblings: up_to(9),
        nodes: 1 + up_to(3),
    }
}

/// What is told can be read, on one line of a terminal.
fn check_line(problem: &(impl Display + ?Sized)) {
    let line = problem.to_string();
    assert!(line.chars().count() < MAX_LINE, "a line of {} characters: {line}", line.chars().count());
    assert!(!line.contains(char::is_control), "{line:?}");
}
