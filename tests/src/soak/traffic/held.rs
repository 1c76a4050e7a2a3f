//! Connections that stay open while data move on them, and are replaced by new ones after a while.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::history::{Moment, Window};
use super::super::judge::Failure;
use super::super::tally::Event;
use super::{HELD_PATIENCE, Hand, Load, PATIENCE, Way, failure};
use crate::client::{self, Connection};
use crate::world::Protocol;

/// How long a connection is held at most, in seconds; some are held much shorter.
const LONGEST_SECONDS: usize = 60;
/// How much data goes up or down at a time.
const PIECE: u64 = 8 << 10;

struct Held {
    way: Way,
    connection: Connection,
    pod: String,
    /// When its last exchange that went well began.
    fine: Moment,
    until: Moment,
}

/// Holds connections until the soak is over.
pub(super) fn run(mut hand: Hand<'_>, load: Load) -> Result<()> {
    let mut held: Vec<Held> = Vec::new();
    while !hand.scene.is_over() {
        let begun = Instant::now();
        if held.len() < load.held_each.into() {
            held.extend(open(&mut hand));
        }
        let mut kept = Vec::new();
        for one in held {
            if hand.scene.is_over() {
                return Ok(());
            }
            kept.extend(exchange(&mut hand, one));
        }
        held = kept;
        hand.pause(begun, load.held_pause);
    }
    Ok(())
}

/// A new connection; none when it was not answered, which is told as that of any new connection.
fn open(hand: &mut Hand<'_>) -> Option<Held> {
    let way = hand.scene.any_way(&mut hand.dice, |_| true)?;
    let from = hand.source.next(way.family, way.node);
    let begun = hand.scene.now();
    let opened =
        way.to(Protocol::Tcp).and_then(|to| client::connect_within(to, from, PATIENCE)).and_then(|mut open| {
            let answer = open.who()?;
            open.wait_at_most(HELD_PATIENCE)?;
            Ok((open, answer))
        });
    let opened = opened.map_err(|error| failure::of(&error)).and_then(|(open, answer)| {
        failure::check_client(&answer, from)?;
        Ok((open, answer.pod))
    });
    let window = Window { from: begun, to: hand.scene.now() };
    let (outcome, opened) = match opened {
        Ok((open, pod)) => (Ok(pod.clone()), Some((open, pod))),
        Err(failure) => (Err(failure), None),
    };
    let asked = way.asked(hand.machine, window);
    hand.tell(Event::Asked { asked, protocol: Protocol::Tcp, loyal: false, outcome });
    let seconds = u64::try_from(hand.dice.below(LONGEST_SECONDS)).unwrap_or_default();
    let until = window.to + Duration::from_secs(1 + seconds);
    opened.map(|(connection, pod)| Held { way, connection, pod, fine: begun, until })
}

/// Moves data on a connection; gives it back while it is to be held.
fn exchange(hand: &mut Hand<'_>, mut held: Held) -> Option<Held> {
    let begun = hand.scene.now();
    let seed = u64::try_from(hand.dice.below(1 << 20)).unwrap_or_default();
    let exchanged = match hand.dice.below(4) {
        0 => held.connection.upload(PIECE, seed),
        1 => held.connection.download(PIECE, seed),
        _ => held.connection.who().and_then(|answer| {
            ensure!(answer.pod == held.pod, "a connection to Pod {} is answered by {}", held.pod, answer.pod);
            Ok(())
        }),
    };
    let window = Window { from: held.fine, to: hand.scene.now() };
    let outcome: Result<(), Failure> = exchanged.map_err(|error| failure::of(&error));
    let is_fine = outcome.is_ok();
    let asked = held.way.asked(hand.machine, window);
    hand.tell(Event::Exchanged { asked, pod: held.pod.clone(), outcome });
    held.fine = begun;
    (is_fine && window.to < held.until).then_some(held)
}
