//! Long commands: their output goes to a log file, a progress line to the terminal.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use crate::failure::Failure;
use crate::progress::Progress;
use crate::tool;

/// How often a running command is looked at.
const POLL: Duration = Duration::from_millis(50);
/// How many lines a failure shows.
const SHOWN_LINES: usize = 40;
/// How much of a log's end is read to find them.
const SHOWN_BYTES: u64 = 1024 * 1024;
/// How much of a log's end is read for its last line.
const TAIL_BYTES: u64 = 4 * 1024;

/// Runs `command` to its end, its output going to `log`, which starts with the command line.
///
/// Fails when the command cannot be started, or with its last lines when it does not exit 0.
pub(crate) fn run(doing: &str, log: &Path, command: &mut Command) -> anyhow::Result<()> {
    let mut file = create(log)?;
    let line = tool::line(command);
    writeln!(file, "$ {line}").with_context(|| format!("cannot write to {}", log.display()))?;
    let errors = file.try_clone().context("cannot share the log file with a command")?;
    command.stdin(Stdio::null()).stdout(file).stderr(errors);

    let mut child = command.spawn().with_context(|| format!("{doing}: cannot start: {line}"))?;
    let mut progress = Progress::start(doing);
    let status = wait(&mut child, log, &mut progress).with_context(|| format!("{doing}: cannot wait for: {line}"))?;
    if status.success() {
        progress.done();
        return Ok(());
    }
    progress.failed();
    let output = Some((log.to_owned(), what_matters(&end_of(log, SHOWN_BYTES))));
    Err(Failure::Command { doing: doing.to_owned(), line, status: status.to_string(), output }.into())
}

/// Makes a log file, and the directory that it is in.
pub(crate) fn create(log: &Path) -> anyhow::Result<File> {
    if let Some(directory) = log.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make the directory {}", directory.display()))?;
    }
    File::create(log).with_context(|| format!("cannot write the log file {}", log.display()))
}

fn wait(child: &mut Child, log: &Path, progress: &mut Progress) -> std::io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        progress.tick(|| last_lines(&end_of(log, TAIL_BYTES), 1));
        thread::sleep(POLL);
    }
}

/// The last bytes of a file as text; empty when it cannot be read, since it only adds to a message.
fn end_of(path: &Path, bytes: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    read().unwrap_or_default()
}

/// The lines of a failed command that say why: from the first error on, else the last ones.
///
/// Cargo goes on with other crates after an error, whose warnings would otherwise be all that one sees.
fn what_matters(log: &str) -> String {
    let from_error: Vec<&str> = log.lines().skip_while(|line| !line.starts_with("error")).take(SHOWN_LINES).collect();
    if from_error.is_empty() { last_lines(log, SHOWN_LINES) } else { from_error.join("\n") }
}

/// The last `count` lines of a text, blank ones at the end left out.
fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::{last_lines, what_matters};

    #[test]
    fn the_tail_is_the_last_lines() {
        let cases = [("", 2, ""), ("a\n", 2, "a"), ("a\nb\nc\n\n", 2, "b\nc"), ("a\nb", 1, "b")];
        for (text, count, expected) in cases {
            assert_eq!(last_lines(text, count), expected, "{count} of {text:?}");
        }
    }

    #[test]
    fn warnings_after_an_error_do_not_hide_it() {
        let log = format!("warning: a\nerror[E0001]: b\n --> c\n{}", "warning: d\n".repeat(1000));
        assert!(what_matters(&log).starts_with("error[E0001]: b\n --> c\nwarning: d\n"));
        assert_eq!(what_matters("Err:1 x\nE: y\n"), "Err:1 x\nE: y");
    }
}
