//! A named network namespace: running code, programs and settings inside it.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::panic;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";

/// A network namespace with a name, as `ip netns` makes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// The namespace of this name, whether it exists or not.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that `nsenter --net=` takes.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(NAMES).join(&self.name)
    }

    /// Runs `work` on a thread of its own inside this namespace.
    ///
    /// Sockets made there stay in the namespace and can be used from anywhere; processes started
    /// there live in it. Only the network namespace changes: `/sys` stays the machine's, so that
    /// pinned BPF objects are seen, which `ip netns exec` would hide.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = self.path();
        let file = File::open(&path).with_context(|| format!("cannot open network namespace {}", path.display()))?;
        let outcome = thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(&file, CloneFlags::CLONE_NEWNET)
                        .with_context(|| format!("cannot enter {}", path.display()))?;
                    work()
                })
                .join()
        });
        outcome.unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// Makes the namespace. Fails when there is one of this name.
    ///
    /// Done here and not by `ip netns add`: a process that outlived the lab's owner for a moment
    /// would make names that are on record but were looked for too early.
    pub(crate) fn create(&self) -> Result<()> {
        share_names()?;
        let path = self.path();
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        let outcome = thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
                    mount(Some("/proc/thread-self/ns/net"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                        .with_context(|| format!("cannot give a network namespace the name {}", path.display()))
                })
                .join()
        });
        outcome.unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// Sets kernel parameters of this namespace, named as below `/proc/sys/net`.
    pub(crate) fn set(&self, parameters: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (name, value) in parameters {
                fs::write(format!("/proc/sys/net/{name}"), value)
                    .with_context(|| format!("cannot set net/{name} to {value} in {}", self.name))?;
            }
            Ok(())
        })
    }

    /// Takes the name away; the kernel ends the namespace when nothing is in it any more.
    /// Does nothing when there is no such name.
    pub(crate) fn remove(&self) -> Result<()> {
        let path = self.path();
        match umount2(&path, MntFlags::MNT_DETACH) {
            // EINVAL: the file is there but nothing is mounted on it, as after half a creation.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot unmount {}", path.display()));
            }
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Makes the directory of names what `ip netns` makes it: a mount whose changes all mount namespaces
/// see. Left to `ip` for later, it would cover our names with copies of them that nobody can remove.
fn share_names() -> Result<()> {
    fs::create_dir_all(NAMES).with_context(|| format!("cannot make {NAMES}"))?;
    let directory = File::open(NAMES).with_context(|| format!("cannot open {NAMES}"))?;
    // `ip netns` takes the same lock.
    let _lock = Flock::lock(directory, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("cannot lock {NAMES}"))?;
    let share = || mount(None::<&str>, NAMES, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    let shared = match share() {
        // Not a mount yet.
        Err(Errno::EINVAL) => mount(Some(NAMES), NAMES, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
            .and_then(|()| share()),
        outcome => outcome,
    };
    shared.with_context(|| format!("cannot share {NAMES}"))
}
