//! Whether the programs on a device are those that this agent loaded.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use aya::programs::ProgramError;

use super::{
    Error, Loaded, Pins,
    link_name::{Hook, LinkName},
    raw,
};

/// The command of bpf(2) that opens a pinned object (`BPF_OBJ_GET`).
const OBJECT_GET: libc::c_long = 7;

/// Of `union bpf_attr`, the part of that command.
#[derive(Default)]
#[repr(C)]
struct OpenAttributes {
    path: u64,
    fd: u32,
    flags: u32,
}

/// How it is with one of our programs on a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It runs there.
    Current,
    /// Another program runs in our link.
    Other,
    /// Our link leads to no device, or to another one.
    Detached,
    /// There is no link of ours.
    Missing,
}

/// How it is with both of our programs on a device: XDP, then tcx.
///
/// # Errors
/// When pins, links or programs cannot be looked at.
pub fn standing(loaded: &mut Loaded, pins: &Pins, index: u32) -> Result<[(&'static str, Standing); 2], Error> {
    let program_error = |name| move |source: ProgramError| Error::Program { name, source: Box::new(source) };
    let ingress = loaded.ingress()?.info().map_err(program_error("limpet_ingress"))?.id();
    let egress = loaded.egress()?.info().map_err(program_error("limpet_egress"))?.id();
    let names = pins.link_names()?;
    let of = |is_it: &dyn Fn(Hook) -> bool, program: u32| {
        let ours = |name: &&String| LinkName::parse(name).is_some_and(|link| link.index == index && is_it(link.hook));
        let Some(name) = names.iter().find(ours) else {
            return Ok(Standing::Missing);
        };
        let path = pins.links().join(name);
        let facts = facts(&path).map_err(|source| Error::Pins { path, source })?;
        Ok(match (number(&facts, "ifindex"), number(&facts, "prog_id")) {
            (Some(found), _) if found != index => Standing::Detached,
            (None, _) => Standing::Detached,
            (Some(_), found) if found == Some(program) => Standing::Current,
            (Some(_), _) => Standing::Other,
        })
    };
    let xdp = of(&|hook| matches!(hook, Hook::Xdp(_)), ingress)?;
    let tcx = of(&|hook| hook == Hook::TcxEgress, egress)?;
    Ok([("XDP program", xdp), ("tcx program", tcx)])
}

/// What the kernel says of a pinned link. aya does not tell the device, and a link that was taken off its device keeps its
/// program.
fn facts(path: &Path) -> io::Result<String> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let opened =
        raw::call(OBJECT_GET, &mut OpenAttributes { path: path.as_ptr() as u64, ..OpenAttributes::default() })?;
    let opened = i32::try_from(opened).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given it out, to nobody else.
    let link = unsafe { OwnedFd::from_raw_fd(opened) };
    fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_raw_fd()))
}

/// A number of a file's `name: value` lines.
fn number(facts: &str, name: &str) -> Option<u32> {
    let mut values = facts.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let facts = "pos:\t0\nlink_type:\txdp\nlink_id:\t7\nprog_tag:\tabc\nprog_id:\t41\nifindex:\t3\n";
        assert_eq!((number(facts, "ifindex"), number(facts, "prog_id")), (Some(3), Some(41)));
        assert_eq!(number(facts, "prog"), None);
    }
}
