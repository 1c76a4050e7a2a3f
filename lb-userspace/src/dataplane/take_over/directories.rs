//! The directories below the pins' root: what each is, by its name and by what is in it.
//!
//! `vN` is a layout's. `vN-making` is one that is not complete yet, and `vN-before-K` has maps that were in `vN` until
//! others took their place. Maps that no program has ever taken packets in with are marked as a copy ([`COPY`]): what others
//! recorded since is newer than what is in them.

use std::{fs, io, path::Path};

use crate::dataplane::{
    Error,
    pins::{file_names, remove_if_there},
    raw::{self, RawMap, Shape},
    schema::{SCHEMA, Schema, State},
};

/// Pinned among maps that are a copy: a map of its own, in which there is nothing.
const COPY: &str = "COPY";

/// What a directory is, by its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Maps and links of a layout.
    Layout(u32),
    /// Maps that were replaced by others of the same layout.
    Before(u32),
    /// Not complete.
    Making,
    /// Somebody else's.
    Other,
}

/// A directory.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) state: State,
    /// The names of the links that are pinned in it.
    pub(super) links: Vec<String>,
    /// Whether its maps are a copy that no program has taken packets in with yet.
    pub(super) is_copy: bool,
}

impl Directory {
    /// What is known of its maps, when they are all there.
    pub(super) fn schema(&self) -> Option<&Schema> {
        match &self.state {
            State::Whole(schema) => Some(schema),
            State::Broken | State::Empty | State::Unknown => None,
        }
    }
}

impl Kind {
    pub(super) fn of(name: &str) -> Self {
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| number.to_string() == text);
        let Some(rest) = name.strip_prefix('v') else {
            return Self::Other;
        };
        match rest.split_once('-') {
            None => number(rest).map_or(Self::Other, Self::Layout),
            Some((layout, "making")) if number(layout).is_some() => Self::Making,
            Some((layout, rest)) => match (number(layout), rest.strip_prefix("before-").and_then(number)) {
                (Some(layout), Some(_)) => Self::Before(layout),
                _ => Self::Other,
            },
        }
    }
}

/// The name of the directory in which maps of a layout are made.
pub(super) fn making(layout: u32) -> String {
    format!("v{layout}-making")
}

/// A name that no directory has, for maps that are replaced.
pub(super) fn before(layout: u32, directories: &[Directory]) -> String {
    let name = |number: u32| format!("v{layout}-before-{number}");
    let is_free = |name: &String| directories.iter().all(|directory| directory.name != *name);
    (1..).map(name).find(is_free).unwrap_or_else(|| name(0))
}

/// All directories below the root, by name.
///
/// # Errors
/// When one cannot be looked into.
pub(super) fn survey(root: &Path) -> Result<Vec<Directory>, Error> {
    let failed = |source| Error::Pins { path: root.to_owned(), source };
    let names = file_names(root).map_err(failed)?;
    let mut directories = Vec::with_capacity(names.len());
    for name in names {
        let path = root.join(&name);
        if !path.is_dir() {
            continue;
        }
        let kind = Kind::of(&name);
        let links = file_names(&path.join("links")).map_err(failed)?;
        let state = match kind {
            Kind::Layout(layout) | Kind::Before(layout) => Schema::read(&path.join("maps"), layout)?,
            Kind::Making | Kind::Other => State::Unknown,
        };
        let is_copy = path.join("maps").join(COPY).exists();
        directories.push(Directory { name, kind, state, links, is_copy });
    }
    Ok(directories)
}

/// Marks these maps as a copy.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn mark_as_copy(maps: &Path) -> Result<(), Error> {
    let shape = Shape { kind: raw::kind::ARRAY, flags: 0, key_bytes: 4, value_bytes: 4, entries: 1 };
    RawMap::create(maps, COPY, shape).map(drop)
}

/// Says that these maps are none any more: from now on programs work with them.
///
/// # Errors
/// When the mark cannot be removed.
pub(super) fn mark_as_in_use(maps: &Path) -> Result<(), Error> {
    remove_if_there(fs::remove_file(maps.join(COPY))).map_err(|source| Error::Pins { path: maps.to_owned(), source })
}

/// Removes all pins of a directory, the links first and the schema last. Says whether nothing else was in it.
///
/// # Errors
/// When one cannot be removed.
pub(super) fn remove(root: &Path, directory: &Directory) -> Result<bool, Error> {
    let path = root.join(&directory.name);
    let failed = |source| Error::Pins { path: path.clone(), source };
    let (links, maps) = (path.join("links"), path.join("maps"));
    for link in file_names(&links).map_err(failed)? {
        remove_if_there(fs::remove_file(links.join(link))).map_err(failed)?;
    }
    let mut pinned = file_names(&maps).map_err(failed)?;
    pinned.sort_by_key(|name| name == SCHEMA);
    for name in pinned {
        remove_if_there(fs::remove_file(maps.join(name))).map_err(failed)?;
    }
    let mut is_gone = true;
    for directory in [&links, &maps, &path] {
        match fs::remove_dir(directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => is_gone = false,
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(is_gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_directory_is() {
        let cases = [
            ("v4", Kind::Layout(4)),
            ("v1004", Kind::Layout(1004)),
            ("v4-making", Kind::Making),
            ("v4-before-1", Kind::Before(4)),
            ("v4-before-12", Kind::Before(4)),
            ("v04", Kind::Other),
            ("v", Kind::Other),
            ("v4-", Kind::Other),
            ("v4-before-", Kind::Other),
            ("v4-before-x", Kind::Other),
            ("v+4", Kind::Other),
            ("other", Kind::Other),
        ];
        for (name, expected) in cases {
            assert_eq!(Kind::of(name), expected, "{name}");
        }
        assert_eq!(Kind::of(&making(4)), Kind::Making);
        let taken = Directory {
            name: "v4-before-1".to_owned(),
            kind: Kind::Before(4),
            state: State::Unknown,
            links: Vec::new(),
            is_copy: false,
        };
        assert_eq!(before(4, &[taken]), "v4-before-2");
    }
}
