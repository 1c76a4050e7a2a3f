//! One agent per node: the maps have one writer, the socket one owner.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};

use super::directory;
use crate::dataplane::{Pins, PinsLock};

/// Held as long as the agent runs; the kernel lets go of it however the agent ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock that belongs to a socket.
    ///
    /// # Errors
    /// When another agent holds it, or the socket's directory cannot be made or written to, or others may write to it.
    pub(super) fn take(socket: &Path) -> Result<Self> {
        let directory = socket.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        directory::make_own(directory)?;
        let path = socket.with_extension("lock");
        // Whoever can open it can hold it: its owner alone.
        let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = opened.with_context(|| {
            format!("cannot open {}; run as root, or name another place with --socket", path.display())
        })?;
        Self::hold(file, &path)
    }

    fn hold(file: File, path: &Path) -> Result<Self> {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(another_agent(path)),
            Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock {}", path.display())),
        }
    }
}

/// Takes the lock on what is pinned, which another agent may write to though it has another socket.
///
/// # Errors
/// When another agent holds it, of whichever version, or a directory cannot be opened.
pub(super) fn lock_pins(pins: &Pins) -> Result<PinsLock> {
    pins.lock()?.ok_or_else(|| another_agent(pins.root()))
}

fn another_agent(path: &Path) -> anyhow::Error {
    anyhow!("another agent runs on this node (it holds {}); `limpet status` shows it. Stop it first", path.display())
}
