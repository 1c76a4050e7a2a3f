//! New connections, so many a second, each of which is answered once.

use std::net::SocketAddr;
use std::ops::AddAssign;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::{CLIENTS, Family};
use limpet_lab::world::Protocol;

use super::{is_over, wait_until};
use crate::visitors::Door;

/// How many there are in a second.
const A_SECOND: u32 = 100;
/// How long each waits to be connected: its kernel sends a SYN at once, after one second, and after three.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who was answered later than this needed a second SYN.
pub(crate) const SECOND_SYN: Duration = Duration::from_secs(1);
/// Their addresses on each client machine, from this one on.
const FIRST: u8 = 201;
const ADDRESSES: u32 = 50;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Newcomers {
    /// How long each waited for the answer, of those that were answered.
    pub(crate) waited: Vec<Duration>,
    /// What happened to the others, one line each.
    pub(crate) failed: Vec<String>,
}

impl AddAssign for Newcomers {
    fn add_assign(&mut self, other: Self) {
        self.waited.extend(other.waited);
        self.failed.extend(other.failed);
    }
}

/// Lets one thread's share of them come, until it is over: `share` is its number, and of how many.
pub(super) fn come(lab: &Lab, doors: &[Door], share: (u32, u32), over: &AtomicBool) -> Newcomers {
    let (first, step) = share;
    let begun = Instant::now();
    let mut came = Newcomers::default();
    for number in (first..).step_by(step as usize) {
        wait_until(begun + Duration::from_secs(1) * number / A_SECOND);
        if is_over(over) {
            break;
        }
        let door = doors[number as usize % doors.len()];
        match connect(lab, door, number / doors.len() as u32) {
            Ok(waited) => came.waited.push(waited),
            Err(error) => came.failed.push(format!("{error:#}")),
        }
    }
    came
}

/// One of them: how long it waited.
fn connect(lab: &Lab, door: Door, number: u32) -> Result<Duration> {
    let family = Family::BOTH[number as usize % 2];
    let machine = 1 + (number / 2 % u32::from(CLIENTS)) as u8;
    let client = lab.client(machine);
    let from = SocketAddr::new(client.address(family, FIRST + (number / 4 % ADDRESSES) as u8), 0);
    let begun = Instant::now();
    let outcome = client.attempt(Protocol::Tcp, door.to(family), Some(from), PATIENCE)?;
    let waited = begun.elapsed();
    ensure!(outcome.pod().is_some(), "{from} to {}: {outcome:?} after {waited:?}", door.to(family));
    Ok(waited)
}
