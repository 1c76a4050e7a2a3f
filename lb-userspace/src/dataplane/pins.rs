//! Where maps and links are pinned, so that the datapath outlives the agent.
//!
//! `ROOT/vN/maps/NAME` and `ROOT/vN/links/KIND-MODE-INDEX-DEVICE`, where N is the layout's version: programs of one
//! layout never meet maps of another. Maps and links are apart, because a pin does not say which it is.

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

use super::Error;

/// Where pins are kept unless told otherwise.
pub const DEFAULT_ROOT: &str = "/sys/fs/bpf/limpet";

/// The pins below one root.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
}

/// Held by whoever may change what is pinned; the kernel lets go of it however that process ends.
#[derive(Debug)]
pub struct PinsLock {
    _directory: Flock<File>,
}

impl Pins {
    /// The pins below `root`, a directory on a BPF file system, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory that everything is below.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of the layout that this build knows.
    pub fn version_directory(&self) -> PathBuf {
        self.root.join(format!("v{}", layout::VERSION))
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
        maps.join("CONFIG").try_exists().map_err(|source| Error::Pins { path: maps, source })
    }

    /// Layout versions that are pinned here and that this build does not know.
    pub fn other_versions(&self) -> Vec<String> {
        let ours = format!("v{}", layout::VERSION);
        file_names(&self.root).unwrap_or_default().into_iter().filter(|name| *name != ours).collect()
    }

    /// Those of [`Pins::other_versions`] that hold programs on devices.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn other_versions_with_links(&self) -> Result<Vec<String>, Error> {
        let mut linked = Vec::new();
        for version in self.other_versions() {
            let links = self.root.join(&version).join("links");
            if links.is_dir() && !file_names(&links).map_err(|source| Error::Pins { path: links, source })?.is_empty() {
                linked.push(version);
            }
        }
        Ok(linked)
    }

    /// Tells this pinned datapath from any other that is pinned here before or after it; none when there is none.
    ///
    /// # Errors
    /// When the directory cannot be looked into.
    pub fn identity(&self) -> Result<Option<u64>, Error> {
        let path = self.maps().join("CONFIG");
        match fs::metadata(&path) {
            // The file system numbers its files one after the other.
            Ok(metadata) => Ok(Some(metadata.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Pins { path, source }),
        }
    }

    /// Takes the lock on the pins of the layout that this build knows; none while somebody else has it.
    ///
    /// # Errors
    /// When the directory does not exist, or cannot be locked.
    pub fn lock(&self) -> Result<Option<PinsLock>, Error> {
        lock(self.version_directory())
    }

    /// Takes the locks on the pins of all layouts that are pinned here; none while somebody else has one of them.
    ///
    /// # Errors
    /// When a directory cannot be read or locked.
    pub fn lock_all(&self) -> Result<Option<Vec<PinsLock>>, Error> {
        let versions = file_names(&self.root).map_err(|source| self.error(source))?;
        let directories = versions.iter().map(|version| self.root.join(version)).filter(|path| path.is_dir());
        directories.map(lock).collect()
    }

    /// Makes the directories, for their owner alone: whoever can open one can hold the lock that agents take on it.
    ///
    /// # Errors
    /// When the root is not on a BPF file system, or may not be written to.
    pub fn create(&self) -> Result<(), Error> {
        let mut existing = self.root.as_path();
        while !existing.exists() {
            existing = existing.parent().unwrap_or(Path::new("/"));
        }
        let magic = statfs(existing).map_err(|errno| self.error(errno.into()))?.filesystem_type();
        if magic != BPF_FS_MAGIC {
            return Err(Error::NoBpffs { path: self.root.clone() });
        }
        for directory in [self.maps(), self.links()] {
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

    /// Removes all pins of all layout versions; returns the names of what is gone, links first.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove(&self) -> Result<Vec<String>, Error> {
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
        remove_if_there(fs::remove_dir(&self.root)).map_err(|source| self.error(source))?;
        Ok(removed)
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Pins { path: self.root.clone(), source }
    }
}

fn lock(directory: PathBuf) -> Result<Option<PinsLock>, Error> {
    let locked = File::open(&directory).and_then(|file| match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(directory) => Ok(Some(PinsLock { _directory: directory })),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    });
    locked.map_err(|source| Error::Pins { path: directory, source })
}

fn remove_if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn file_names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
