//! Waiting for a condition with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long to pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks until the answer is `Ok(Some(..))` and returns what is in it.
///
/// Fails when `limit` has passed, with what was waited for and why the last look did not do:
/// a look that fails is a reason to look again, since most things that are waited for begin with
/// refused connections.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let reason = match look() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => "not yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        if start.elapsed() >= limit {
            bail!("waited {:.1} s for {what}: {reason}", start.elapsed().as_secs_f64());
        }
        thread::sleep(PAUSE);
    }
}

/// [`until`] for a condition that carries nothing.
pub fn until_true(what: &str, limit: Duration, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, limit, || Ok(look()?.then_some(())))
}

/// Lets time pass, where time itself is what something needs: a time-out to run out, a router to notice.
pub fn let_pass(time: Duration) {
    thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_is_kept() {
        let error = until_true("a miracle", Duration::ZERO, || bail!("no sign")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("a miracle") && text.contains("no sign"), "{text}");
    }
}
