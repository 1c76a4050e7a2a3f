//! Connections that were there before, and move data all the time.

use std::ops::AddAssign;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{is_over, wait_until};
use crate::support::Held;

/// Each connection moves data so often.
const PERIOD: Duration = Duration::from_secs(1);
/// What it fetches then, of which each byte is compared.
const BYTES: u64 = 4096;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Data {
    /// How often data was moved.
    pub(crate) moves: usize,
    /// Why connections broke, one line each.
    pub(crate) broken: Vec<String>,
}

impl AddAssign for Data {
    fn add_assign(&mut self, other: Self) {
        self.moves += other.moves;
        self.broken.extend(other.broken);
    }
}

/// Moves data on one connection after the other, round after round, until it is over. A connection that broke is left out
/// from then on.
pub(super) fn move_data(held: &mut [Held], over: &AtomicBool) -> Data {
    let mut data = Data::default();
    let mut live: Vec<&mut Held> = held.iter_mut().collect();
    while !live.is_empty() && !is_over(over) {
        let begun = Instant::now();
        let turn = PERIOD / u32::try_from(live.len()).unwrap_or(u32::MAX);
        let mut next = begun;
        live.retain_mut(|held| {
            if is_over(over) {
                return true;
            }
            wait_until(next);
            next += turn;
            match ask(held, data.moves as u64) {
                Ok(()) => data.moves += 1,
                Err(error) => {
                    data.broken.push(format!("{error:#}"));
                    return false;
                }
            }
            true
        });
    }
    data
}

fn ask(held: &mut Held, seed: u64) -> Result<()> {
    held.ask()?;
    held.connection.download(BYTES, seed)
}
