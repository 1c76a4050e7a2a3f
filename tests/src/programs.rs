//! BPF programs of somebody else on a device: they do nothing, and are there.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;

use crate::net::namespace::Namespace;
use crate::net::xdp;

/// `enum bpf_cmd`, `enum bpf_prog_type`, `enum bpf_attach_type` and flags (include/uapi/linux/bpf.h).
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_ENABLE_STATS: libc::c_int = 32;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_TCX_EGRESS: u32 = 47;
const BPF_F_BEFORE: u32 = 1 << 3;
const BPF_F_AFTER: u32 = 1 << 4;
const TCX_NEXT: i32 = -1;

/// Puts an XDP program that passes everything on a device, in one of the ways that `ip link set` knows, where it stays.
/// `directory`, on a BPF file system, holds it for a moment. Fails when the kernel refuses it.
pub fn put_xdp(namespace: &Namespace, device: &str, mode: &str, directory: &Path) -> Result<()> {
    xdp::put(namespace, &[device.to_owned()], mode, directory)
}

/// A program on a device's way out that passes everything on, and is counted; gone when dropped.
#[derive(Debug)]
pub struct Tcx {
    program: OwnedFd,
    _link: OwnedFd,
    /// The kernel counts while this is open.
    _counting: OwnedFd,
}

/// Where among the others that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcxPlace {
    /// Before all of them.
    First,
    /// After all of them.
    Last,
}

/// The beginning of `union bpf_attr` for `BPF_LINK_CREATE` of a tcx program.
#[repr(C)]
struct LinkAttributes {
    program: u32,
    device: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    pad: u32,
    revision: u64,
}

impl Tcx {
    /// Puts one on a device.
    pub fn attach(namespace: &Namespace, device: &str, place: TcxPlace) -> Result<Self> {
        // `BPF_STATS_RUN_TIME` is 0.
        let counting = xdp::descriptor(BPF_ENABLE_STATS, &0_u32).context("cannot have programs counted")?;
        let program = xdp::load(BPF_PROG_TYPE_SCHED_CLS, TCX_NEXT).context("cannot load a tcx program")?;
        let link = namespace.run(|| {
            let attributes = LinkAttributes {
                program: program.as_raw_fd() as u32,
                device: if_nametoindex(device).with_context(|| format!("there is no device {device}"))?,
                attach_type: BPF_TCX_EGRESS,
                flags: match place {
                    TcxPlace::First => BPF_F_BEFORE,
                    TcxPlace::Last => BPF_F_AFTER,
                },
                relative: 0,
                pad: 0,
                revision: 0,
            };
            xdp::descriptor(BPF_LINK_CREATE, &attributes).with_context(|| format!("cannot attach to {device}"))
        })?;
        Ok(Self { program, _link: link, _counting: counting })
    }

    /// How often it ran.
    pub fn runs(&self) -> Result<u64> {
        let path = format!("/proc/self/fdinfo/{}", self.program.as_raw_fd());
        let info = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let count = info.lines().find_map(|line| line.strip_prefix("run_cnt:")).context("the kernel does not count")?;
        count.trim().parse().with_context(|| format!("{count} is no count"))
    }
}
