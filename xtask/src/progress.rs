//! One line on the terminal for something that takes long: what is being done, and for how long.
//!
//! On a terminal the line is redrawn every second. Elsewhere (a log, a CI job) there is one line at the start
//! and one at the end.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often the line is redrawn.
const REDRAW: Duration = Duration::from_secs(1);
/// Widest line drawn, so that it never wraps: redrawing only clears one.
const WIDTH: usize = 79;

/// Something under way.
pub(crate) struct Progress {
    doing: String,
    started: Instant,
    drawn: Option<Instant>,
    terminal: bool,
}

impl Progress {
    /// Says that `doing`, as in "building the BPF object", starts now.
    pub(crate) fn start(doing: &str) -> Self {
        let terminal = io::stderr().is_terminal();
        let mut progress = Self { doing: doing.to_owned(), started: Instant::now(), drawn: None, terminal };
        if terminal {
            progress.tick(String::new);
        } else {
            eprintln!("start  {doing}");
        }
        progress
    }

    /// Redraws the line when it is time to; `detail` is asked only then for what is going on right now.
    pub(crate) fn tick(&mut self, detail: impl FnOnce() -> String) {
        let due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
        if self.terminal && due {
            let line = line(&self.doing, self.started.elapsed(), &detail());
            // A terminal that is gone must not end the work.
            let _ = write!(io::stderr(), "\r\x1b[K{line}").and_then(|()| io::stderr().flush());
            self.drawn = Some(Instant::now());
        }
    }

    /// Says that it is done.
    pub(crate) fn done(self) {
        self.end("done");
    }

    /// Says that it failed; the error that is returned says why.
    pub(crate) fn failed(self) {
        self.end("FAILED");
    }

    fn end(self, how: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        eprintln!("{clear}{how:<6} {} ({})", self.doing, elapsed(self.started.elapsed()));
    }
}

/// Tells the user one thing, beside the progress lines.
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// The line to draw, cut to `WIDTH`.
fn line(doing: &str, since: Duration, detail: &str) -> String {
    let detail = detail.trim();
    let separator = if detail.is_empty() { "" } else { "  " };
    let whole = format!("...    {doing} ({}){separator}{detail}", elapsed(since));
    whole.chars().filter(|c| !c.is_control()).take(WIDTH).collect()
}

/// `7 s`, `2 min 05 s`.
fn elapsed(since: Duration) -> String {
    let seconds = since.as_secs();
    if seconds < 60 { format!("{seconds} s") } else { format!("{} min {:02} s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{WIDTH, elapsed, line};

    #[test]
    fn elapsed_time_reads_well() {
        assert_eq!(elapsed(Duration::from_millis(900)), "0 s");
        assert_eq!(elapsed(Duration::from_secs(59)), "59 s");
        assert_eq!(elapsed(Duration::from_secs(125)), "2 min 05 s");
    }

    #[test]
    fn a_line_never_wraps_and_carries_no_escapes() {
        let drawn = line("building", Duration::from_secs(3), &"\x1b[1mCompiling é ".repeat(40));
        assert_eq!(drawn.chars().count(), WIDTH);
        assert!(drawn.starts_with("...    building (3 s)  "), "{drawn}");
        assert!(!drawn.contains('\x1b'));
    }
}
