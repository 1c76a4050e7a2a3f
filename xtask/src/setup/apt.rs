//! Debian packages: what is installed, and installing them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::project::Project;
use crate::{logged, tool};

/// How long apt-get waits for another one, such as the unattended upgrades of a fresh machine.
const LOCK_WAIT: &str = "DPkg::Lock::Timeout=300";

/// Whether this machine installs its packages with apt-get.
pub(super) fn is_here() -> bool {
    tool::find("apt-get").is_some() && tool::find("dpkg-query").is_some()
}

/// Installs those of the packages that are not installed; says in one line what was done.
///
/// The package lists are only fetched when a package is not known, or cannot be installed from the lists that
/// there are. Fails when a package is not there afterwards.
pub(super) fn install(project: &Project, packages: &[&str]) -> anyhow::Result<String> {
    let missing = not_installed(packages);
    if missing.is_empty() {
        bail!("{} are installed, and yet what they bring was not found", packages.join(", "));
    }
    if !all_known(&missing) {
        update(project)?;
    }
    if get(project, &missing).is_err() {
        update(project)?;
        get(project, &missing)?;
    }
    let still = not_installed(&missing);
    if !still.is_empty() {
        bail!("apt-get reports no error, but these are not installed: {}", still.join(", "));
    }
    Ok(format!("installed the Debian packages {}", missing.join(", ")))
}

/// Brings installed packages to the newest version that the archive has; says in one line what was done.
pub(super) fn upgrade(project: &Project, packages: &[&str]) -> anyhow::Result<String> {
    update(project)?;
    get(project, packages)?;
    Ok(format!("brought the Debian packages {} up to date", packages.join(", ")))
}

/// Unpacks a package that is not to be installed into a directory; says in one line what was done.
///
/// Fails when the archive cannot be reached or does not have it.
pub(super) fn unpack(project: &Project, package: &str, to: &Path) -> anyhow::Result<String> {
    if !all_known(&[package]) {
        update(project)?;
    }
    // A fresh directory: whatever lies there afterwards is what was fetched.
    let fetched = project.tools().join("fetched");
    if fetched.exists() {
        fs::remove_dir_all(&fetched).with_context(|| format!("cannot remove {}", fetched.display()))?;
    }
    fs::create_dir_all(&fetched).with_context(|| format!("cannot make the directory {}", fetched.display()))?;
    if download(project, package, &fetched).is_err() {
        update(project)?;
        download(project, package, &fetched)?;
    }
    let archive = fs::read_dir(&fetched)
        .with_context(|| format!("cannot read {}", fetched.display()))?
        .next()
        .with_context(|| format!("apt-get reports no error, but fetched no {package}"))?
        .with_context(|| format!("cannot read {}", fetched.display()))?;
    let mut unpack = tool::command("dpkg-deb");
    unpack.arg("--extract").arg(archive.path()).arg(to);
    logged::run(&format!("unpacking {package}"), &project.log("dpkg-deb"), &mut unpack)?;
    Ok(format!("unpacked the Debian package {package} into {}", to.display()))
}

/// Those of the packages that are not installed.
pub(super) fn not_installed<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut query = tool::command("dpkg-query");
    query.args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"]).args(packages);
    // It exits 1 as soon as one package is unknown, and still lists the others.
    let listed = query.output().map(|output| output.stdout).unwrap_or_default();
    absent(packages, &String::from_utf8_lossy(&listed))
}

fn update(project: &Project) -> anyhow::Result<()> {
    let mut command = apt_get();
    command.arg("update");
    logged::run("fetching the package lists", &project.log("apt-update"), &mut command)
}

fn get(project: &Project, packages: &[&str]) -> anyhow::Result<()> {
    let mut command = apt_get();
    command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    let doing = format!("installing {}", packages.join(", "));
    logged::run(&doing, &project.log("apt-install"), &mut command)
        .with_context(|| format!("Debian's archive, security updates included, must have {}", packages.join(", ")))
}

fn download(project: &Project, package: &str, to: &Path) -> anyhow::Result<()> {
    let mut command = apt_get();
    command.args(["download", package]).current_dir(to);
    logged::run(&format!("fetching {package}"), &project.log("apt-download"), &mut command)
        .with_context(|| format!("Debian's archive, security updates included, must have {package}"))
}

fn apt_get() -> Command {
    let mut command = tool::command("apt-get");
    command.args(["-o", LOCK_WAIT]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn all_known(packages: &[&str]) -> bool {
    packages.iter().all(|package| {
        let policy = tool::answer(tool::command("apt-cache").args(["policy", package]).env("LC_ALL", "C"));
        has_candidate(&policy.unwrap_or_default())
    })
}

/// Reads lines `PACKAGE STATUS` of dpkg-query.
fn absent<'a>(packages: &[&'a str], listed: &str) -> Vec<&'a str> {
    let installed = |package: &str| listed.lines().any(|line| line.split_once(' ') == Some((package, "installed")));
    packages.iter().copied().filter(|package| !installed(package)).collect()
}

/// Reads `apt-cache policy` of one package: is there a version to install?
fn has_candidate(policy: &str) -> bool {
    policy.lines().filter_map(|line| line.trim().strip_prefix("Candidate: ")).any(|candidate| candidate != "(none)")
}

#[cfg(test)]
mod tests {
    use super::{absent, has_candidate};

    #[test]
    fn removed_and_unknown_packages_are_absent() {
        let listed = "ethtool installed\niproute2 config-files\nethtool-dbg not-installed\n";
        assert_eq!(absent(&["ethtool", "iproute2", "gcc"], listed), ["iproute2", "gcc"]);
    }

    #[test]
    fn a_package_is_known_when_it_has_a_candidate() {
        let known = "gcc:\n  Installed: (none)\n  Candidate: 4:12.2.0-3\n";
        assert!(has_candidate(known));
        assert!(!has_candidate("gcc:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_candidate(""));
    }
}
