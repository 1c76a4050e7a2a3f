//! `limpet breaks --watch`: breaks as they happen. The agent is asked each second; it may be restarted meanwhile.

use std::{
    io::{self, Write},
    path::Path,
    time::Instant,
};

use anyhow::{Context, Result};

use super::{
    super::{
        Said,
        client::{self, Error},
        output::{Row, one_line},
    },
    Wanted,
};
use crate::{
    api::{AgentBreaks, Break},
    cli::{Format, OutputOptions},
};

/// Pause between two questions.
const PAUSE_MILLISECONDS: i32 = 1000;
/// Spaces between two columns.
const GAP: usize = 2;

/// Prints what is wanted until nobody reads it: what happens from now on, and what happened at most `since_seconds`
/// before.
///
/// # Errors
/// When the first answer says that this will never work, or the output cannot be written.
pub(super) fn run(socket: &Path, wanted: &Wanted, since_seconds: Option<u64>, options: &OutputOptions) -> Result<Said> {
    let started = Instant::now();
    let mut watcher = Watcher::default();
    let mut printer = Printer::new(options);
    loop {
        let answer = match watcher.last_seen {
            Some(last) => client::breaks(socket, last, None),
            // As long as there was no agent: what the first one may have read of this time.
            None => {
                let since = since_seconds.unwrap_or(0).saturating_add(started.elapsed().as_secs());
                client::breaks(socket, 0, Some(since))
            }
        };
        let (events, notes) = watcher.take(answer)?;
        for note in notes {
            // Without a standard error there is nobody to tell.
            let _untold = writeln!(io::stderr(), "limpet: {note}");
        }
        let text = printer.text(events.iter().filter(|event| wanted.covers_break(event)))?;
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Said::default()),
            written => written.context("cannot write the output")?,
        }
        drop(stdout);
        if !pause_while_read() {
            return Ok(Said::default());
        }
    }
}

/// Waits for the next question. False, and at once, when standard output is read no more: while there is nothing to
/// print, no write would notice.
fn pause_while_read() -> bool {
    let mut stdout = libc::pollfd { fd: libc::STDOUT_FILENO, events: 0, revents: 0 };
    // SAFETY: `stdout` is the one pollfd that the call is told of, and outlives it.
    let outcome = unsafe { libc::poll(&raw mut stdout, 1, PAUSE_MILLISECONDS) };
    // Asked for nothing, the kernel tells errors and hang-ups alone. A signal only makes the pause shorter.
    outcome <= 0
}

/// What has been seen of the agent.
#[derive(Debug, Default)]
struct Watcher {
    /// The greatest number of a break; none before the first answer.
    last_seen: Option<u64>,
    is_down: bool,
}

impl Watcher {
    /// The breaks that an answer brings, and what should be said beside them.
    ///
    /// # Errors
    /// When nothing was ever answered, and waiting does not help.
    fn take(&mut self, answer: Result<AgentBreaks, Error>) -> Result<(Vec<Break>, Vec<String>), Error> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error @ (Error::Answer { .. } | Error::Denied { .. })) if self.last_seen.is_none() => {
                return Err(error);
            }
            Err(error) => {
                let is_news = !std::mem::replace(&mut self.is_down, true);
                let note = is_news.then(|| format!("{}; waiting for it", error.sentence()));
                return Ok((Vec::new(), note.into_iter().collect()));
            }
        };
        let mut notes = Vec::new();
        let was_down = std::mem::replace(&mut self.is_down, false);
        if let Some(last) = self.last_seen {
            if last + 1 < answer.first_sequence {
                notes.push(
                    "the agent was restarted; what it had read and not told yet is in the totals alone".to_owned(),
                );
            } else if was_down {
                notes.push("the agent answers again".to_owned());
            }
            let expected = answer.first_sequence.max(last + 1);
            let oldest = answer.events.first().map_or(answer.next_sequence, |event| event.sequence);
            if oldest > expected {
                notes.push(format!("{} breaks were too many to be told; they are in the totals", oldest - expected));
            }
        } else if was_down {
            notes.push("the agent answers".to_owned());
        }
        self.last_seen = Some(answer.next_sequence.saturating_sub(1));
        Ok((answer.events.into_iter().map(|event| event.told).collect(), notes))
    }
}

/// Prints breaks line by line, as wide as those before them were.
struct Printer {
    is_json: bool,
    /// Whether the header is still to come.
    needs_header: bool,
    widths: Vec<usize>,
}

impl Printer {
    fn new(options: &OutputOptions) -> Self {
        let is_json = options.format == Format::Json;
        Self { is_json, needs_header: !is_json && !options.no_headers, widths: Vec::new() }
    }

    /// A line for each break. The header stands above the first of them, which says how wide the columns are.
    fn text<'a>(&mut self, events: impl Iterator<Item = &'a Break>) -> Result<String> {
        if self.is_json {
            let line = |event| Ok(serde_json::to_string(event).context("cannot write JSON")? + "\n");
            return events.map(line).collect();
        }
        let rows: Vec<Vec<String>> = events.map(|event| event.cells(false)).collect();
        if rows.is_empty() {
            return Ok(String::new());
        }
        let header = self.needs_header.then(|| Break::header(false).into_iter().map(str::to_owned).collect());
        self.needs_header = false;
        let rows: Vec<Vec<String>> = header
            .into_iter()
            .chain(rows)
            .map(|row: Vec<String>| row.iter().map(|cell| one_line(cell)).collect())
            .collect();
        for row in &rows {
            self.widen(row);
        }
        Ok(rows.iter().map(|row| self.line(row)).collect())
    }

    fn widen(&mut self, row: &[String]) {
        self.widths.resize(self.widths.len().max(row.len()), 0);
        for (width, cell) in self.widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + GAP);
        }
    }

    fn line(&self, row: &[String]) -> String {
        let cells = row.iter().zip(&self.widths);
        let line: String = cells.map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
        line.trim_end().to_owned() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::{super::events::sample::told, *};
    use crate::api::AgentBreak;

    fn dead() -> Result<AgentBreaks, Error> {
        Err(Error::NoSocket { path: "/s".into() })
    }

    fn answer(first_sequence: u64, sequences: std::ops::Range<u64>) -> Result<AgentBreaks, Error> {
        let next_sequence = sequences.end;
        let events = sequences.map(|sequence| AgentBreak { sequence, told: told("198.51.100.7") }).collect();
        Ok(AgentBreaks { node: "n1".to_owned(), first_sequence, next_sequence, events })
    }

    /// Each answer, how many breaks it brings, how the one note begins, and the number to ask on from.
    fn check(
        answers: impl IntoIterator<Item = (Result<AgentBreaks, Error>, usize, Option<&'static str>, Option<u64>)>,
    ) {
        let mut watcher = Watcher::default();
        for (round, (answer, events, note, last_seen)) in answers.into_iter().enumerate() {
            let (told, notes) = watcher.take(answer).unwrap();
            assert_eq!(told.len(), events, "round {round}");
            assert_eq!(notes.len(), usize::from(note.is_some()), "round {round}: {notes:?}");
            assert!(note.is_none_or(|note| notes[0].starts_with(note)), "round {round}: {notes:?}");
            assert_eq!(watcher.last_seen, last_seen, "round {round}");
        }
    }

    #[test]
    fn an_agent_that_is_restarted_is_told_once_and_gone_on_with() {
        check([
            (answer(100, 105..105), 0, None, Some(104)),
            (answer(100, 105..107), 2, None, Some(106)),
            (dead(), 0, Some("agent: not running (no socket at /s); waiting for it"), Some(106)),
            (dead(), 0, None, Some(106)),
            (answer(9000, 9000..9003), 3, Some("the agent was restarted"), Some(9002)),
            (answer(9000, 9003..9003), 0, None, Some(9002)),
            (dead(), 0, Some("agent: not running"), Some(9002)),
            (answer(9000, 9003..9004), 1, Some("the agent answers again"), Some(9003)),
        ]);
    }

    #[test]
    fn an_agent_may_come_later() {
        check([
            (dead(), 0, Some("agent: not running"), None),
            (dead(), 0, None, None),
            (answer(100, 100..102), 2, Some("the agent answers"), Some(101)),
        ]);
    }

    #[test]
    fn what_fell_out_meanwhile_is_counted() {
        check([
            (answer(100, 100..102), 2, None, Some(101)),
            (answer(100, 105..110), 5, Some("3 breaks were too many"), Some(109)),
            (answer(100, 120..120), 0, Some("10 breaks were too many"), Some(119)),
        ]);
    }

    #[test]
    fn a_stranger_is_not_waited_for() {
        let stranger = || Err(Error::Answer { path: "/s".into(), message: "404".to_owned() });
        assert!(Watcher::default().take(stranger()).is_err());
        check([(answer(100, 100..100), 0, None, Some(99)), (stranger(), 0, Some("agent: cannot be asked"), Some(99))]);
    }

    #[test]
    fn columns_grow_and_never_shrink() {
        let mut printer = Printer::new(&OutputOptions::default());
        assert_eq!(printer.text([].into_iter()).unwrap(), "");
        let (short, long) = (told("192.0.2.1"), told("2001:db8:1:2::/64"));
        let expected = "\
AGE  SERVICE               CLIENT     REASON        FROM           TO             HELD
12s  default/web:http/TCP  192.0.2.1  backend-gone  default/web-1  default/web-0  5m40s
";
        assert_eq!(printer.text([&short].into_iter()).unwrap(), expected);
        let expected = "\
12s  default/web:http/TCP  192.0.2.1          backend-gone  default/web-1  default/web-0  5m40s
12s  default/web:http/TCP  2001:db8:1:2::/64  backend-gone  default/web-1  default/web-0  5m40s
";
        assert_eq!(printer.text([&short, &long].into_iter()).unwrap(), expected);
    }

    #[test]
    fn json_is_an_object_a_line() {
        let mut printer = Printer::new(&OutputOptions { format: Format::Json, no_headers: false, cells: false });
        let events = [told("192.0.2.1"), told("192.0.2.2")];
        let text = printer.text(events.iter()).unwrap();
        let clients: Vec<String> =
            text.lines().map(|line| serde_json::from_str::<Break>(line).unwrap().client).collect();
        assert_eq!(clients, ["192.0.2.1", "192.0.2.2"]);
    }
}
