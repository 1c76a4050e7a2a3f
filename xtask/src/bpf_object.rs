//! Building the BPF programs, and putting their objects where user space looks for them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::progress::say;
use crate::project::{BPF_PACKAGE, Project};
use crate::setup::Toolchain;
use crate::{cargo, logged};

/// Rust's name for BPF programs of a little-endian machine.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Builds every program of the BPF package, and copies the objects that changed.
///
/// An object that did not change keeps its time stamp, so that user space is not built again for nothing.
pub(crate) fn build(project: &Project, toolchain: &Toolchain) -> anyhow::Result<()> {
    let mut command = in_package(project, toolchain, "cargo", "build");
    command.arg("--release");
    logged::run("building the BPF programs", &project.log("bpf-build"), &mut command)?;

    let built = project.bpf_target().join(TARGET).join("release");
    for program in &project.bpf_programs {
        let object = project.bpf_object(program);
        if copy_if_changed(&built.join(program), &object)? {
            say(&format!("new    {}", object.display()));
        }
    }
    Ok(())
}

/// Builds the program with another layout of the maps; gives where its object is. The ordinary one is put back by the next
/// [`build`], and was copied elsewhere before.
pub(crate) fn build_other_layout(project: &Project, toolchain: &Toolchain) -> anyhow::Result<PathBuf> {
    const PROGRAM: &str = "limpet-bpf";
    let mut command = in_package(project, toolchain, "cargo", "build");
    command.args(["--release", "--bin", PROGRAM, "--features", "other-layout"]);
    logged::run("building the BPF programs with another layout", &project.log("bpf-other-layout"), &mut command)?;
    let object = project.bpf_object("limpet-other-bpf");
    copy_if_changed(&project.bpf_target().join(TARGET).join("release").join(PROGRAM), &object)?;
    Ok(object)
}

/// The command that runs clippy on the BPF package, warnings being errors.
pub(crate) fn clippy(project: &Project, toolchain: &Toolchain) -> Command {
    // Asked for by its own name: `cargo clippy` would look in cargo's bin directory first, and find rustup's.
    let mut command = in_package(project, toolchain, "cargo-clippy", "clippy");
    command.env("CARGO", toolchain.compiler.bin.join("cargo"));
    command.args(["--release", "--", "-D", "warnings"]);
    command
}

/// Whether a toolchain builds a BPF program at all: a tiny one, below the target directory.
pub(crate) fn links(project: &Project, toolchain: &Toolchain) -> bool {
    const MANIFEST: &str = "[package]\nname = \"probe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n";
    const SOURCE: &str = r#"#![no_std]
#![no_main]

#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
extern "C" fn probe(_context: *mut u8) -> u32 {
    2
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
"#;
    let attempt = || -> anyhow::Result<()> {
        let directory = project.target.join("xtask/probe");
        fs::create_dir_all(directory.join("src"))?;
        copy_bytes_if_changed(MANIFEST.as_bytes(), &directory.join("Cargo.toml"))?;
        copy_bytes_if_changed(SOURCE.as_bytes(), &directory.join("src/main.rs"))?;
        let mut command = with_toolchain(toolchain, "cargo", "build");
        command.arg("--release").current_dir(&directory);
        command.arg("--target-dir").arg(directory.join("target"));
        let doing = format!("trying {} out", toolchain.linker.path.display());
        logged::run(&doing, &project.log("probe"), &mut command)
    };
    attempt().is_ok()
}

/// A cargo command on the BPF package.
fn in_package(project: &Project, toolchain: &Toolchain, program: &str, subcommand: &str) -> Command {
    let mut command = with_toolchain(toolchain, program, subcommand);
    command.args(["--package", BPF_PACKAGE]).current_dir(&project.root);
    command.arg("--target-dir").arg(project.bpf_target());
    command
}

/// A cargo command for BPF, wholly on that toolchain: nothing of the one that runs us leaks in.
fn with_toolchain(toolchain: &Toolchain, program: &str, subcommand: &str) -> Command {
    const OF_ANOTHER_TOOLCHAIN: [&str; 8] = [
        "CARGO",
        "CARGO_BUILD_TARGET",
        "CARGO_TARGET_DIR",
        "LD_LIBRARY_PATH",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
    ];
    let compiler = &toolchain.compiler;
    let mut command = cargo::inherited(compiler.bin.join(program));
    for variable in OF_ANOTHER_TOOLCHAIN {
        command.env_remove(variable);
    }
    command.env("RUSTC", compiler.bin.join("rustc"));
    if compiler.bootstrap {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain).join("\x1f"));
    command.args([subcommand, "--target", TARGET, "-Z", "build-std=core"]);
    command
}

/// The compiler's flags.
fn flags(toolchain: &Toolchain) -> Vec<String> {
    vec![
        // aya-ebpf asks for it to know the registers of the machine.
        format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        // Types for BTF come out of the debug information.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", toolchain.linker.path.display()),
        // The first with 32-bit jumps and all atomics; in every kernel that we run on (since 5.12).
        "-Ctarget-cpu=v3".to_owned(),
        // Headers are read a word at a time; x86-64 and arm64 both allow it. Byte by byte, the ingress program needs more
        // than the 512 bytes of stack that there are.
        "-Clink-arg=--cpu-features=+allows-misaligned-mem-access".to_owned(),
    ]
}

/// Copies a file unless the bytes are there already; gives whether it did.
fn copy_if_changed(from: &Path, to: &Path) -> anyhow::Result<bool> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    copy_bytes_if_changed(&bytes, to)
}

/// Writes a file, whole or not at all, unless the bytes are there already; gives whether it did.
fn copy_bytes_if_changed(bytes: &[u8], to: &Path) -> anyhow::Result<bool> {
    match fs::read(to) {
        Ok(old) if old == bytes => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", to.display())),
    }
    let new = to.with_extension("new");
    fs::write(&new, bytes).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(true)
}
