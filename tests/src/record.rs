//! The record of what the lab made, and taking it all away again by that record.
//!
//! One JSON object a line, each written before the thing it names is made. Taking down goes
//! through it backwards; every step does nothing when its thing is not there (any more), so it can
//! be done again after it was interrupted, and by another process.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::net::namespace::Namespace;
use crate::process::{self, Identity};

/// Every lab has a directory here, named by its id.
const LABS: &str = "/run/limpet-lab";
/// The record's name in that directory.
const FILE: &str = "record";
/// Labs that one process can have at a time.
const MAX_LABS: u32 = 0x1000;
/// How long `limpet detach` may take before the pins are removed without it.
const DETACH_LIMIT: Duration = Duration::from_secs(5);

/// A thing that the lab made and must take away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "made")]
pub(crate) enum Made {
    /// A directory with all that is in it.
    Directory { path: PathBuf },
    /// The process that the lab is for. It is not ended, but while it lives the lab is in use.
    Owner { identity: Identity },
    /// A named network namespace, and with it the devices and routes in it.
    Namespace { name: String },
    /// A process that was started for the lab.
    Process { identity: Identity, what: String },
    /// An agent's pinned maps and links.
    Pins { directory: PathBuf, namespace: String, limpet: PathBuf },
}

impl Made {
    fn undo(&self) -> Result<()> {
        match self {
            Self::Directory { path } => remove_directory(path),
            Self::Owner { .. } => Ok(()),
            Self::Namespace { name } => Namespace::named(name).remove(),
            Self::Process { identity, what } => identity.end().with_context(|| format!("cannot end {what}")),
            Self::Pins { directory, namespace, limpet } => remove_pins(directory, &Namespace::named(namespace), limpet),
        }
    }
}

/// An open record.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
}

impl Record {
    /// Starts the record of a new lab, and says its id: short, and no other lab's.
    pub(crate) fn create() -> Result<(String, Self)> {
        let (id, directory) = claim(Path::new(LABS), std::process::id())?;
        let record = Self { path: directory.join(FILE) };
        record.add(&Made::Directory { path: directory })?;
        record.add(&Made::Owner { identity: Identity::of(std::process::id())? })?;
        Ok((id, record))
    }

    /// The record's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The lab's own directory, which the record lies in.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(LABS))
    }

    /// Notes a thing that is about to be made.
    pub(crate) fn add(&self, made: &Made) -> Result<()> {
        let mut line = serde_json::to_string(made).context("cannot write a record")?;
        line.push('\n');
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .with_context(|| format!("cannot open {}", self.path.display()))?;
        // One write of one line: a record never ends in half a line that matters, because what
        // the line names is made afterwards.
        file.write_all(line.as_bytes()).with_context(|| format!("cannot write to {}", self.path.display()))
    }

    /// Makes a directory that the lab takes away again.
    pub(crate) fn make_directory(&self, path: &Path) -> Result<()> {
        self.add(&Made::Directory { path: path.to_owned() })?;
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
    }
}

/// Makes the directory of a lab of this process: the first number that nobody has. That it was made says that the id is
/// the lab's alone, whoever else starts one at the same time.
fn claim(labs: &Path, process: u32) -> Result<(String, PathBuf)> {
    fs::create_dir_all(labs).with_context(|| format!("cannot make {}", labs.display()))?;
    for number in 0..MAX_LABS {
        let id = format!("{process:x}-{number:x}");
        let directory = labs.join(&id);
        match fs::create_dir(&directory) {
            Ok(()) => return Ok((id, directory)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", directory.display())),
        }
    }
    bail!(
        "{} has {MAX_LABS} labs of process {process}; `cargo xtask demo --down` ends those that are left over",
        labs.display()
    )
}

/// Takes away everything in a record, last thing first. Does nothing when there is no record.
///
/// Goes on after a failure and reports all of them; the record stays then, for another try.
pub(crate) fn tear_down(path: &Path) -> Result<()> {
    let things = read(path)?;
    let mut failures = Vec::new();
    for thing in things.iter().rev() {
        let is_own_directory = matches!(thing, Made::Directory { path: made } if path.starts_with(made));
        if is_own_directory && !failures.is_empty() {
            continue;
        }
        if let Err(error) = thing.undo() {
            failures.push(format!("{error:#}"));
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("the lab recorded in {} is not all gone: {}", path.display(), failures.join("; "))
}

/// Takes down every lab whose owner is gone, such as kept ones, or the one with this id alone.
/// Says which they were.
pub fn tear_down_abandoned(only: Option<&str>) -> Result<Vec<String>> {
    let mut ended = Vec::new();
    let mut failures = Vec::new();
    for (id, path) in all()? {
        if only.is_some_and(|only| only != id) || is_in_use(&read(&path)?) {
            continue;
        }
        match tear_down(&path) {
            Ok(()) => ended.push(id),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(ended)
}

/// The ids and record files of all labs on this machine.
fn all() -> Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(LABS) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {LABS}"))?,
    };
    let mut labs = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {LABS}"))?;
        let id = entry.file_name().to_string_lossy().into_owned();
        labs.push((id, entry.path().join(FILE)));
    }
    labs.sort();
    Ok(labs)
}

fn is_in_use(things: &[Made]) -> bool {
    things.iter().any(|thing| matches!(thing, Made::Owner { identity } if identity.is_alive()))
}

fn read(path: &Path) -> Result<Vec<Made>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    Ok(parse(&text))
}

/// A last line that is cut off names a thing that was never made, so it is left out.
fn parse(text: &str) -> Vec<Made> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Lets `limpet detach` clean up as a user would, and removes what it leaves, if anything.
fn remove_pins(directory: &Path, namespace: &Namespace, limpet: &Path) -> Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    let detached = namespace.run(|| {
        let mut command = Command::new(limpet);
        command.arg("--pin-dir").arg(directory).arg("detach");
        process::run_within(&mut command, DETACH_LIMIT)
    });
    // Whether that worked only matters for what is left: a link goes with its last pin.
    drop(detached);
    remove_directory(directory)
}

/// Whether the lab with this record file has been taken down.
pub(crate) fn is_gone(path: &Path) -> bool {
    File::open(path).is_err()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    use super::*;

    #[test]
    fn a_cut_off_line_is_left_out() {
        let whole = Made::Namespace { name: "limpet-lab-x".to_owned() };
        let line = serde_json::to_string(&whole).unwrap();
        let text = format!("{line}\n{}", &line[..line.len() - 3]);
        assert_eq!(parse(&text), [whole]);
    }

    #[test]
    fn taking_down_twice_is_once() {
        let outside = tempfile::tempdir().unwrap();
        let inner = outside.path().join("lab");
        fs::create_dir(&inner).unwrap();
        let record = Record { path: inner.join(FILE) };
        record.add(&Made::Directory { path: inner.clone() }).unwrap();
        record.make_directory(&inner.join("logs")).unwrap();
        tear_down(record.path()).unwrap();
        assert!(!inner.exists());
        tear_down(record.path()).unwrap();
    }

    #[test]
    fn labs_that_start_at_the_same_moment_have_ids_of_their_own() {
        let labs = tempfile::tempdir().unwrap();
        let ids: BTreeSet<String> = thread::scope(|scope| {
            let start = || (0..50).map(|_| claim(labs.path(), 7).unwrap().0).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(ids.len(), 200);
    }
}
