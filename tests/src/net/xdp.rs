//! An XDP program that passes everything, for the far ends of wires.
//!
//! A veth device takes what the other end sends by `XDP_TX` or a redirect, but only an XDP program at the receiving end
//! has the kernel wake it up for that (drivers/net/veth.c, `veth_xdp_flush`: GRO alone makes room, but leaves the frame
//! lying until something else comes). A real network card has no such condition.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::ip;
use super::namespace::Namespace;

/// `enum bpf_cmd` and `enum bpf_prog_type` (include/uapi/linux/bpf.h).
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_PROG_TYPE_XDP: u32 = 6;
const XDP_PASS: i32 = 2;

/// `struct bpf_insn`.
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// The beginning of `union bpf_attr` for `BPF_OBJ_PIN`.
#[repr(C)]
struct PinAttributes {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// Puts the program on devices of a namespace, where it stays as long as they do. `directory`, on a BPF file system,
/// holds it for the moment of handing it over.
pub(super) fn pass_everything(namespace: &Namespace, devices: &[String], directory: &Path) -> Result<()> {
    put(namespace, devices, "xdpdrv", directory)
}

/// The same in one of the ways that `ip link set` knows.
pub(crate) fn put(namespace: &Namespace, devices: &[String], mode: &str, directory: &Path) -> Result<()> {
    let pin = directory.join("pass");
    let program = load(BPF_PROG_TYPE_XDP, XDP_PASS).context("cannot load an XDP program; the lab needs root")?;
    pin_at(&program, &pin)
        .with_context(|| format!("cannot pin at {}; is a BPF file system mounted?", pin.display()))?;
    let lines: Vec<String> =
        devices.iter().map(|device| format!("link set dev {device} {mode} pinned {}", pin.display())).collect();
    let attached = ip::batch(namespace, &lines);
    fs::remove_file(&pin).with_context(|| format!("cannot remove {}", pin.display()))?;
    attached
}

/// A program of this type that returns a number and does nothing else.
pub(crate) fn load(program_type: u32, returned: i32) -> io::Result<OwnedFd> {
    // `r0 = RETURNED; exit`, of a little-endian or big-endian machine alike.
    let instructions = [
        Instruction { code: 0xb7, registers: 0, offset: 0, immediate: returned },
        Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 },
    ];
    let attributes = LoadAttributes {
        program_type,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        ..LoadAttributes::default()
    };
    descriptor(BPF_PROG_LOAD, &attributes)
}

/// A command of `bpf(2)` that makes a descriptor.
pub(crate) fn descriptor<A>(command: libc::c_int, attributes: &A) -> io::Result<OwnedFd> {
    let descriptor = bpf(command, attributes)?;
    // SAFETY: the kernel has just made this descriptor for the caller, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn pin_at(program: &OwnedFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = PinAttributes { path: path.as_ptr() as u64, descriptor: program.as_raw_fd() as u32, flags: 0 };
    bpf(BPF_OBJ_PIN, &attributes).map(drop)
}

fn bpf<A>(command: libc::c_int, attributes: &A) -> io::Result<libc::c_int> {
    // SAFETY: `attributes` is the beginning of the union for this command, its pointers live through the call, and the
    // kernel takes what lies past its size as zero.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<A>()) };
    // A descriptor or 0 or -1: all of them fit.
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
