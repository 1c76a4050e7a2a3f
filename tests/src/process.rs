//! Processes, named by pid and start time so that a reused pid is never taken for the old one.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// How long a process has to end after it was asked to.
const POLITE: Duration = Duration::from_secs(3);
/// How long the kernel has to end a process that was killed.
const FORCED: Duration = Duration::from_secs(5);
/// How long to pause between two looks at a process.
const PAUSE: Duration = Duration::from_millis(2);

/// One process for as long as it lives, and never another with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pid: i32,
    /// In clock ticks since the machine started, field 22 of `/proc/PID/stat`.
    start: u64,
}

impl Identity {
    /// The process that has this pid now.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let pid = i32::try_from(pid).context("a pid is a positive number")?;
        let (start, _) = read_stat(pid).with_context(|| format!("cannot read the start time of process {pid}"))?;
        Ok(Self { pid, start })
    }

    /// Whether it still runs. A zombie does not: only its parent can take that away.
    pub(crate) fn is_alive(self) -> bool {
        read_stat(self.pid).is_some_and(|(start, state)| start == self.start && state != 'Z')
    }

    /// Sends a signal; does nothing when the process has ended.
    pub(crate) fn signal(self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot send {signal} to process {}", self.pid)),
        }
    }

    /// Asks it to end, waits, and kills it when it does not.
    pub(crate) fn end(self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        if self.ended_within(POLITE) {
            return Ok(());
        }
        self.kill()
    }

    /// Kills it and waits until it is gone.
    pub(crate) fn kill(self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        if !self.ended_within(FORCED) {
            bail!("process {} does not end, not even by SIGKILL", self.pid);
        }
        Ok(())
    }

    fn ended_within(self, limit: Duration) -> bool {
        let start = Instant::now();
        while self.is_alive() {
            if start.elapsed() >= limit {
                return false;
            }
            thread::sleep(PAUSE);
        }
        true
    }
}

/// What a command printed and how it ended.
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command and kills it, with an error, when it takes longer than `limit`.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<Outcome> {
    let what = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Of its own group, so that Ctrl-C reaches the lab's owner and not the take-down.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {what}"))?;
    let stdout = read_aside(child.stdout.take());
    let stderr = read_aside(child.stderr.take());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for a process")? {
            break status;
        }
        if start.elapsed() >= limit {
            child.kill().with_context(|| format!("cannot kill {what}"))?;
            child.wait().with_context(|| format!("cannot wait for {what}"))?;
            bail!("{what} did not end within {:.0} s", limit.as_secs_f64());
        }
        thread::sleep(PAUSE);
    };
    Ok(Outcome { status, stdout: stdout.join().unwrap_or_default(), stderr: stderr.join().unwrap_or_default() })
}

/// Reads a pipe to its end on a thread, so that a full pipe never blocks the process.
fn read_aside(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before a failure is still worth showing.
            let _partial = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Start time and state of a process, or nothing when there is none.
fn read_stat(pid: i32) -> Option<(u64, char)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command's name stands in brackets and may hold anything, so fields are counted from the
/// last bracket: state is the first after it, the start time the twentieth.
fn parse_stat(text: &str) -> Option<(u64, char)> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((start, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse_the_fields() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(parse_stat(line), Some((4711, 'S')));
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let own = Identity::of(std::process::id()).unwrap();
        let other = Identity { start: own.start + 1, ..own };
        assert!(own.is_alive());
        assert!(!other.is_alive());
        other.end().unwrap();
    }

    #[test]
    fn a_command_that_does_not_end_is_killed() {
        let outcome = run_within(Command::new("sleep").arg("60"), Duration::from_millis(50));
        assert!(outcome.is_err());
    }
}
