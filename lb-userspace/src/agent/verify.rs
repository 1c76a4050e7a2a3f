//! Compares what the maps hold with what the agent has programmed and with what is desired, and puts it right.
//!
//! A question comes from the socket and is answered in the agent's loop, between two rounds: nothing is written meanwhile.

mod wanted;
mod words;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use lb_common::layout::SLOT_BACKEND_MASK;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::{info, warn};

use self::{
    wanted::Known,
    words::{Words, difference},
};
use super::{
    Agent,
    hops::{Hops, Written},
};
use crate::{
    api::{AgentVerification, Difference},
    dataplane::{Elements, Maps},
    model::Family,
    netlink::{Ends, Target},
    plan::Applied,
    source::{Problem, Source},
};

/// So many questions wait at a time; more are refused.
const MAX_WAITING: usize = 4;
/// How long a question may wait for its answer: less than the socket lets a connection live. Tables of ten thousand
/// Services are worked out in some seconds.
const TIME_LIMIT: Duration = Duration::from_secs(25);

/// The way to the agent's loop, for whoever asks; and its other end.
pub(super) fn channel() -> (Asker, Questions) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    (Asker(sender), Questions(receiver))
}

/// Asks the agent's loop.
#[derive(Clone, Debug)]
pub(super) struct Asker(mpsc::Sender<Question>);

/// What was asked.
pub(super) struct Questions(mpsc::Receiver<Question>);

/// A question, and where its answer goes.
#[derive(Debug)]
pub(super) struct Question {
    repair: bool,
    answer: oneshot::Sender<Result<AgentVerification, String>>,
}

impl Asker {
    /// What is different; with `repair`, what still is after everything that could be was put right.
    ///
    /// # Errors
    /// When the agent has no time, or cannot read or write the maps.
    pub(super) async fn ask(&self, repair: bool) -> Result<AgentVerification, String> {
        let (answer, answered) = oneshot::channel();
        let question = Question { repair, answer };
        self.0.try_send(question).map_err(|_| "too many ask at a time; try again later".to_owned())?;
        match timeout(TIME_LIMIT, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_ended)) => Err("the agent is ending".to_owned()),
            Err(_elapsed) => Err(format!("the agent was busy for {} s; try again later", TIME_LIMIT.as_secs())),
        }
    }
}

impl Questions {
    /// The next one; none when nobody can ask any more.
    pub(super) async fn next(&mut self) -> Option<Question> {
        self.0.recv().await
    }
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    differences: Vec<Difference>,
    notes: Vec<String>,
}

impl Agent {
    /// Answers a question. Returns when the next round is due where this brought one about.
    ///
    /// # Errors
    /// As a round.
    pub(super) async fn answer(&mut self, question: Question, source: &mut Source) -> Result<Option<Option<Duration>>> {
        let Question { repair, answer } = question;
        let found = self.find_differences(source).await;
        if let Ok(found) = &found {
            tell(found);
        }
        let (answered, next) = match found {
            Ok(found) if repair && !found.differences.is_empty() => match self.mend() {
                Ok(()) => {
                    let next = self.sync(source).await?;
                    let left = self.find_differences(source).await;
                    (left.map(|left| self.answer_of(left, found.differences.len())), Some(next))
                }
                Err(failure) => (Err(failure), None),
            },
            Ok(found) => {
                let count = found.differences.len();
                (Ok(self.answer_of(found, count)), None)
            }
            Err(failure) => (Err(failure), None),
        };
        // Whoever asked may have gone.
        let _gone = answer.send(answered.map_err(|failure| format!("{failure:#}")));
        Ok(next)
    }

    fn answer_of(&self, left: Found, found: usize) -> AgentVerification {
        let Found { differences, notes } = left;
        let repaired = found.saturating_sub(differences.len());
        AgentVerification { node: self.report.status().node, differences, repaired, notes }
    }

    /// Compares maps and links with what is desired; where the source does not know everything, with what was programmed.
    async fn find_differences(&mut self, source: &mut Source) -> Result<Found> {
        let mut notes = Vec::new();
        let due = tokio::task::block_in_place(|| self.syncer.due(source));
        let (applied, problems) = due.unwrap_or_else(|| {
            notes.push("the source does not know everything yet: compared with what was last programmed".to_owned());
            (self.syncer.applied().clone(), Vec::new())
        });
        let ways = ways(&self.hops);
        let known = self.known(&applied, &ways);
        let maps = &self.loaded.maps;
        let mut differences = tokio::task::block_in_place(|| differences(maps, &known))?;
        differences.extend(problems.into_iter().map(does_not_fit));
        differences.extend(self.uplinks.differences(&mut self.loaded).await);
        differences.sort();
        Ok(Found { differences, notes })
    }

    /// Makes every element what this agent had written there, so that ids stay what flows and clients know them by; then
    /// takes the maps as they are for what is programmed. Lookup tables are left to the next round, which writes new ones
    /// beside those that are wrong.
    fn mend(&mut self) -> Result<()> {
        let applied = self.syncer.applied().clone();
        let ways = ways(&self.hops);
        let known = self.known(&applied, &ways);
        let programmed = Elements::read(&self.loaded.maps).context("cannot read what is programmed")?;
        let changes = programmed.changes_to(&wanted::elements(&known, &programmed));
        for change in &changes {
            change.carry_out(&mut self.loaded.maps).context("cannot put right what is programmed")?;
        }
        info!(elements = changes.len(), "put right what was not as it was written");
        self.syncer.read_back(&self.loaded.maps)
    }

    fn known<'a>(&self, applied: &'a Applied, ways: &'a Ways<'a>) -> Known<'a> {
        Known { applied, ways, mtus: self.hops.mtus(), tunnel_port: self.syncer.tunnel_port() }
    }
}

/// What was written of the ways.
type Ways<'a> = BTreeMap<(u32, Family), (Ends, Written<'a>)>;

fn ways(hops: &Hops) -> Ways<'_> {
    let of = |(target, written): (Target, _)| ((target.node, Family::of(target.address())), (target.ends, written));
    hops.written().map(of).collect()
}

/// What of the maps is different.
fn differences(maps: &Maps, known: &Known<'_>) -> Result<Vec<Difference>> {
    let programmed = Elements::read(maps).context("cannot read what is programmed")?;
    let words = Words(known.applied);
    let changes = programmed.changes_to(&wanted::elements(known, &programmed));
    let mut differences: Vec<Difference> = changes.iter().flat_map(|change| words.differences(change)).collect();
    for table in known.applied.tables.values() {
        let slots = maps.slots.read(table.extent.offset, table.extent.length).unwrap_or_default();
        let slots: Vec<u32> = slots.into_iter().map(|slot| slot & SLOT_BACKEND_MASK).collect();
        let wanted = known.applied.slots_of(table);
        if wanted.as_ref() != Some(&slots) {
            differences.push(words.table(table, &slots, wanted.as_deref()));
        }
    }
    Ok(differences)
}

/// What cannot be programmed is different as well.
fn does_not_fit(problem: Problem) -> Difference {
    let object = problem.object.unwrap_or_else(|| "This node".to_owned());
    difference(&object, "room", "what it had".to_owned(), problem.message)
}

/// One line for the log.
fn tell(found: &Found) {
    let Some(Difference { object, what, programmed, desired }) = found.differences.first() else {
        return;
    };
    let count = found.differences.len();
    warn!(count, object, what, programmed, desired, "what is programmed is not what should be; this is the first");
}
