//! The image: a static `limpet`, built apart from everything else, and nothing beside it but the list of what is in it.
//!
//! Buildah makes it without a daemon, with storage of its own below the target directory: nothing on this machine is
//! changed, and nothing is fetched but what cargo fetches.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

use anyhow::{Context as _, bail, ensure};

use crate::project::Project;
use crate::setup::programs;
use crate::{cargo, logged, supply_chain, tool};

/// The program, the package that it is in, and its name in the image's context.
const PROGRAM: &str = "limpet";
const PACKAGE: &str = "lb-userspace";
/// What the image is made by, below the workspace's root.
const CONTAINERFILE: &str = "deploy/image/Containerfile";
/// What the image is called unless told otherwise: it is in no registry until somebody puts it there.
const REPOSITORY: &str = "localhost/limpet";
/// The version of everything in the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The list of all that is in the program, in the image's context.
const BILL: &str = "sbom.cdx.json";

/// What was made.
pub(crate) struct Image {
    /// The OCI archive.
    pub(crate) archive: PathBuf,
    /// The list of all that is in it, in CycloneDX's JSON; the image has it as well.
    pub(crate) bill: PathBuf,
    /// What the image in it is called.
    pub(crate) tag: String,
    /// How large the archive is.
    pub(crate) bytes: u64,
}

/// Builds program and image. BPF objects and buildah must be there.
///
/// Fails when the program is not static, that is when it does not run in an empty root.
pub(crate) fn build(project: &Project, tag: Option<&str>, output: Option<&Path>) -> anyhow::Result<Image> {
    let tag = tag.map_or_else(|| format!("{REPOSITORY}:{VERSION}"), str::to_owned);
    let archive = output.map_or_else(|| directory(project).join("limpet.tar"), Path::to_owned);
    let archive = std::path::absolute(&archive).with_context(|| format!("{} is no path", archive.display()))?;
    let destination = destination(&archive, &tag)?;

    let program = static_program(project)?;
    let context = fresh(&directory(project).join("context"))?;
    fs::copy(&program, context.join(PROGRAM)).with_context(|| format!("cannot copy {}", program.display()))?;
    runs_in(&context)?;
    let bill = archive.with_extension("cdx.json");
    supply_chain::write_bill(project, &[&context.join(BILL), &bill])?;

    let about = About::of(project);
    let mut make = buildah(project);
    // Nothing runs while it is made, so there is nothing to isolate.
    make.args(["build", "--network", "none", "--pull-never", "--no-cache"]);
    make.args(["--format", "oci", "--tag", &tag]).args(about.flags());
    make.arg("--file").arg(project.root.join(CONTAINERFILE)).arg(&context);
    logged::run("making the image", &project.log("image"), &mut make)?;

    remove_file_if_there(&archive)?;
    let mut push = buildah(project);
    push.args(["push", &tag, &destination]);
    logged::run("writing the archive", &project.log("image-archive"), &mut push)?;
    let mut clean = buildah(project);
    clean.args(["rmi", &tag]);
    logged::run("clearing buildah's storage", &project.log("image-storage"), &mut clean)?;

    let bytes = fs::metadata(&archive).with_context(|| format!("there is no {}", archive.display()))?.len();
    Ok(Image { archive, bill, tag, bytes })
}

/// Builds the program without shared libraries; gives where it is.
fn static_program(project: &Project) -> anyhow::Result<PathBuf> {
    let host = cargo::host_triple(project)?;
    // A directory of its own: with other flags, cargo would build everything anew each time, here and there.
    let target = project.target.join("static");
    let mut build = cargo::host(project);
    build.args(["build", "--release", "--package", PACKAGE, "--bin", PROGRAM]);
    // Named, although it is this machine: procedural macros are built without the flags then, which they must be.
    build.args(["--target", &host]).arg("--target-dir").arg(&target);
    build.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    build.env("CARGO_PROFILE_RELEASE_DEBUG", "0").env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    logged::run("building a static limpet", &project.log("build-static"), &mut build)?;
    Ok(target.join(&host).join("release").join(PROGRAM))
}

/// Runs the program with nothing else to be found, and asks for its version.
fn runs_in(root: &Path) -> anyhow::Result<()> {
    let mut ask = tool::command("chroot");
    ask.arg(root).arg(format!("/{PROGRAM}")).arg("--version");
    let said = ask.output().with_context(|| format!("cannot start: {}", tool::line(&ask)))?;
    let expected = format!("{PROGRAM} {VERSION}");
    ensure!(
        String::from_utf8_lossy(&said.stdout).trim() == expected,
        "limpet does not run in an empty root, so it is not static, or not of this version: `{}` should say {expected:?} \
         and says {:?} {:?} ({})",
        tool::line(&ask),
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr),
        said.status
    );
    Ok(())
}

/// Buildah, with everything that it keeps below the target directory.
fn buildah(project: &Project) -> Command {
    let directory = directory(project);
    let mut command = tool::command(programs::BUILDAH);
    command.arg("--root").arg(directory.join("storage")).arg("--runroot").arg(directory.join("run"));
    // Copies files instead of stacking file systems: works everywhere, and there is one layer to copy.
    command.args(["--storage-driver", "vfs"]);
    command
}

fn directory(project: &Project) -> PathBuf {
    project.target.join("image")
}

/// An OCI archive and the name in it, as buildah writes them.
fn destination(archive: &Path, tag: &str) -> anyhow::Result<String> {
    let path = archive.to_str().with_context(|| format!("{} is not UTF-8", archive.display()))?;
    if path.contains(':') {
        bail!("{path} has a colon, which buildah takes for the end of the path; name another with --output");
    }
    Ok(format!("oci-archive:{path}:{tag}"))
}

/// An empty directory.
fn fresh(directory: &Path) -> anyhow::Result<PathBuf> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", directory.display()));
        }
        _ => {}
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make the directory {}", directory.display()))?;
    Ok(directory.to_owned())
}

/// Buildah adds to an archive that is there.
fn remove_file_if_there(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// What the image says of where it comes from.
#[derive(Debug, Default, PartialEq, Eq)]
struct About {
    /// The commit; none outside a repository.
    revision: Option<String>,
    /// Seconds since 1970 of that commit, so that the same commit gives the same image.
    seconds: Option<String>,
}

impl About {
    /// Asks git; `SOURCE_DATE_EPOCH` overrules its time.
    fn of(project: &Project) -> Self {
        let git = |format: &str| {
            let mut git = tool::command("git");
            git.args(["log", "-1", &format!("--format={format}"), "HEAD"]).current_dir(&project.root);
            tool::answer(&mut git).map(|said| said.trim().to_owned()).filter(|said| !said.is_empty())
        };
        let seconds = env::var("SOURCE_DATE_EPOCH").ok().or_else(|| git("%ct"));
        Self { revision: git("%H"), seconds }
    }

    /// The same as flags of buildah.
    fn flags(&self) -> Vec<String> {
        let label = |key: &str, value: &str| format!("--label=org.opencontainers.image.{key}={value}");
        let mut flags = vec![label("version", VERSION)];
        flags.extend(self.revision.iter().map(|revision| label("revision", revision)));
        flags.extend(self.seconds.iter().map(|seconds| format!("--timestamp={seconds}")));
        flags
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{About, Project, VERSION, destination};

    #[test]
    fn an_archive_is_named_for_buildah() {
        let named = destination(Path::new("/t/limpet.tar"), "r.example:5000/limpet:1").unwrap();
        assert_eq!(named, "oci-archive:/t/limpet.tar:r.example:5000/limpet:1");
        assert!(destination(Path::new("/t/a:b.tar"), "x").unwrap_err().to_string().contains("--output"));
    }

    #[test]
    fn git_is_asked_for_the_commit() {
        let project = Project::find().unwrap();
        // A tree without a repository has no commit to tell.
        let is_repository = project.root.join(".git").exists();
        let About { revision, seconds } = About::of(&project);
        assert_eq!(revision.as_ref().map(String::len), is_repository.then_some(40), "{revision:?}");
        assert!(!is_repository || seconds.is_some_and(|seconds| seconds.parse::<u64>().is_ok()));
    }

    #[test]
    fn the_image_says_where_it_comes_from_as_far_as_that_is_known() {
        let version = format!("--label=org.opencontainers.image.version={VERSION}");
        assert_eq!(About::default().flags(), [version.as_str()]);
        let known = About { revision: Some("abc".to_owned()), seconds: Some("7".to_owned()) };
        let revision = "--label=org.opencontainers.image.revision=abc";
        assert_eq!(known.flags(), [version.as_str(), revision, "--timestamp=7"]);
    }
}
