//! `limpet mount-bpffs`: the BPF file system at its place, for the container that prepares a node. Its image has no shell
//! and no `mount` to do it with.

use anyhow::{Context, Result};
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::Said;
use crate::cli::MountBpffsOptions;

/// As systemd mounts it: root's alone, and nothing in it is a program or a device.
const OPTIONS: &str = "mode=0700";

/// Mounts it, unless it is there already.
///
/// # Errors
/// When the directory is not there, or the kernel refuses.
pub fn run(options: &MountBpffsOptions) -> Result<Said> {
    let directory = &options.directory;
    let there = statfs(directory).with_context(|| {
        format!(
            "cannot look at {}; it is there where the kernel has BPF (CONFIG_BPF_SYSCALL) and sysfs is mounted on /sys",
            directory.display()
        )
    })?;
    if there.filesystem_type() == BPF_FS_MAGIC {
        return Ok(Said::text(format!("{} is a BPF file system already\n", directory.display())));
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), directory, Some("bpf"), flags, Some(OPTIONS)).with_context(|| {
        format!(
            "cannot mount the BPF file system on {}; run as root (CAP_SYS_ADMIN), in Kubernetes in a privileged container",
            directory.display()
        )
    })?;
    Ok(Said::text(format!("mounted the BPF file system on {}\n", directory.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let options = MountBpffsOptions { directory: "/nosuch/bpf".into() };
        let error = format!("{:#}", run(&options).unwrap_err());
        assert!(error.contains("/nosuch/bpf") && error.contains("CONFIG_BPF_SYSCALL"), "{error}");
    }
}
