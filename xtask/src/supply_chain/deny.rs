//! cargo-deny: licences, sources, versions and known holes of what we depend on, as `.cargo/deny.toml` wants them.
//!
//! Not part of set-up and of the tests: building it takes some minutes, and known holes need the network.

use std::path::PathBuf;

use anyhow::ensure;

use crate::project::Project;
use crate::{cargo, logged, tool};

/// The program's name, and that of its crate.
const NAME: &str = "cargo-deny";
/// The version that is built.
const VERSION: &str = "0.20.2";
/// What it looks at without the network.
const OFFLINE: [&str; 3] = ["bans", "licenses", "sources"];
/// The program's own name for known holes.
const ADVISORIES: &str = "advisories";

/// Checks all of it; without a network, all but known holes. Builds cargo-deny where it is not there.
pub(crate) fn check(project: &Project, is_offline: bool) -> anyhow::Result<u8> {
    let program = program(project)?;
    let mut check = tool::command(program);
    check.current_dir(&project.root).args(is_offline.then_some("--offline"));
    check.arg("check").args(OFFLINE).args((!is_offline).then_some(ADVISORIES));
    tool::run_here(&mut check)
}

/// The program, below the directory for tools.
fn program(project: &Project) -> anyhow::Result<PathBuf> {
    let root = project.tools().join(NAME);
    let program = root.join("bin").join(NAME);
    if version(&program).as_deref() == Some(VERSION) {
        return Ok(program);
    }
    let mut build = cargo::host(project);
    // Without a library for git: cargo itself asks the registry.
    build.args(["install", NAME, "--version", VERSION, "--locked", "--no-default-features", "--force"]);
    build.arg("--debug").arg("--root").arg(&root);
    logged::run("building cargo-deny, once for this clone", &project.log(NAME), &mut build)?;
    ensure!(version(&program).as_deref() == Some(VERSION), "{} was built and does not run", program.display());
    Ok(program)
}

fn version(program: &PathBuf) -> Option<String> {
    let said = tool::answer(tool::command(program).arg("--version"))?;
    said.split_whitespace().last().map(str::to_owned)
}
