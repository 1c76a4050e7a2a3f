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
    #[error("cannot use map {name}")]
    Map {
        /// The map.
        name: String,
        /// Why.
        source: MapError,
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
    /// The kernel refuses the programs.
    #[error("the kernel refuses Limpet's programs{}", load_hint(source))]
    Load {
        /// Why.
        #[source]
        source: Box<EbpfError>,
    },
    /// A program is not in the object, or cannot be loaded.
    #[error("the kernel refuses program {name}")]
    Program {
        /// The program.
        name: &'static str,
        /// Why.
        source: ProgramError,
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
        source: ProgramError,
    },
    /// A link cannot be pinned or updated.
    #[error("cannot keep {what} on {device}: {message}")]
    Link {
        /// XDP or tcx.
        what: &'static str,
        /// The device.
        device: String,
        /// Why.
        message: String,
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

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ": permission denied; run as root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON)",
        _ => "",
    }
}

fn load_hint(error: &EbpfError) -> &'static str {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        let denied = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) == Some(libc::EPERM);
        if denied {
            return ": not permitted; run as root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON)";
        }
        source = error.source();
    }
    ""
}
