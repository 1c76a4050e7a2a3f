//! The BPF file system, in which maps and links outlive the process that made them.

use std::process::Command;

use super::{Facts, Fix, Purpose, Requirement, State};
use crate::project::Project;
use crate::{logged, tool};

/// Where it is mounted by everybody.
pub(super) const MOUNT_POINT: &str = "/sys/fs/bpf";

pub(super) const REQUIREMENT: Requirement = Requirement { what: "bpffs", purpose: Purpose::Run, check, install };

/// What there is of the BPF file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Bpffs {
    /// The kernel offers no place for it.
    #[default]
    Unsupported,
    /// It could be mounted.
    NotMounted,
    /// It is mounted.
    Mounted,
}

impl Bpffs {
    /// From the text of /proc/mounts, and whether the mount point exists.
    pub(super) fn from_mounts(mounts: &str, mount_point_exists: bool) -> Self {
        let mounted = mounts.lines().any(|line| {
            let mut fields = line.split(' ').skip(1);
            fields.next() == Some(MOUNT_POINT) && fields.next() == Some("bpf")
        });
        match (mounted, mount_point_exists) {
            (true, _) => Self::Mounted,
            (false, true) => Self::NotMounted,
            (false, false) => Self::Unsupported,
        }
    }
}

fn check(facts: &Facts) -> State {
    match facts.bpffs {
        Bpffs::Mounted => State::Found(format!("mounted on {MOUNT_POINT}")),
        Bpffs::NotMounted => State::Missing { needed: format!("mounted on {MOUNT_POINT}"), fix: Fix::Setup },
        Bpffs::Unsupported => State::Missing {
            needed: format!("{MOUNT_POINT}, which this kernel or container does not have"),
            fix: Fix::ByHand("use a kernel with CONFIG_BPF_SYSCALL, and mount sysfs on /sys".to_owned()),
        },
    }
}

fn install(_facts: &Facts, project: &Project) -> anyhow::Result<String> {
    let mut mount: Command = tool::command("mount");
    mount.args(["-t", "bpf", "bpf", MOUNT_POINT]);
    logged::run("mounting the BPF file system", &project.log("mount"), &mut mount)?;
    Ok(format!("mounted the BPF file system on {MOUNT_POINT}"))
}

#[cfg(test)]
mod tests {
    use super::Bpffs;

    #[test]
    fn only_a_bpf_file_system_at_its_place_counts() {
        let sysfs = "sysfs /sys sysfs rw,relatime 0 0\n";
        let cases = [
            (format!("{sysfs}bpf /sys/fs/bpf bpf rw,nosuid,mode=700 0 0\n"), true, Bpffs::Mounted),
            (format!("{sysfs}none /sys/fs/bpf tmpfs rw 0 0\n"), true, Bpffs::NotMounted),
            (format!("{sysfs}bpf /run/bpf bpf rw 0 0\n"), true, Bpffs::NotMounted),
            (sysfs.to_owned(), false, Bpffs::Unsupported),
        ];
        for (mounts, exists, expected) in cases {
            assert_eq!(Bpffs::from_mounts(&mounts, exists), expected, "{mounts}");
        }
    }
}
