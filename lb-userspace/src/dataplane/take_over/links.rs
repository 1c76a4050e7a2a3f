//! Making the links one's own: the programs of another version, or with other maps, are replaced without a gap.
//!
//! Replies first: a second program is put before the old one on the way out. Either knows the connections that it has a
//! note of and lets all others go on to the next, so whichever maps a note is in, the reply finds it. The new one has no notes
//! yet: what it knew would be a copy, and not as new as what the old one knows, for as long as packets come in by the old
//! programs. Then the XDP programs are replaced in their links: a packet meets the old one or the new one, and both choose the
//! same Pod, since the tables are the same and nobody writes. Now what the new one notes is the newest there is, and old notes
//! are carried over where there is none. The old program on the way out goes last.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp,
    links::{FdLink, PinnedLink},
    tc::{SchedClassifierLink, TcAttachOptions},
    xdp::XdpLink,
};
use nix::net::if_::if_indextoname;
use tracing::info;

use super::directories::mark_as_in_use;
use crate::{
    dataplane::{
        Error, Loaded, Pins,
        error::errno,
        link_name::{Hook, LinkName},
        pins::file_names,
    },
    fail_point,
};

/// Takes the links of these directories over, and renews our own.
///
/// # Errors
/// When a link cannot be read, moved or updated. Those that were done before stay.
pub(super) fn take(loaded: &mut Loaded, own: &Pins, others: &[PathBuf]) -> Result<(), Error> {
    let others: Vec<PathBuf> = others.iter().map(|directory| directory.join("links")).collect();
    for directory in &others {
        for (path, link) in read(directory)? {
            if link.hook == Hook::TcxEgress && !has(&own.links(), &link)? {
                add_tcx(loaded.egress()?, own, &path, &link)?;
                fail_point::pass("take-over");
            }
        }
    }
    for directory in &others {
        for (path, link) in read(directory)? {
            if matches!(link.hook, Hook::Xdp(_)) && !has(&own.links(), &link)? {
                let to = own.links().join(link.file_name());
                fs::rename(&path, to).map_err(|source| Error::Pins { path, source })?;
                fail_point::pass("take-over");
            }
        }
    }
    mark_as_in_use(&own.maps())?;
    for (path, link) in read(&own.links())? {
        if matches!(link.hook, Hook::Xdp(_)) {
            update_xdp(loaded.ingress()?, &path, &link)?;
            fail_point::pass("take-over");
        }
    }
    Ok(())
}

/// Moves the links on the way out elsewhere, where they stay until they are not needed any more.
///
/// # Errors
/// When one cannot be moved.
pub(super) fn set_tcx_aside(from: &Path, to: &Path) -> Result<(), Error> {
    for (path, link) in read(from)? {
        if link.hook == Hook::TcxEgress {
            fs::rename(&path, to.join(link.file_name())).map_err(|source| Error::Pins { path, source })?;
        }
    }
    Ok(())
}

/// What is pinned in a directory of links.
fn read(directory: &Path) -> Result<Vec<(PathBuf, LinkName)>, Error> {
    let names = file_names(directory).map_err(|source| Error::Pins { path: directory.to_owned(), source })?;
    Ok(names.into_iter().filter_map(|name| Some((directory.join(&name), LinkName::parse(&name)?))).collect())
}

/// Whether there is one for the same hook of the same device.
fn has(directory: &Path, link: &LinkName) -> Result<bool, Error> {
    Ok(read(directory)?.iter().any(|(_, known)| (known.hook, known.index) == (link.hook, link.index)))
}

fn add_tcx(program: &mut SchedClassifier, own: &Pins, path: &Path, link: &LinkName) -> Result<(), Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Link {
        what: "tcx",
        device: link.device.clone(),
        source,
    };
    let old = PinnedLink::from_pin(path).map_err(|error| failed(error.into()))?;
    let old = SchedClassifierLink::try_from(FdLink::from(old)).map_err(|error| failed(error.into()))?;
    let order = LinkOrder::before_link(&old).map_err(|error| failed(error.into()))?;
    // By the name that the device has now.
    let Some(device) = if_indextoname(link.index).ok().and_then(|name| name.into_string().ok()) else {
        info!(device = link.device, "the device of a program on the way out is gone: nothing to take over there");
        return Ok(());
    };
    let id = match program.attach_with_options(&device, TcAttachType::Egress, TcAttachOptions::TcxOrder(order)) {
        Ok(id) => id,
        Err(error) if is_about_a_dead_one(&error) => return Ok(()),
        Err(error) => return Err(failed(error.into())),
    };
    let made = program.take_link(id).map_err(|error| failed(error.into()))?;
    let made = FdLink::try_from(made).map_err(|error| failed(error.into()))?;
    made.pin(own.links().join(link.file_name())).map_err(|error| failed(error.into()))?;
    Ok(())
}

fn update_xdp(program: &mut Xdp, path: &Path, link: &LinkName) -> Result<(), Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Link {
        what: "XDP",
        device: link.device.clone(),
        source,
    };
    let pinned = PinnedLink::from_pin(path).map_err(|error| failed(error.into()))?;
    let old = XdpLink::try_from(FdLink::from(pinned)).map_err(|error| failed(error.into()))?;
    match program.attach_to_link(old) {
        // The pin holds the link.
        Ok(id) => program.take_link(id).map(drop).map_err(|error| failed(error.into())),
        Err(error) if is_about_a_dead_one(&error) => {
            fs::remove_file(path).map_err(|source| Error::Pins { path: path.to_owned(), source })
        }
        Err(error) => Err(failed(error.into())),
    }
}

/// Whether the device of a link is gone, or the link is not on it any more.
fn is_about_a_dead_one(error: &ProgramError) -> bool {
    matches!(errno(error), Some(libc::ENOLINK | libc::ENODEV | libc::ENOENT))
}
