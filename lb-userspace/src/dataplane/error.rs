//! What can go wrong with the kernel, and what to do about it.

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

/// A failure of the dataplane.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pins' directory is not on a BPF file system.
    #[error(
        "{} is not on a BPF file system; mount one with `mount -t bpf bpf /sys/fs/bpf`, \
         or name another place with --pin-dir", path.display()
    )]
    NoBpffs {
        /// The pins' directory.
        path: PathBuf,
    },
    /// A pin cannot be reached.
    #[error("cannot use the pins in {}{}", path.display(), hint(source))]
    Pins {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no datapath.
    #[error("nothing is pinned in {}: no agent has run on this node, or `limpet detach` has", path.display())]
    NothingPinned {
        /// The pins' directory.
        path: PathBuf,
    },
    /// A map cannot be used.
    #[error("cannot use map {name}{}", denied_hint(source))]
    Map {
        /// The map.
        name: String,
        /// Why.
        source: Box<MapError>,
    },
    /// A map cannot be mapped into memory.
    #[error("cannot map {name} into memory")]
    MapMemory {
        /// The map.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A map does not have the layout that this build knows.
    #[error("map {name} is not of the layout of this version; `limpet detach` removes it, with all it holds")]
    Layout {
        /// The map.
        name: String,
    },
    /// A pinned map is of another size than asked for.
    #[error(
        "map {name} is pinned with room for {pinned}, not {wanted}; keep the old limits, or run `limpet detach` \
         first, which forgets all flows"
    )]
    Size {
        /// The map.
        name: String,
        /// What it has room for.
        pinned: u32,
        /// What was asked for.
        wanted: u32,
    },
    /// Another version's datapath runs, and nothing says what is in its maps.
    #[error(
        "{} holds the running datapath of another version (layout {}), which this one cannot read; run that version, or \
         `limpet detach` first, which ends its connections",
        path.parent().unwrap_or(path).display(), path.file_name().unwrap_or_default().display()
    )]
    UnknownVersion {
        /// Its directory.
        path: PathBuf,
    },
    /// A running datapath is larger than what was asked for.
    #[error(
        "map {name} of the running datapath holds more than there is to be room for; ask for more ({}), or run \
         `limpet detach` first, which ends its connections",
        flag(name)
    )]
    DoesNotFit {
        /// The map.
        name: String,
    },
    /// A running datapath may have values that a field of this version has no room for.
    #[error(
        "map {name} of the running datapath has a field that is narrower in this version; run the other one, or \
         `limpet detach` first, which ends its connections"
    )]
    NarrowerField {
        /// The map.
        name: String,
    },
    /// The kernel refuses the programs.
    #[error("the kernel refuses Limpet's programs{}", load_hint(source.as_ref()))]
    Load {
        /// Why.
        #[source]
        source: Box<EbpfError>,
    },
    /// A program is not in the object, or cannot be loaded.
    #[error("the kernel refuses program {name}{}", load_hint(source))]
    Program {
        /// The program.
        name: &'static str,
        /// Why.
        source: Box<ProgramError>,
    },
    /// A program cannot be attached.
    #[error("cannot attach {what} to {device}: {hint}")]
    Attach {
        /// XDP or tcx.
        what: &'static str,
        /// The device.
        device: String,
        /// What to do.
        hint: &'static str,
        /// Why.
        source: Box<ProgramError>,
    },
    /// A link cannot be pinned or updated.
    #[error("cannot keep {what} on {device}")]
    Link {
        /// XDP or tcx.
        what: &'static str,
        /// The device.
        device: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A write would reach past a map's end.
    #[error("{what} is past the end of map {name}")]
    OutOfRange {
        /// The map.
        name: &'static str,
        /// What was to be written.
        what: String,
    },
}

impl Error {
    /// A failure of the map with this name.
    pub fn map(name: &str, source: MapError) -> Self {
        Self::Map { name: name.to_owned(), source: Box::new(source) }
    }
}

/// What says how much a map has room for.
fn flag(map: &str) -> &'static str {
    match map.trim_end_matches(['4', '6']) {
        "SLOTS" => "--max-slots",
        "BACKENDS" | "LOCALS" | "SIBLINGS" => "--max-backends",
        "FRONTENDS" => "--max-frontends",
        "SOURCE_RANGES" => "--max-source-ranges",
        "PEERS" | "NEXT_HOPS" => "--max-nodes",
        "SERVICE_COUNTS" | "BREAKS" => "--max-services",
        _ => "--max-services, --max-backends, --max-nodes",
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ": permission denied; run as root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON)",
        _ => "",
    }
}

fn denied_hint(error: &MapError) -> &'static str {
    match errno(error) {
        Some(libc::EPERM | libc::EACCES) => ": not permitted; run as root (CAP_BPF)",
        Some(_) | None => "",
    }
}

fn load_hint(error: &(dyn std::error::Error + 'static)) -> &'static str {
    match errno(error) {
        Some(libc::EPERM) => ": not permitted; run as root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON)",
        // The verifier's no. Without CAP_PERFMON it takes no program that compares pointers, as all of ours do.
        Some(libc::EACCES) => ": run as root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON), on Linux 6.6 or newer",
        Some(libc::EINVAL) => ": Linux 6.6 or newer is needed",
        Some(libc::ENOMEM) => ": not enough memory for the maps; lower the limits (--max-flows before others)",
        Some(_) | None => "",
    }
}

/// The kernel's error number, wherever in the chain it stands.
pub(super) fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(errno) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(errno);
        }
        source = error.source();
    }
    None
}
