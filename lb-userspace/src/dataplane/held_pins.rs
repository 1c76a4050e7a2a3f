//! The pins of a running agent, reached also when their path does not lead to them any more.
//!
//! A BPF file system that is unmounted under an agent (`umount -l`; without, the kernel says "busy"), or covered by another
//! mount, lives on as long as somebody holds a directory of it, and with it all pinned links: no packet notices. But nobody
//! finds it by its path, and it ends with whoever holds it. So the agent holds the directory, works through it meanwhile,
//! and pins everything anew as soon as there is a BPF file system at the path again.

use std::{
    fs::{self, File},
    io, mem,
    os::fd::AsRawFd,
};

use aya::{
    maps::MapData,
    programs::links::{FdLink, PinnedLink},
};

use super::{Error, Pins, PinsLock, pins::Identity};

/// The pins that an agent writes to.
#[derive(Debug)]
pub struct HeldPins {
    pins: Pins,
    /// Of [`Pins::root`], as it was when the agent came to it.
    root: File,
    identity: Option<Identity>,
    _lock: PinsLock,
}

/// Where held pins are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PinsPlace {
    /// Where their path leads.
    InPlace,
    /// They are there, but their path leads elsewhere.
    Hidden,
    /// Somebody removed them.
    Removed,
}

impl HeldPins {
    /// Holds pins that exist, and that are locked.
    ///
    /// # Errors
    /// When their directory cannot be opened.
    pub fn hold(pins: Pins, lock: PinsLock) -> Result<Self, Error> {
        let identity = pins.identity()?;
        let root = File::open(pins.root()).map_err(|source| Error::Pins { path: pins.root().to_owned(), source })?;
        Ok(Self { pins, root, identity, _lock: lock })
    }

    /// The pins by their path, which may lead elsewhere.
    pub fn by_path(&self) -> &Pins {
        &self.pins
    }

    /// The pins, wherever they are, as long as this lives.
    pub fn by_descriptor(&self) -> Pins {
        Pins::new(format!("/proc/self/fd/{}", self.root.as_raw_fd()))
    }

    /// Where they are now.
    ///
    /// # Errors
    /// When the directories cannot be looked into.
    pub fn place(&self) -> Result<PinsPlace, Error> {
        if self.pins.identity()? == self.identity {
            return Ok(PinsPlace::InPlace);
        }
        let is_held = self.by_descriptor().identity()? == self.identity;
        Ok(if is_held { PinsPlace::Hidden } else { PinsPlace::Removed })
    }

    /// Pins everything that is hidden where the path leads now, and lets go of the old place.
    ///
    /// # Errors
    /// When there is no BPF file system at the path, or the pins of another datapath are: everything is then as before. Or
    /// when the old place cannot be emptied, and the move is done all the same.
    pub fn move_to_path(&mut self) -> Result<(), Error> {
        let (old, new) = (self.by_descriptor(), self.pins.clone());
        new.create()?;
        let elses = || Error::Pins {
            path: new.root().to_owned(),
            source: io::Error::new(io::ErrorKind::AlreadyExists, "another datapath is pinned there"),
        };
        let lock = new.lock()?.ok_or_else(elses)?;
        if new.identity()?.is_some() {
            return Err(elses());
        }
        copy_links(&old, &new)?;
        // The one that says whose pins they are comes last: a move that was cut off is done again.
        let mut maps = old.map_names()?;
        maps.sort_by_key(|name| name == Pins::MARK);
        copy_maps(&old, &new, &maps)?;
        let before = mem::replace(self, Self::hold(new, lock)?);
        // Where the old place is only covered, it must not look like somebody else's when it shows again. What stays there
        // after a failure is no harm: everything is pinned twice then.
        let emptied = before.by_descriptor().empty();
        drop(before);
        emptied.map(drop)
    }
}

fn copy_links(old: &Pins, new: &Pins) -> Result<(), Error> {
    let failed = |path, source: io::Error| Error::Pins { path, source };
    for name in old.link_names()? {
        let (from, to) = (old.links().join(&name), new.links().join(&name));
        remove_if_there(&to)?;
        let link = PinnedLink::from_pin(&from).map_err(|error| failed(from, io::Error::other(error)))?;
        FdLink::from(link).pin(&to).map_err(|error| failed(to, io::Error::other(error)))?;
    }
    Ok(())
}

fn copy_maps(old: &Pins, new: &Pins, names: &[String]) -> Result<(), Error> {
    for name in names {
        let (from, to) = (old.maps().join(name), new.maps().join(name));
        remove_if_there(&to)?;
        let map = MapData::from_pin(from).map_err(|source| Error::map(name, source))?;
        map.pin(&to).map_err(|error| Error::Pins { path: to, source: io::Error::other(error) })?;
    }
    Ok(())
}

/// What a move that was cut off left.
fn remove_if_there(path: &std::path::Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(|source| Error::Pins { path: path.to_owned(), source }),
    }
}
