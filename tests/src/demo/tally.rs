//! What the demo counts: requests, answers, Pods, and connections that are held open.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;

use anyhow::{Result, ensure};

use crate::client::{Answer, Client, Connection};
use crate::world::Protocol;

/// After so many requests without an answer there is nothing more to show; each costs its time-out.
const MAX_UNANSWERED: usize = 5;

/// The demo's counts.
#[derive(Default)]
pub(super) struct Tally {
    requests: usize,
    answered: usize,
    broken: usize,
    pods: BTreeSet<String>,
    held: Vec<Held>,
}

/// An open connection and the Pod that it must stay with.
struct Held {
    connection: Connection,
    pod: String,
}

/// How many answers each Pod gave.
#[derive(Default)]
pub(super) struct Share(BTreeMap<String, usize>);

impl Share {
    pub(super) fn total(&self) -> usize {
        self.0.values().sum()
    }

    pub(super) fn of(&self, pod: &str) -> usize {
        self.0.get(pod).copied().unwrap_or(0)
    }

    /// The Pod that gave most answers.
    pub(super) fn largest(&self) -> Option<&str> {
        self.0.iter().max_by_key(|(_, count)| **count).map(|(pod, _)| pod.as_str())
    }

    /// `p1-1 7, p1-2 12`, in the order of names.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (pod, count) in &self.0 {
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing to a string cannot fail.
            let _done = write!(text, "{comma}{pod} {count}");
        }
        text
    }
}

impl FromIterator<String> for Share {
    fn from_iter<I: IntoIterator<Item = String>>(pods: I) -> Self {
        let mut share = Self::default();
        for pod in pods {
            *share.0.entry(pod).or_default() += 1;
        }
        share
    }
}

impl Tally {
    /// Makes one request; no answer is nothing to fail for until there were too many.
    pub(super) fn ask(&mut self, client: &Client, protocol: Protocol, to: SocketAddr) -> Result<Option<Answer>> {
        self.ask_from(client, protocol, to, None)
    }

    /// The same, from this address and port (0: any port).
    pub(super) fn ask_from(
        &mut self,
        client: &Client,
        protocol: Protocol,
        to: SocketAddr,
        from: Option<SocketAddr>,
    ) -> Result<Option<Answer>> {
        let answer = client.who(protocol, to, from);
        self.count(answer)
    }

    /// Makes many requests, each on a connection of its own.
    pub(super) fn ask_often(
        &mut self,
        client: &Client,
        protocol: Protocol,
        to: SocketAddr,
        times: usize,
    ) -> Result<Share> {
        let mut share = Share::default();
        for _ in 0..times {
            if let Some(answer) = self.ask(client, protocol, to)? {
                *share.0.entry(answer.pod).or_default() += 1;
            }
        }
        Ok(share)
    }

    /// Opens connections and keeps them.
    pub(super) fn hold(&mut self, client: &Client, to: SocketAddr, connections: usize) -> Result<()> {
        for _ in 0..connections {
            let opened = client.tcp(to, None).and_then(|mut connection| {
                let answer = connection.who()?;
                Ok((connection, answer))
            });
            let (connection, answer) = match opened {
                Ok((connection, answer)) => (Some(connection), Ok(answer)),
                Err(error) => (None, Err(error)),
            };
            let answer = self.count(answer)?;
            self.held.extend(connection.zip(answer).map(|(connection, answer)| Held { connection, pod: answer.pod }));
        }
        Ok(())
    }

    /// Asks again on every held connection; those that do not answer, or not by the same Pod, are
    /// broken and given up.
    pub(super) fn ask_held(&mut self) -> Result<Share> {
        let mut share = Share::default();
        for mut held in std::mem::take(&mut self.held) {
            let answer = held.connection.who();
            match self.count(answer)? {
                Some(answer) if answer.pod == held.pod => {
                    *share.0.entry(answer.pod).or_default() += 1;
                    self.held.push(held);
                }
                Some(_) | None => self.broken += 1,
            }
        }
        Ok(share)
    }

    /// Closes the held connections of a Pod, as their clients do when they have finished.
    pub(super) fn finish(&mut self, pod: &str) -> usize {
        let before = self.held.len();
        self.held.retain(|held| held.pod != pod);
        before - self.held.len()
    }

    /// How many connections are held.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether everything was answered and nothing broke.
    pub(super) fn is_clean(&self) -> bool {
        self.requests == self.answered && self.broken == 0
    }

    /// The demo's last line.
    pub(super) fn closing_line(&self) -> String {
        let Self { requests, answered, .. } = self;
        let (pods, held) = (self.pods.len(), self.held.len());
        format!("demo: {requests} requests, {answered} answered, {pods} Pods, {held} connections held")
    }

    fn count(&mut self, answer: Result<Answer>) -> Result<Option<Answer>> {
        self.requests += 1;
        match answer {
            Ok(answer) => {
                self.answered += 1;
                self.pods.insert(answer.pod.clone());
                Ok(Some(answer))
            }
            Err(error) => {
                let unanswered = self.requests - self.answered;
                ensure!(unanswered < MAX_UNANSWERED, "{unanswered} requests were not answered, the last: {error:#}");
                eprintln!("  not answered: {error:#}");
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_requests_without_an_answer_end_the_demo() {
        let mut tally = Tally::default();
        for _ in 1..MAX_UNANSWERED {
            assert!(tally.count(Err(anyhow::anyhow!("no"))).unwrap().is_none());
        }
        assert!(tally.count(Err(anyhow::anyhow!("no"))).is_err());
        assert!(!tally.is_clean());
        assert_eq!(tally.closing_line(), "demo: 5 requests, 0 answered, 0 Pods, 0 connections held");
    }
}
