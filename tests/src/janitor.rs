//! The process that takes a lab down when its owner is gone, whatever ended the owner.
//!
//! The janitor reads a pipe whose only writing end the owner holds. A panic, Ctrl-C, SIGKILL and
//! an ordinary drop all close it, and each leads to the same take-down: there is one way out of
//! every lab, and each run of any test goes it.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::binaries;
use crate::record;

/// The byte that tells the janitor to go and leave everything as it is.
const KEEP: u8 = b'k';
/// What the janitor has to complain about, beside the record.
const LOG: &str = "janitor.log";

/// The owner's side.
#[derive(Debug)]
pub(crate) struct Janitor {
    child: Child,
    pipe: ChildStdin,
}

impl Janitor {
    /// Starts a janitor for the lab with this record.
    pub(crate) fn start(record: &Path) -> Result<Self> {
        let log = record.with_file_name(LOG);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let mut child = Command::new(binaries::limpet_lab()?)
            .arg("janitor")
            .arg("--record")
            .arg(record)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // A group of its own, or Ctrl-C would end it together with the owner.
            .process_group(0)
            .spawn()
            .context("cannot start the lab's janitor")?;
        let pipe = child.stdin.take().context("the janitor has no input")?;
        Ok(Self { child, pipe })
    }

    /// Sends the janitor away; the lab stays until it is taken down by its record.
    pub(crate) fn dismiss(mut self) -> Result<()> {
        self.pipe.write_all(&[KEEP]).context("cannot tell the janitor to keep the lab")?;
        self.wait()
    }

    /// Lets the janitor take the lab down and waits until that is done.
    pub(crate) fn tear_down(self, record: &Path) -> Result<()> {
        self.wait()?;
        if record::is_gone(record) {
            return Ok(());
        }
        let complaint = fs::read_to_string(record.with_file_name(LOG)).unwrap_or_default();
        // It may have been killed itself; what it left is ended here, and what cannot be is said.
        record::tear_down(record).with_context(|| format!("the janitor said: {complaint:?}"))
    }

    fn wait(self) -> Result<()> {
        let Self { mut child, pipe } = self;
        drop(pipe);
        child.wait().context("cannot wait for the janitor")?;
        Ok(())
    }
}

/// The janitor's side: waits for the owner's last word or its end, then takes the lab down.
pub fn run(record: &Path) -> Result<()> {
    let mut word = Vec::new();
    io::stdin().read_to_end(&mut word).context("cannot read the owner's word")?;
    match word.as_slice() {
        [] => record::tear_down(record),
        [KEEP] => Ok(()),
        other => bail!("the owner said {other:?}, which means nothing"),
    }
}
