//! One agent per node: the maps have one writer.

use std::{
    fs::{self, File, OpenOptions},
    path::Path,
};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

/// Held as long as the agent runs; the kernel lets go of it however the agent ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock that belongs to a socket.
    ///
    /// # Errors
    /// When another agent holds it, or the socket's directory cannot be made or written to.
    pub(super) fn take(socket: &Path) -> Result<Self> {
        let directory = socket.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(directory).with_context(|| format!("cannot make {} for the socket", directory.display()))?;
        let path = socket.with_extension("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}; run as root, or name another place with --socket", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => bail!(
                "another agent runs on this node (it holds {}); `limpet status` shows it. Stop it first",
                path.display()
            ),
            Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock {}", path.display())),
        }
    }
}
