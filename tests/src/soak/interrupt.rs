//! Ctrl-C: the first one ends the soak early, with its report, the second one ends everything.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What is true after the first Ctrl-C. To be called before there are other threads: only those that begin later leave
/// the signal to the one that waits for it.
pub(super) fn on_first() -> Result<&'static AtomicBool> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.thread_block().context("cannot hold signals back")?;
    let wait = move || {
        if signals.wait().is_ok() {
            eprintln!("interrupted: the soak ends, its report follows; once more to end at once");
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
        if signals.wait().is_ok() {
            // The lab's janitor takes the lab down.
            process::exit(130);
        }
    };
    thread::Builder::new().name("interrupt".to_owned()).spawn(wait).context("cannot start a thread")?;
    Ok(&INTERRUPTED)
}
