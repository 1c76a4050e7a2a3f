//! Programs on uplinks, held by pinned links: they outlive the agent, and a new version replaces the program in place.

use std::{fs, path::PathBuf};

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp,
    links::{FdLink, PinnedLink},
    tc::{SchedClassifierLink, TcAttachOptions},
    xdp::XdpLink,
};

use super::{Error, Loaded, Pins, error::errno};

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
    /// The device.
    pub device: String,
    /// How XDP runs there.
    pub mode: XdpMode,
}

impl XdpMode {
    /// Its name in output and pins.
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
}

const MODES: [XdpMode; 2] = [XdpMode::Native, XdpMode::Generic];
const XDP: &str = "XDP";
const TCX: &str = "tcx";

/// Puts both programs on a device, or replaces those of an earlier agent there, without a gap.
///
/// # Errors
/// When the device has an XDP program of somebody else, or the kernel refuses; the message says what to do.
pub fn attach(loaded: &mut Loaded, pins: &Pins, device: &str) -> Result<Attached, Error> {
    // Replies first: a request must not be rewritten while its reply would not be.
    let had_tcx = tcx_pin(pins, device).exists();
    attach_tcx(loaded.egress()?, pins, device)?;
    match loaded.ingress().and_then(|program| attach_xdp(program, pins, device)) {
        Ok(mode) => Ok(Attached { device: device.to_owned(), mode }),
        Err(refusal) => {
            // Half of it is of no use, and nobody would take it off again.
            if !had_tcx {
                remove(tcx_pin(pins, device))?;
            }
            Err(refusal)
        }
    }
}

/// The devices that have our programs, by the pinned links.
///
/// # Errors
/// When the pins cannot be read.
pub fn attached(pins: &Pins) -> Result<Vec<Attached>, Error> {
    let names = pins.link_names()?;
    let of = |name: &String| {
        MODES.into_iter().find_map(|mode| {
            let device = name.strip_prefix(&format!("xdp-{}-", mode.name()))?.to_owned();
            Some(Attached { device, mode })
        })
    };
    Ok(names.iter().filter_map(of).collect())
}

/// Takes both programs off a device. One that has none is no error.
///
/// # Errors
/// When a pin cannot be removed.
pub fn detach_device(pins: &Pins, device: &str) -> Result<(), Error> {
    let xdp = MODES.into_iter().map(|mode| xdp_pin(pins, device, mode));
    for path in xdp.chain([tcx_pin(pins, device)]) {
        remove(path)?;
    }
    Ok(())
}

fn attach_xdp(program: &mut Xdp, pins: &Pins, device: &str) -> Result<XdpMode, Error> {
    for mode in MODES {
        let path = xdp_pin(pins, device, mode);
        if path.exists() {
            let replaced = reopen(&path, device, XDP)
                .and_then(|link| XdpLink::try_from(link).map_err(|error| link_error(XDP, device, error)))
                .and_then(|link| program.attach_to_link(link).map_err(|error| link_error(XDP, device, error)));
            match replaced {
                Ok(_) => return Ok(mode),
                // The device went away and came back under its name: the old link leads nowhere.
                Err(_) => remove(path)?,
            }
        }
    }
    let mut refused = None;
    for mode in MODES {
        match program.attach(device, mode.flag()) {
            Ok(id) => {
                let link = program.take_link(id).map_err(|error| link_error(XDP, device, error))?;
                let link = FdLink::try_from(link).map_err(|error| link_error(XDP, device, error))?;
                link.pin(xdp_pin(pins, device, mode)).map_err(|error| link_error(XDP, device, error))?;
                return Ok(mode);
            }
            Err(error) => refused = Some(error),
        }
    }
    Err(match refused {
        Some(source) => {
            Error::Attach { what: XDP, device: device.to_owned(), hint: attach_hint(&source), source: Box::new(source) }
        }
        None => link_error(XDP, device, "no mode was tried"),
    })
}

fn attach_tcx(program: &mut SchedClassifier, pins: &Pins, device: &str) -> Result<(), Error> {
    let path = tcx_pin(pins, device);
    if path.exists() {
        let replaced = reopen(&path, device, TCX)
            .and_then(|link| SchedClassifierLink::try_from(link).map_err(|error| link_error(TCX, device, error)))
            .and_then(|link| program.attach_to_link(link).map_err(|error| link_error(TCX, device, error)));
        match replaced {
            Ok(_) => return Ok(()),
            Err(_) => remove(path.clone())?,
        }
    }
    // Last: other programs on the way out still see the Pod as source, as they do without us.
    let options = TcAttachOptions::TcxOrder(LinkOrder::last());
    let id = program.attach_with_options(device, TcAttachType::Egress, options).map_err(|source| Error::Attach {
        what: TCX,
        device: device.to_owned(),
        hint: attach_hint(&source),
        source: Box::new(source),
    })?;
    let link = program.take_link(id).map_err(|error| link_error(TCX, device, error))?;
    let link = FdLink::try_from(link).map_err(|error| link_error(TCX, device, error))?;
    link.pin(path).map_err(|error| link_error(TCX, device, error))?;
    Ok(())
}

fn reopen(path: &PathBuf, device: &str, what: &'static str) -> Result<FdLink, Error> {
    PinnedLink::from_pin(path).map(FdLink::from).map_err(|error| link_error(what, device, error))
}

fn remove(path: PathBuf) -> Result<(), Error> {
    match fs::remove_file(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(|source| Error::Pins { path, source }),
    }
}

fn xdp_pin(pins: &Pins, device: &str, mode: XdpMode) -> PathBuf {
    pins.links().join(format!("xdp-{}-{device}", mode.name()))
}

fn tcx_pin(pins: &Pins, device: &str) -> PathBuf {
    pins.links().join(format!("tcx-egress-{device}"))
}

fn link_error(what: &'static str, device: &str, error: impl std::fmt::Display) -> Error {
    Error::Link { what, device: device.to_owned(), message: error.to_string() }
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
