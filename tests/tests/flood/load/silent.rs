//! Connections on which nobody says anything for a while, and then the Pod does.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::is_over;
use crate::support::Held;

/// How long nobody says anything.
const SILENCE: Duration = Duration::from_secs(8);

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Silent {
    /// How often a Pod spoke after the silence, and was heard.
    pub(crate) heard: usize,
    /// Why connections broke, one line each.
    pub(crate) broken: Vec<String>,
}

/// Asks on all connections to be told after the silence, and listens at most `patience` longer, until it is over. A connection
/// that broke is left out from then on.
pub(super) fn listen(held: &mut [Held], patience: Duration, over: &AtomicBool) -> Silent {
    let mut silent = Silent::default();
    let mut live: Vec<&mut Held> = held.iter_mut().collect();
    while !live.is_empty() && !is_over(over) {
        silent.keep_those(&mut live, |held| held.connection.ask_for_later(SILENCE));
        let deadline = Instant::now() + SILENCE + patience;
        silent.keep_those(&mut live, |held| hear(held, deadline));
        silent.heard += live.len();
    }
    silent
}

impl Silent {
    fn keep_those(&mut self, live: &mut Vec<&mut Held>, mut work: impl FnMut(&mut Held) -> Result<()>) {
        live.retain_mut(|held| match work(held) {
            Ok(()) => true,
            Err(error) => {
                self.broken.push(format!("{error:#}"));
                false
            }
        });
    }
}

fn hear(held: &mut Held, deadline: Instant) -> Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    // No time at all would be for ever, and an answer that is there already takes none.
    held.connection.wait_at_most(left.max(Duration::from_millis(1)))?;
    let pod = held.connection.answer()?.pod;
    ensure!(pod == held.pod, "Pod {pod} speaks on a connection to {}", held.pod);
    Ok(())
}
