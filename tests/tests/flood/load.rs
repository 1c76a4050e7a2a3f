//! What goes on while a node is flooded: connections that move data, newcomers, and clients who come back.

mod held;
mod newcomers;
mod returning;
mod silent;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use limpet_lab::Lab;
use limpet_lab::wait::let_pass;

pub(crate) use self::{
    held::Data,
    newcomers::{Newcomers, SECOND_SYN},
    returning::Returns,
    silent::Silent,
};
use crate::support::Held;
use crate::visitors::{Door, Visitor};

/// Threads that ask on held connections.
const HELD_THREADS: usize = 8;
/// Newcomers that can be on their way at a time.
const NEWCOMER_THREADS: u32 = 20;

/// Who there is to be served.
pub(crate) struct Load<'a> {
    pub(crate) lab: &'a Lab,
    /// Connections that move data.
    pub(crate) held: &'a mut [Held],
    /// Connections on which nothing is said for seconds.
    pub(crate) silent: &'a mut [Held],
    /// How long either may wait for an answer.
    pub(crate) patience: Duration,
    /// Clients who were there before, and the door that they come back to.
    pub(crate) returning: (&'a [Visitor], Door),
    /// The doors that newcomers come to, in turn.
    pub(crate) doors: &'a [Door],
}

/// How they were served.
#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) data: Data,
    pub(crate) silent: Silent,
    pub(crate) newcomers: Newcomers,
    pub(crate) returns: Returns,
}

impl Load<'_> {
    /// Lets all of them do what they do while `work` is done, and until each has finished what it began.
    pub(crate) fn during<T>(self, work: impl FnOnce() -> Result<T>) -> Result<(T, Served)> {
        let Self { lab, held, silent, patience, returning, doors } = self;
        for Held { connection, .. } in &*held {
            connection.wait_at_most(patience)?;
        }
        let over = AtomicBool::new(false);
        let share = held.len().div_ceil(HELD_THREADS).max(1);
        thread::scope(|scope| {
            let over = &over;
            let data: Vec<_> = held.chunks_mut(share).map(|part| scope.spawn(|| held::move_data(part, over))).collect();
            let silent = scope.spawn(|| silent::listen(silent, patience, over));
            let come = |number| scope.spawn(move || newcomers::come(lab, doors, (number, NEWCOMER_THREADS), over));
            let newcomers: Vec<_> = (0..NEWCOMER_THREADS).map(come).collect();
            let returns = scope.spawn(|| returning::come_back(returning.0, returning.1, over));
            let outcome = {
                let _end = AtEnd(over);
                work()
            };
            let mut served = Served { silent: join(silent)?, returns: join(returns)??, ..Served::default() };
            for thread in data {
                served.data += join(thread)?;
            }
            for thread in newcomers {
                served.newcomers += join(thread)?;
            }
            Ok((outcome?, served))
        })
    }
}

/// Lets time pass until this moment.
fn wait_until(moment: Instant) {
    let_pass(moment.saturating_duration_since(Instant::now()));
}

fn is_over(over: &AtomicBool) -> bool {
    over.load(Ordering::Relaxed)
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a part of the load panicked"))
}

/// Says that it is over when it is dropped, however the work ends.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
