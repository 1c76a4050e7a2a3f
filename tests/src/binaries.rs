//! Where the programs are that the lab starts.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The load balancer: agent and command line.
pub(crate) fn limpet() -> Result<PathBuf> {
    find("limpet", "LIMPET_BIN", "cargo xtask build")
}

/// The same with another layout of its maps.
pub(crate) fn limpet_other() -> Result<PathBuf> {
    find("limpet-other", "LIMPET_OTHER_BIN", "cargo xtask build")
}

/// This package's own program: servers, the janitor and the launcher.
pub(crate) fn limpet_lab() -> Result<PathBuf> {
    find("limpet-lab", "LIMPET_LAB_BIN", "cargo build --package limpet-lab")
}

/// Looks at the environment variable, then beside the current program, then one directory up:
/// test programs lie in `target/debug/deps`, the others in `target/debug`.
fn find(name: &str, variable: &str, how_to_build: &str) -> Result<PathBuf> {
    if let Some(path) = env::var_os(variable).map(PathBuf::from) {
        if path.is_file() {
            return Ok(path);
        }
        bail!("{variable} says {}, which is not a file", path.display());
    }
    let current = env::current_exe().context("cannot tell where this program lies")?;
    let directory = current.parent().unwrap_or(Path::new("/"));
    let candidates = [Some(directory), directory.parent()];
    candidates.into_iter().flatten().map(|directory| directory.join(name)).find(|path| path.is_file()).with_context(
        || {
            format!(
                "there is no `{name}` in {} or above it; run `{how_to_build}`, or say where it is \
                 with {variable}",
                directory.display()
            )
        },
    )
}
