//! Starting a process so that it is on record before it does anything.
//!
//! A pid is only known when the process exists. So what is started is this package's own program,
//! which waits for one byte on its standard input before it becomes the wanted one (same pid, same
//! start time). The owner writes the record in between. If the owner dies there, the waiting
//! process reads the end of its input and ends as well.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nix::unistd::setsid;

use crate::binaries;
use crate::net::namespace::Namespace;
use crate::process::Identity;
use crate::record::{Made, Record};

/// The byte that lets a waiting process go on.
const GO: u8 = b'g';

/// What to start and where.
pub(crate) struct Launch<'a> {
    /// The network namespace that it lives in.
    pub(crate) namespace: &'a Namespace,
    /// What to call it in messages.
    pub(crate) what: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Variables of its environment beside those of this process.
    pub(crate) variables: &'a [(String, String)],
    /// Standard error goes to the end of this file.
    pub(crate) log: &'a Path,
    /// Standard output: to the log, or to the owner, who then must read it.
    pub(crate) output: Output,
}

/// Where a launched process' standard output goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Log,
    Owner,
}

/// A process that was launched and is on record.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) identity: Identity,
}

impl Running {
    /// Asks it to end, kills it if it does not, and reaps it.
    pub(crate) fn end(mut self) -> Result<()> {
        self.identity.end()?;
        self.reap()
    }

    /// Kills it and reaps it.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.identity.kill()?;
        self.reap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.identity.signal(signal)
    }

    fn reap(&mut self) -> Result<()> {
        self.child.wait().context("cannot reap a process")?;
        Ok(())
    }
}

/// Starts a process, records it, and lets it go.
pub(crate) fn launch(record: &Record, launch: Launch<'_>) -> Result<Running> {
    let Launch { namespace, what, program, arguments, variables, log, output } = launch;
    let log = open_log(log)?;
    let stdout = match output {
        Output::Log => Stdio::from(log.try_clone().context("cannot share the log file")?),
        Output::Owner => Stdio::piped(),
    };
    let mut command = Command::new(binaries::limpet_lab()?);
    command
        .arg("launch")
        .arg("--")
        .arg(program)
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(log);
    // A child is born into the namespace of the thread that makes it.
    let mut child = namespace
        .run(|| command.spawn().context("cannot start a process"))
        .with_context(|| format!("cannot start {what}"))?;
    let identity = Identity::of(child.id())?;
    record.add(&Made::Process { identity, what: what.clone() })?;
    let mut stdin = child.stdin.take().context("a launched process has no input")?;
    stdin.write_all(&[GO]).with_context(|| format!("{what} ended before it began"))?;
    Ok(Running { child, identity })
}

/// The other side: waits for the owner's word, then becomes `program`. Only returns on failure,
/// or when the owner went away, which is no failure.
pub fn wait_and_become(program: &Path, arguments: &[OsString]) -> Result<()> {
    // A session of its own: neither Ctrl-C nor a closed terminal is meant for it.
    setsid().context("cannot start a session")?;
    let mut word = [0; 1];
    let read = io::stdin().read(&mut word).context("cannot read the owner's word")?;
    if read == 0 {
        return Ok(());
    }
    let error = Command::new(program).args(arguments).stdin(Stdio::null()).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open log file {}", path.display()))
}
