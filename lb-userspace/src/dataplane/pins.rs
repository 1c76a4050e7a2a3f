//! Where maps and links are pinned, so that the datapath outlives the agent.
//!
//! `ROOT/vN/maps/NAME` and `ROOT/vN/links/KIND-MODE-INDEX-DEVICE`, where N is the layout's version: programs of one
//! layout never meet maps of another. What else there may be is said in [`take_over`](super::take_over). Maps and links are apart, because a pin does not say which it is.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use lb_common::layout;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::{
    Error,
    schema::{Schema, State},
};
use crate::fail_point;

/// Where pins are kept unless told otherwise.
pub const DEFAULT_ROOT: &str = "/sys/fs/bpf/limpet";

/// The pins below one root.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
    /// The directory below it.
    version: String,
}

/// Tells a pinned datapath from any other: file system and file of one of its maps.
pub(super) type Identity = (u64, u64);

/// Held by whoever may change what is pinned; the kernel lets go of it however that process ends.
#[derive(Debug)]
pub struct PinsLock {
    _directories: Vec<Flock<File>>,
}

impl Pins {
    /// The map that says by being there that a datapath is pinned, and which one it is.
    pub(super) const MARK: &str = "CONFIG";

    /// The pins below `root`, a directory on a BPF file system, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), version: format!("v{}", layout::VERSION) }
    }

    /// Those in another directory below the same root.
    pub(super) fn beside(&self, version: &str) -> Self {
        Self { root: self.root.clone(), version: version.to_owned() }
    }

    /// The directory that everything is below.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of the layout that this build knows.
    pub fn version_directory(&self) -> PathBuf {
        self.root.join(&self.version)
    }

    /// The directory of the maps.
    pub fn maps(&self) -> PathBuf {
        self.version_directory().join("maps")
    }

    /// The directory of the links.
    pub fn links(&self) -> PathBuf {
        self.version_directory().join("links")
    }

    /// Whether a datapath is pinned here.
    ///
    /// # Errors
    /// When the directory cannot be looked into.
    pub fn exist(&self) -> Result<bool, Error> {
        let maps = self.maps();
        maps.join(Self::MARK).try_exists().map_err(|source| Error::Pins { path: maps, source })
    }

    /// What the maps are, as it is pinned beside them; none where nothing is.
    ///
    /// # Errors
    /// When the maps may not be opened.
    pub fn schema(&self) -> Result<Option<Schema>, Error> {
        match Schema::read(&self.maps(), layout::VERSION)? {
            State::Whole(schema) => Ok(Some(schema)),
            State::Broken | State::Empty | State::Unknown => Ok(None),
        }
    }

    /// Directories of other layout versions, or of an agent that was cut off.
    pub fn other_versions(&self) -> Vec<String> {
        file_names(&self.root).unwrap_or_default().into_iter().filter(|name| *name != self.version).collect()
    }

    /// Tells this pinned datapath from any other that is pinned here before or after it; none when there is none.
    ///
    /// # Errors
    /// When the directory cannot be looked into.
    pub(super) fn identity(&self) -> Result<Option<Identity>, Error> {
        let path = self.maps().join(Self::MARK);
        match fs::metadata(&path) {
            // The file system numbers its files one after the other, and has a number of its own as long as it lives.
            Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Pins { path, source }),
        }
    }

    /// Takes the lock on everything that is pinned here; none while somebody else has it. It is one lock for all versions,
    /// on the root; those of the directories below are taken as well, for versions that knew no other.
    ///
    /// # Errors
    /// When a directory cannot be read or locked, or the root does not exist.
    pub fn lock(&self) -> Result<Option<PinsLock>, Error> {
        let versions = file_names(&self.root).map_err(|source| self.error(source))?;
        let below = versions.iter().map(|version| self.root.join(version)).filter(|path| path.is_dir());
        let locks: Option<Vec<_>> =
            std::iter::once(self.root.clone()).chain(below).map(lock).collect::<Result<_, _>>()?;
        Ok(locks.map(|directories| PinsLock { _directories: directories }))
    }

    /// Makes the root, for its owner alone.
    ///
    /// # Errors
    /// When it is not on a BPF file system, or may not be written to.
    pub fn create_root(&self) -> Result<(), Error> {
        let mut existing = self.root.as_path();
        while !existing.exists() {
            existing = existing.parent().unwrap_or(Path::new("/"));
        }
        let magic = statfs(existing).map_err(|errno| self.error(errno.into()))?.filesystem_type();
        if magic != BPF_FS_MAGIC {
            return Err(Error::NoBpffs { path: self.root.clone() });
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.root);
        made.map_err(|source| self.error(source))
    }

    /// Makes the directories, for their owner alone: whoever can open one can hold the lock that agents take on it.
    ///
    /// # Errors
    /// When the root is not on a BPF file system, or may not be written to.
    pub fn create(&self) -> Result<(), Error> {
        self.create_root()?;
        for directory in [self.maps(), self.links()] {
            fail_point::pass("pins");
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
            made.map_err(|source| Error::Pins { path: directory, source })?;
        }
        Ok(())
    }

    /// The names of the pinned links.
    ///
    /// # Errors
    /// When the directory cannot be read. One that does not exist holds none.
    pub fn link_names(&self) -> Result<Vec<String>, Error> {
        file_names(&self.links()).map_err(|source| Error::Pins { path: self.links(), source })
    }

    /// The names of the pinned maps.
    ///
    /// # Errors
    /// When the directory cannot be read. One that does not exist holds none.
    pub(super) fn map_names(&self) -> Result<Vec<String>, Error> {
        file_names(&self.maps()).map_err(|source| Error::Pins { path: self.maps(), source })
    }

    /// Removes all pins of all layout versions; returns the names of what is gone, links first.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove(&self) -> Result<Vec<String>, Error> {
        let removed = self.empty()?;
        remove_if_there(fs::remove_dir(&self.root)).map_err(|source| self.error(source))?;
        Ok(removed)
    }

    /// The same, but the directory that they are below stays.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub(super) fn empty(&self) -> Result<Vec<String>, Error> {
        let mut removed = Vec::new();
        for version in file_names(&self.root).map_err(|source| self.error(source))? {
            for kind in ["links", "maps"] {
                let directory = self.root.join(&version).join(kind);
                let names = file_names(&directory).map_err(|source| self.error(source))?;
                for name in names {
                    remove_if_there(fs::remove_file(directory.join(&name))).map_err(|source| self.error(source))?;
                    removed.push(format!("{kind}/{name}"));
                }
                remove_if_there(fs::remove_dir(&directory)).map_err(|source| self.error(source))?;
            }
            remove_if_there(fs::remove_dir(self.root.join(&version))).map_err(|source| self.error(source))?;
        }
        Ok(removed)
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Pins { path: self.root.clone(), source }
    }
}

fn lock(directory: PathBuf) -> Result<Option<Flock<File>>, Error> {
    let locked = File::open(&directory).and_then(|file| match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(directory) => Ok(Some(directory)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    });
    locked.map_err(|source| Error::Pins { path: directory, source })
}

/// Of what was removed: that it was not there is as good.
pub(super) fn remove_if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The names of what is in a directory, sorted; one that does not exist is empty.
pub(super) fn file_names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
