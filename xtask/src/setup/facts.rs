//! What is true of this machine, gathered in one place so that every check is a pure function of it.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::bpf_toolchain::{self, Compiler, Toolchain};
use super::linker::{self, Linker};
use super::manifest_tools::ManifestTools;
use super::{apt, bpffs, packages, programs, root};
use crate::project::Project;

/// What is true of this machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The running kernel's release, as in `6.18.44-cloud-amd64`.
    pub(crate) kernel: String,
    /// The system's tools that are not there.
    pub(crate) missing_tools: Vec<packages::Tool>,
    /// Every compiler that comes with the source of `core`, best first.
    pub(crate) compilers: Vec<Compiler>,
    /// Every bpf-linker that runs, best first.
    pub(crate) linkers: Vec<Linker>,
    /// Whether the kernel has a place for the BPF file system, and whether it is mounted there.
    pub(crate) bpffs: bpffs::Bpffs,
    /// What renders and checks the manifests.
    pub(crate) manifest_tools: ManifestTools,
    /// What buildah says of itself, when it is there.
    pub(crate) buildah: Option<String>,
    /// What the C++ compiler says of itself, when it is there.
    pub(crate) cxx: Option<String>,
    /// Whether packages can be installed with apt-get.
    pub(crate) apt: bool,
    /// Whether we are root.
    pub(crate) root: bool,
}

impl Facts {
    /// Looks at the machine and changes nothing.
    ///
    /// Fails when /proc cannot be read. A linker that does not tell which LLVM it has is tried out on a tiny
    /// program, below the target directory.
    pub(crate) fn gather(project: &Project) -> anyhow::Result<Self> {
        let compilers = bpf_toolchain::gather();
        let linkers = linker::gather(project, &compilers);
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            missing_tools: packages::missing_tools(),
            compilers,
            linkers,
            bpffs: bpffs::Bpffs::from_mounts(&read("/proc/mounts")?, Path::new(bpffs::MOUNT_POINT).is_dir()),
            manifest_tools: ManifestTools::gather(project),
            buildah: programs::buildah(),
            cxx: programs::cxx(),
            apt: apt::is_here(),
            root: root::are_we(),
        })
    }

    /// The compiler and linker to build BPF programs with; `None` while one is missing.
    pub(crate) fn toolchain(&self) -> Option<Toolchain> {
        let choice = bpf_toolchain::choose(self);
        Some(Toolchain { compiler: choice.compiler?.clone(), linker: choice.linker?.clone() })
    }
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}
