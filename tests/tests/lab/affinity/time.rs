//! Letting time pass: a Service's time-out for those who connect, and for those who do not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use limpet_lab::wait;

/// The kernel's clock is read a little coarsely.
const MARGIN: Duration = Duration::from_millis(100);
/// How often something is done while time passes.
const PAUSE: Duration = Duration::from_millis(400);

/// After this the time of everybody is over who has not connected since: affinity lasts so many whole seconds, and
/// at most one more.
fn lifetime(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds) + 1) + MARGIN
}

/// Lets a time-out pass, counted from now.
pub(super) fn let_time_out_pass(seconds: u32) {
    wait::let_pass(lifetime(seconds));
}

/// The same, and does something all the while, a few times a second.
pub(super) fn while_time_out_passes(seconds: u32, mut act: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < lifetime(seconds) {
        act()?;
        wait::let_pass(PAUSE.min(lifetime(seconds).saturating_sub(start.elapsed())));
    }
    Ok(())
}

/// Does something once a second, so many times.
pub(super) fn each_second(times: u32, mut act: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    (1..=times).try_for_each(|second| {
        wait::let_pass(Duration::from_secs(second.into()).saturating_sub(start.elapsed()));
        act()
    })
}

/// Does `work` while `ask` is done again and again beside it; fails when either does. After `work`, `ask` is done once
/// more.
pub(super) fn meanwhile<T>(mut ask: impl FnMut() -> Result<()> + Send, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            loop {
                let last = over.load(Ordering::Relaxed);
                ask()?;
                if last {
                    return Ok(());
                }
            }
        });
        let outcome = {
            // Also when the work panics, or asking would go on for ever.
            let _stop = SetAtEnd(&over);
            work()
        };
        let asked: Result<()> = asking.join().map_err(|_| anyhow!("asking panicked"))?;
        asked.and(outcome)
    })
}

struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
