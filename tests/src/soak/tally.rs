//! Counts what clients saw, and has the judge look at each of it.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::fleet;
use super::history::History;
use super::judge::{self, Asked, Cause, Failure};
use crate::world::Protocol;

/// So many unexplained things are told one by one, the others are counted.
const MAX_TOLD: usize = 200;

/// What a client, or a fence, saw.
#[derive(Debug)]
pub(super) enum Event {
    /// A new connection with its first request, or a datagram.
    Asked { asked: Asked, protocol: Protocol, loyal: bool, outcome: Result<String, Failure> },
    /// Data moved on an open connection, or did not. The window begins with the exchange before.
    Exchanged { asked: Asked, pod: String, outcome: Result<(), Failure> },
    /// A client of a Service with affinity was answered by another Pod. The window begins with its request before.
    Moved { asked: Asked, had: String, now: String },
    /// A node has programmed a change, so long after it was begun to be written.
    Programmed { node: u8, took: Duration },
    /// Something went wrong that no client can see.
    Problem(String),
}

/// What kind of request something was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    New,
    Datagram,
    Loyal,
    Open,
}

impl What {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::New => "new TCP connection",
            Self::Datagram => "UDP datagram",
            Self::Loyal => "client of a Service with affinity",
            Self::Open => "data on an open connection",
        }
    }
}

/// How requests of one kind ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) fine: u64,
    pub(super) explained: u64,
    pub(super) unexplained: u64,
}

/// Of what kind of request an error was, how it showed, and what explains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Error {
    pub(super) what: What,
    pub(super) how: &'static str,
    /// None: nothing does.
    pub(super) cause: Option<Cause>,
}

/// How long nodes took to program a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Programming {
    pub(super) changes: u64,
    pub(super) sum: Duration,
    pub(super) longest: Duration,
}

/// All counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: BTreeMap<What, Ended>,
    /// By the name of the frontend's kind, and by node.
    pub(super) ways: BTreeMap<(&'static str, u8), u64>,
    pub(super) errors: BTreeMap<Error, u64>,
    /// Those of Services that are never changed.
    pub(super) steady_errors: BTreeMap<Error, u64>,
    /// Clients that were given another Pod, as they saw it, by Service: all of them.
    pub(super) moves: BTreeMap<String, u64>,
    pub(super) programming: BTreeMap<u8, Programming>,
    /// All that nothing explains, however it was noticed.
    pub(super) unexplained: u64,
    /// The first of it in words.
    pub(super) told: Vec<String>,
}

impl Tally {
    /// Requests of all kinds.
    pub(super) fn total(&self) -> u64 {
        self.requests.values().map(|ended| ended.fine + ended.explained + ended.unexplained).sum()
    }

    /// Errors of all kinds.
    pub(super) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Takes in one thing that was seen.
    pub(super) fn count(&mut self, history: &History, event: Event) {
        match event {
            Event::Asked { asked, protocol, loyal, outcome } => {
                let what = match (loyal, protocol) {
                    (true, _) => What::Loyal,
                    (false, Protocol::Tcp) => What::New,
                    (false, Protocol::Udp) => What::Datagram,
                };
                *self.ways.entry((asked.kind.name(), asked.node)).or_default() += 1;
                let judged = outcome.and_then(|pod| judge::answer(history, &asked, &pod));
                let asked = if protocol == Protocol::Udp { asked.datagram() } else { asked };
                let judged = judged.map_err(|failure| {
                    let cause = judge::request(history, &asked, &failure);
                    (failure, cause)
                });
                self.end(history, what, &asked, judged);
            }
            Event::Exchanged { asked, pod, outcome } => {
                let judged = outcome.map_err(|failure| {
                    let cause = judge::held(history, &asked, &pod, &failure);
                    (failure, cause)
                });
                self.end(history, What::Open, &asked, judged);
            }
            Event::Moved { asked, had, now } => {
                *self.moves.entry(asked.service.clone()).or_default() += 1;
                if !judge::may_move(history, &asked, &had) {
                    self.add_error(&asked, Error { what: What::Loyal, how: "moved", cause: None });
                    self.tell(format!("{}: a client of Pod {had} was moved to {now}", place(history, &asked)));
                }
            }
            Event::Programmed { node, took } => {
                let programming = self.programming.entry(node).or_default();
                programming.changes += 1;
                programming.sum += took;
                programming.longest = programming.longest.max(took);
            }
            Event::Problem(what) => self.tell(what),
        }
    }

    fn end(&mut self, history: &History, what: What, asked: &Asked, judged: Result<(), (Failure, Option<Cause>)>) {
        let ended = self.requests.entry(what).or_default();
        let Err((failure, cause)) = judged else {
            ended.fine += 1;
            return;
        };
        match cause {
            Some(_) => ended.explained += 1,
            None => ended.unexplained += 1,
        }
        self.add_error(asked, Error { what, how: failure.name(), cause });
        if cause.is_none() {
            self.tell(format!("{}: {}, {failure}", place(history, asked), what.name()));
        }
    }

    fn add_error(&mut self, asked: &Asked, error: Error) {
        *self.errors.entry(error).or_default() += 1;
        if !fleet::is_churned(&asked.service) {
            *self.steady_errors.entry(error).or_default() += 1;
        }
    }

    fn tell(&mut self, what: String) {
        self.unexplained += 1;
        if self.told.len() < MAX_TOLD {
            eprintln!("UNEXPLAINED {what}");
            self.told.push(what);
        }
    }
}

/// Counts until nobody is left who could see anything.
pub(super) fn run(events: &Receiver<Event>, history: &Mutex<History>, tally: &Mutex<Tally>) {
    while let Ok(event) = events.recv() {
        let history = lock(history);
        lock(tally).count(&history, event);
    }
}

/// What is guarded is whole after every operation, so that a panic elsewhere spoils nothing.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When and where it was, and what the node may have had programmed.
fn place(history: &History, asked: &Asked) -> String {
    let (from, to) = (asked.window.from.as_secs_f64(), asked.window.to.as_secs_f64());
    let (service, kind, client, node) = (&asked.service, asked.kind.name(), asked.client, asked.node);
    let possible = history.tell(service, node, asked.window);
    format!("{from:.3} s to {to:.3} s, c{client} to {service} by {kind} at n{node} ({possible})")
}

#[cfg(test)]
mod tests {
    use super::super::history::{Said, Window};
    use super::*;
    use crate::world::{FrontendKind, PodState};

    fn history() -> History {
        let mut history = History::default();
        let members = vec![("a".to_owned(), PodState::Ready)];
        history.change(Duration::ZERO, "steady", Said { is_there: true, members, ..Said::default() });
        history.written("steady", 1);
        history
    }

    fn asked() -> Asked {
        let window = Window { from: Duration::from_secs(5), to: Duration::from_secs(6) };
        Asked { service: "steady".to_owned(), node: 1, kind: FrontendKind::NodePort, client: 1, window }
    }

    fn answered_by(outcome: Result<&str, Failure>) -> Event {
        let outcome = outcome.map(str::to_owned);
        Event::Asked { asked: asked(), protocol: Protocol::Udp, loyal: false, outcome }
    }

    #[test]
    fn an_error_without_a_cause_is_unexplained_whatever_it_is() {
        let moved = Event::Moved { asked: asked(), had: "a".to_owned(), now: "b".to_owned() };
        let ended = Event::Exchanged { asked: asked(), pod: "a".to_owned(), outcome: Err(Failure::Reset) };
        let affinity = |history: &mut History| {
            let members = vec![("a".to_owned(), PodState::Ready)];
            let said = Said { is_there: true, affinity: Some(600), members, ..Said::default() };
            history.change(Duration::ZERO, "steady", said);
            history.written("steady", 2);
            (1..=3).for_each(|node| history.programmed(Duration::from_secs(1), node, 2));
        };
        let events = [
            answered_by(Err(Failure::TimedOut)),
            answered_by(Err(Failure::Refused)),
            answered_by(Ok("b")),
            moved,
            ended,
            Event::Problem("a node is behind".to_owned()),
        ];
        for event in events {
            let mut history = history();
            affinity(&mut history);
            let mut tally = Tally::default();
            let what = format!("{event:?}");
            tally.count(&history, event);
            assert_eq!((tally.unexplained, tally.told.len()), (1, 1), "{what}");
        }
    }

    #[test]
    fn answers_and_explained_errors_are_not() {
        let mut history = history();
        history.cut_off(Duration::from_secs(5), 1);
        let mut tally = Tally::default();
        tally.count(&history, answered_by(Ok("a")));
        tally.count(&history, answered_by(Err(Failure::TimedOut)));
        assert_eq!((tally.total(), tally.failed(), tally.unexplained), (2, 1, 0));
        assert_eq!(tally.requests[&What::Datagram], Ended { fine: 1, explained: 1, unexplained: 0 });
        let error = Error { what: What::Datagram, how: "time-out", cause: Some(Cause::UplinkDown) };
        assert_eq!(tally.steady_errors[&error], 1);
    }
}
