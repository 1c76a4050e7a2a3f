//! Where maps and links are pinned, so that the datapath outlives the agent.
//!
//! `ROOT/vN/maps/NAME` and `ROOT/vN/links/KIND-MODE-DEVICE`, where N is the layout's version: programs of one layout
//! never meet maps of another. Maps and links are apart, because a pin does not say which it is.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use lb_common::layout;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::Error;

/// Where pins are kept unless told otherwise.
pub const DEFAULT_ROOT: &str = "/sys/fs/bpf/limpet";

/// The pins below one root.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
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
