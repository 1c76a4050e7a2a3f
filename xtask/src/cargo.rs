//! Cargo, called from within a program that cargo runs.

use std::env;
use std::process::Command;

use anyhow::Context as _;

use crate::project::Project;
use crate::tool;

/// The cargo that runs us, or the one on the search path, started at the workspace's root.
pub(crate) fn host(project: &Project) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = inherited(cargo);
    command.current_dir(&project.root);
    project.hand_over_bpf_objects(&mut command);
    command
}

/// `cargo`, without the variables that `cargo run` sets for xtask's own package.
///
/// With them build scripts would see other values than under a plain `cargo build`, and run again each time.
pub(crate) fn inherited(cargo: impl Into<std::ffi::OsString>) -> Command {
    let mut command = tool::command(cargo);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_about_xtask) {
            command.env_remove(name);
        }
    }
    command
}

/// What cargo calls this machine.
pub(crate) fn host_triple(project: &Project) -> anyhow::Result<String> {
    rustc(project, "host")
}

/// What the compiler says of itself under this name, as `rustc -vV` prints it.
pub(crate) fn rustc(project: &Project, name: &str) -> anyhow::Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = tool::answer(tool::command(rustc).arg("-vV").current_dir(&project.root));
    let line = said.as_deref().unwrap_or_default().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.map(str::to_owned).with_context(|| format!("`rustc -vV` does not say its {name}"))
}

fn is_about_xtask(name: &str) -> bool {
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

#[cfg(test)]
mod tests {
    use super::is_about_xtask;

    #[test]
    fn the_users_own_settings_are_kept() {
        for name in ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_BUILD_JOBS", "RUSTFLAGS"] {
            assert!(!is_about_xtask(name), "{name}");
        }
        for name in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"] {
            assert!(is_about_xtask(name), "{name}");
        }
    }
}
