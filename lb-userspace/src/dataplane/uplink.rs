//! Programs on uplinks, held by pinned links: they outlive the agent, and a new version replaces the program in place.

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

use super::{
    Error, Loaded, Pins,
    error::errno,
    link_name::{Hook, LinkName},
};
use crate::fail_point;

/// How XDP runs on a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// In the network stack, for drivers without support: correct, and several times slower.
    Generic,
}

/// What a device has of ours.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Attached {
    /// The device, by the name that it had then.
    pub device: String,
    /// The kernel's number of the device, which no other device of the network namespace has.
    pub index: u32,
    /// How XDP runs there.
    pub mode: XdpMode,
}

/// What [`attach`] did.
#[derive(Debug)]
pub struct Attachment {
    /// How XDP runs.
    pub mode: XdpMode,
    /// Why it does not run in the driver, where that was tried and refused.
    pub native_refusal: Option<Error>,
}

impl XdpMode {
    /// Its name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    fn flag(self) -> aya::programs::XdpMode {
        match self {
            Self::Native => aya::programs::XdpMode::Driver,
            Self::Generic => aya::programs::XdpMode::Skb,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Native => Self::Generic,
            Self::Generic => Self::Native,
        }
    }
}

const XDP: &str = "XDP";
const TCX: &str = "tcx";

/// A device whose links are looked after.
#[derive(Clone, Copy)]
struct Place<'a> {
    pins: &'a Pins,
    index: u32,
    device: &'a str,
}

/// Puts both programs on a device, or replaces those of an earlier agent there, without a gap. Where both are already,
/// nothing changes: this is also how to make sure that they are there.
///
/// # Errors
/// When the device has an XDP program of somebody else, or the kernel refuses; the message says what to do. Programs
/// that were there then stay.
pub fn attach(loaded: &mut Loaded, pins: &Pins, device: &str, index: u32) -> Result<Attachment, Error> {
    let place = Place { pins, index, device };
    // Replies first: a request must not be rewritten while its reply would not be.
    attach_tcx(loaded.egress()?, place)?;
    let attached = loaded.ingress().and_then(|program| attach_xdp(program, place));
    if attached.is_err() && !place.has_xdp()? {
        // Half of it is of no use, and nobody would take it off again.
        place.remove(Hook::TcxEgress)?;
    }
    attached
}

/// The devices that have our programs, by the pinned links.
///
/// # Errors
/// When the pins cannot be read.
pub fn attached(pins: &Pins) -> Result<Vec<Attached>, Error> {
    let of = |name: &String| match LinkName::parse(name)? {
        LinkName { hook: Hook::Xdp(mode), index, device } => Some(Attached { device, index, mode }),
        LinkName { hook: Hook::TcxEgress, .. } => None,
    };
    Ok(pins.link_names()?.iter().filter_map(of).collect())
}

/// Takes our programs off all devices but these, also off those that have only one of them; returns the names of the
/// links that are gone.
///
/// # Errors
/// When the pins cannot be read, or one cannot be removed.
pub fn detach_others(pins: &Pins, kept: &[u32]) -> Result<Vec<String>, Error> {
    let is_kept = |name: &String| LinkName::parse(name).is_some_and(|link| kept.contains(&link.index));
    let stale: Vec<String> = pins.link_names()?.into_iter().filter(|name| !is_kept(name)).collect();
    for name in &stale {
        remove(&pins.links().join(name))?;
    }
    Ok(stale)
}

impl Place<'_> {
    fn path(self, hook: Hook) -> PathBuf {
        let name = LinkName { hook, index: self.index, device: self.device.to_owned() };
        self.pins.links().join(name.file_name())
    }

    /// The path of the pinned link on this device, if there is one.
    fn find(self, hook: Hook) -> Result<Option<PathBuf>, Error> {
        let is_it =
            |name: &String| LinkName::parse(name).is_some_and(|link| link.hook == hook && link.index == self.index);
        Ok(self.pins.link_names()?.into_iter().find(is_it).map(|name| self.pins.links().join(name)))
    }

    /// The same; one that was made while the device had another name is renamed.
    fn find_renamed(self, hook: Hook) -> Result<Option<PathBuf>, Error> {
        let Some(found) = self.find(hook)? else {
            return Ok(None);
        };
        let path = self.path(hook);
        if found != path {
            fs::rename(&found, &path).map_err(|source| Error::Pins { path: found, source })?;
        }
        Ok(Some(path))
    }

    fn has_xdp(self) -> Result<bool, Error> {
        Ok(self.find(Hook::Xdp(XdpMode::Native))?.is_some() || self.find(Hook::Xdp(XdpMode::Generic))?.is_some())
    }

    fn remove(self, hook: Hook) -> Result<(), Error> {
        self.find(hook)?.map_or(Ok(()), |path| remove(&path))
    }

    fn link_error(self, what: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Link { what, device: self.device.to_owned(), source: Box::new(source) }
    }

    fn attach_error(self, what: &'static str, source: ProgramError) -> Error {
        let hint = attach_hint(&source);
        Error::Attach { what, device: self.device.to_owned(), hint, source: Box::new(source) }
    }
}

fn attach_xdp(program: &mut Xdp, place: Place<'_>) -> Result<Attachment, Error> {
    for mode in [XdpMode::Native, XdpMode::Generic] {
        if replace_xdp(program, place, mode)? {
            return Ok(Attachment { mode, native_refusal: None });
        }
    }
    let (mode, native_refusal) = match create_xdp(program, place, XdpMode::Native) {
        Ok(()) => (XdpMode::Native, None),
        Err(refusal) => {
            create_xdp(program, place, XdpMode::Generic)?;
            (XdpMode::Generic, Some(refusal))
        }
    };
    Ok(Attachment { mode, native_refusal })
}

/// Puts the program into the pinned link of this mode; false when there is none that leads anywhere.
fn replace_xdp(program: &mut Xdp, place: Place<'_>, mode: XdpMode) -> Result<bool, Error> {
    let Some(path) = place.find_renamed(Hook::Xdp(mode))? else {
        return Ok(false);
    };
    let link = XdpLink::try_from(reopen(&path, place, XDP)?).map_err(|error| place.link_error(XDP, error))?;
    fail_point::pass("attach-xdp");
    match program.attach_to_link(link) {
        Ok(id) => {
            fail_point::pass("attach-xdp");
            // The pin holds the link; a descriptor of ours would keep it alive after the pin is gone.
            drop(program.take_link(id).map_err(|error| place.link_error(XDP, error))?);
            // A device has one XDP link: one of the other mode is what a former device left.
            place.remove(Hook::Xdp(mode.other()))?;
            Ok(true)
        }
        Err(error) => remove_dead(&path, place, XDP, error).map(|()| false),
    }
}

fn create_xdp(program: &mut Xdp, place: Place<'_>, mode: XdpMode) -> Result<(), Error> {
    fail_point::pass("attach-xdp");
    let id = program.attach_to_if_index(place.index, mode.flag()).map_err(|source| place.attach_error(XDP, source))?;
    let link = program.take_link(id).map_err(|error| place.link_error(XDP, error))?;
    let link = FdLink::try_from(link).map_err(|error| place.link_error(XDP, error))?;
    fail_point::pass("attach-xdp");
    link.pin(place.path(Hook::Xdp(mode))).map_err(|error| place.link_error(XDP, error))?;
    Ok(())
}

fn attach_tcx(program: &mut SchedClassifier, place: Place<'_>) -> Result<(), Error> {
    if let Some(path) = place.find_renamed(Hook::TcxEgress)? {
        let link = reopen(&path, place, TCX)?;
        let link = SchedClassifierLink::try_from(link).map_err(|error| place.link_error(TCX, error))?;
        fail_point::pass("attach-tcx");
        match program.attach_to_link(link) {
            Ok(id) => {
                fail_point::pass("attach-tcx");
                drop(program.take_link(id).map_err(|error| place.link_error(TCX, error))?);
                return Ok(());
            }
            Err(error) => remove_dead(&path, place, TCX, error)?,
        }
    }
    fail_point::pass("attach-tcx");
    // Last: other programs on the way out still see the Pod as source, as they do without us.
    let options = TcAttachOptions::TcxOrder(LinkOrder::last());
    let id = program
        .attach_with_options(place.device, TcAttachType::Egress, options)
        .map_err(|source| place.attach_error(TCX, source))?;
    let link = program.take_link(id).map_err(|error| place.link_error(TCX, error))?;
    let link = FdLink::try_from(link).map_err(|error| place.link_error(TCX, error))?;
    fail_point::pass("attach-tcx");
    link.pin(place.path(Hook::TcxEgress)).map_err(|error| place.link_error(TCX, error))?;
    Ok(())
}

fn reopen(path: &Path, place: Place<'_>, what: &'static str) -> Result<FdLink, Error> {
    PinnedLink::from_pin(path).map(FdLink::from).map_err(|error| place.link_error(what, error))
}

/// Removes the pin of a link whose device is gone. Whatever else the kernel says, the link may still do its work.
fn remove_dead(path: &Path, place: Place<'_>, what: &'static str, error: ProgramError) -> Result<(), Error> {
    match errno(&error) {
        Some(libc::ENOLINK) => remove(path),
        Some(_) | None => Err(place.link_error(what, error)),
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(|source| Error::Pins { path: path.to_owned(), source }),
    }
}

fn attach_hint(error: &ProgramError) -> &'static str {
    match errno(error) {
        Some(libc::EBUSY | libc::EEXIST) => {
            "it has an XDP program of somebody else, which stays; stop whoever put it there (`ip link show` tells its id) \
             or take it off with `ip link set dev DEVICE xdp off`, or name another --uplink"
        }
        Some(libc::EPERM) => "not permitted; run as root (CAP_BPF, CAP_NET_ADMIN)",
        Some(libc::ENODEV) => "no such device; `ip link` lists those that there are",
        Some(libc::EOPNOTSUPP | libc::EINVAL) => "the device or the kernel does not support it (Linux 6.6 or newer)",
        Some(_) | None => "the kernel refuses",
    }
}
