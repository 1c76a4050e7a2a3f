//! Runs a program with a limit on its time and on what it says.

use std::{
    ffi::OsString,
    io::{self, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// Most bytes that are read from a program: a hundred times what a full table of clients has.
const MAX_BYTES: u64 = 256 << 20;
/// Pause between two looks at whether a program has ended that says nothing more.
const PAUSE: Duration = Duration::from_millis(10);

/// What a program said.
#[derive(Debug)]
pub(super) struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// On its standard output.
    pub stdout: String,
    /// On its standard error.
    pub stderr: String,
}

/// Why there is nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It could not be started.
    #[error("cannot run {program}: {source}")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It did not end in time.
    #[error("no answer within {seconds}s (--timeout)")]
    Time {
        /// How long it had.
        seconds: u64,
    },
    /// It said more than is read.
    #[error("answered with more than {MAX_BYTES} bytes")]
    Length,
    /// It cannot be read or waited for.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// Runs the program until it ends, with nothing on its standard input; ends it when its time is over.
pub(super) fn run(program: &str, arguments: &[OsString], timeout: Duration) -> Result<Output, Failure> {
    let deadline = Instant::now() + timeout;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = |source| Failure::Start { program: program.to_owned(), source };
    let mut running = Running { child: command.spawn().map_err(start)?, has_ended: false };
    let (stdout, stderr) = (reader(running.child.stdout.take()), reader(running.child.stderr.take()));
    let late = || Failure::Time { seconds: timeout.as_secs() };
    let stdout = received(&stdout, deadline).ok_or_else(late)??;
    let stderr = received(&stderr, deadline).ok_or_else(late)??;
    let status = running.ended_until(deadline)?.ok_or_else(late)?;
    Ok(Output { status, stdout: text(&stdout)?, stderr: text(&stderr)? })
}

/// A program that is ended when nobody waits for it any more.
struct Running {
    child: Child,
    has_ended: bool,
}

impl Running {
    /// How it ended; none when it has not.
    fn ended_until(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.has_ended = true;
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended {
            // It may have ended just now; then there is nothing to end.
            let _ended = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}

/// Reads in a thread of its own, which nobody waits for: somebody else may hold the other end when the program is gone.
fn reader(stream: Option<impl Read + Send + 'static>) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stream.map_or(Ok(0), |stream| stream.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        // Nobody listens when the time was over.
        let _unheard = sender.send(read.map(|_| bytes));
    });
    receiver
}

fn received(reader: &Receiver<io::Result<Vec<u8>>>, deadline: Instant) -> Option<io::Result<Vec<u8>>> {
    match reader.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(read) => Some(read),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(Err(io::Error::other("the thread that reads is gone"))),
    }
}

fn text(bytes: &[u8]) -> Result<String, Failure> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Failure::Length);
    }
    Ok(String::from_utf8_lossy(bytes).into_owned())
}
