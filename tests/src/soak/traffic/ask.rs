//! New connections with a request each, and datagrams: any Service, by any way.

use std::time::Instant;

use anyhow::Result;

use super::{Hand, Load};
use crate::world::Protocol;

/// Asks until the soak is over.
pub(super) fn run(mut hand: Hand<'_>, load: Load) -> Result<()> {
    while !hand.scene.is_over() {
        let begun = Instant::now();
        let Some(way) = hand.scene.any_way(&mut hand.dice, |_| true) else { return Ok(()) };
        let protocol = if hand.dice.happens(50) { Protocol::Tcp } else { Protocol::Udp };
        hand.request(&way, protocol, false);
        hand.pause(begun, load.asker_pause);
    }
    Ok(())
}
