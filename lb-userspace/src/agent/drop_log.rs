//! Lines about dropped packets, from the programs' log to the agent's: at most [`LINES_PER_SECOND`], and how many more
//! there were.
//!
//! Whoever sends packets to drop must not decide how much the agent writes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::block_in_place,
    time::{MissedTickBehavior, interval},
};
use tracing::warn;

/// Lines that are written in a second; of more, their number alone is.
const LINES_PER_SECOND: u32 = 100;
/// How long lines are counted together.
const SECOND: Duration = Duration::from_secs(1);

/// Forwards the programs' log in a task of its own, as long as the runtime lives.
///
/// # Errors
/// When the programs have no log.
pub(super) fn start(ebpf: &mut Ebpf) -> Result<()> {
    let limited = Limited { second: Arc::new(Mutex::new(Second::starting(Instant::now()))) };
    let logger = EbpfLogger::init_with_logger(ebpf, limited.clone()).context("cannot read the programs' log")?;
    // SAFETY: the logger owns its file descriptor, and neither replaces nor closes it while `AsyncFd` owns the logger.
    let registered = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = registered.map_err(|error| anyhow::anyhow!("cannot wait for the programs' log: {error}"))?;
    let mut seconds = interval(SECOND);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                readable = logger.readable_mut() => {
                    let Ok(mut guard) = readable else { break };
                    // While more is dropped than can be read, this does not end.
                    block_in_place(|| guard.get_inner_mut().flush());
                    guard.clear_ready();
                }
                // The last lines that were left out, when no other follows them.
                _ = seconds.tick() => {
                    let left_out = limited.second().roll(Instant::now());
                    tell(left_out);
                }
            }
        }
    });
    Ok(())
}

/// The process's log, with a limit.
#[derive(Clone)]
struct Limited {
    second: Arc<Mutex<Second>>,
}

impl Limited {
    fn second(&self) -> MutexGuard<'_, Second> {
        self.second.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Limited {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        log::logger().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let (left_out, is_admitted) = {
            let (mut second, now) = (self.second(), Instant::now());
            (second.roll(now), second.admit())
        };
        tell(left_out);
        if is_admitted {
            log::logger().log(record);
        }
    }

    fn flush(&self) {
        log::logger().flush();
    }
}

fn tell(left_out: u64) {
    if left_out > 0 {
        warn!("{left_out} more packets were dropped within a second, without a line of their own");
    }
}

/// What was written, and what was not, since a moment.
#[derive(Debug, Eq, PartialEq)]
struct Second {
    since: Instant,
    written: u32,
    left_out: u64,
}

impl Second {
    fn starting(now: Instant) -> Self {
        Self { since: now, written: 0, left_out: 0 }
    }

    /// Begins a new second when this one is over; returns how many lines were left out in it.
    fn roll(&mut self, now: Instant) -> u64 {
        if now.duration_since(self.since) < SECOND {
            return 0;
        }
        let left_out = self.left_out;
        *self = Self::starting(now);
        left_out
    }

    /// Whether there is room for one more line.
    fn admit(&mut self) -> bool {
        let is_admitted = self.written < LINES_PER_SECOND;
        if is_admitted {
            self.written += 1;
        } else {
            self.left_out += 1;
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_drops_is_a_hundred_lines_a_second_and_a_number() {
        let start = Instant::now();
        let mut second = Second::starting(start);
        let admitted = |second: &mut Second, lines: u32| (0..lines).filter(|_| second.admit()).count();
        assert_eq!(admitted(&mut second, 99), 99);
        assert_eq!(admitted(&mut second, 901), 1);
        assert_eq!(second.roll(start + SECOND / 2), 0, "the second is not over");
        assert_eq!(admitted(&mut second, 1), 0);
        assert_eq!(second.roll(start + SECOND), 901);
        assert_eq!(admitted(&mut second, 1000), 100);
        assert_eq!(second.roll(start + 2 * SECOND), 900);
        assert_eq!(second.roll(start + 3 * SECOND), 0, "told once");
    }
}
