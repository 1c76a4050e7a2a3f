//! Fuzzing: builds the targets of tests/fuzz, runs them side by side, and says what they found.
//!
//! The layout is cargo-fuzz's, which works as well where there is a nightly compiler. This does without: only our own crates
//! count their branches (tests/fuzz/instrument), so that everything else is what all other builds use, and a build from
//! nothing takes a minute or two, not ten. Integer overflows and debug assertions panic; no address sanitizer, since the code
//! in question is safe Rust.

mod outcome;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

use self::outcome::Outcome;
use crate::progress::{Progress, say};
use crate::project::{Profile, Project};
use crate::{cargo, logged, tool};

/// The targets' workspace, below the project's root.
const WORKSPACE: &str = "tests/fuzz";
/// Longest input that is tried, in bytes.
const MAX_INPUT: u32 = 4096;
/// An input may take so long, in seconds, also on a busy machine.
const MAX_SECONDS: u32 = 20;
/// An input may not make the target hold so much, in MiB.
const MAX_MEBIBYTES: u32 = 1024;
/// How often running targets are looked at.
const POLL: Duration = Duration::from_millis(200);

/// The targets with these names, or all.
///
/// # Errors
/// When there is none of a name, or the directory cannot be read.
pub(crate) fn choose(project: &Project, names: &[String]) -> anyhow::Result<Vec<String>> {
    let directory = project.root.join(WORKSPACE).join("fuzz_targets");
    let mut all = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", directory.display()))?.path();
        all.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    all.sort();
    match names.iter().find(|name| !all.contains(name)) {
        Some(unknown) => bail!("there is no target `{unknown}`; there are {}", all.join(", ")),
        None if names.is_empty() => Ok(all),
        None => Ok(names.to_vec()),
    }
}

/// Builds all targets at once.
pub(crate) fn build(project: &Project) -> anyhow::Result<()> {
    let workspace = project.root.join(WORKSPACE);
    let mut build = cargo::host(project);
    build.args(["build", "--bins", "--manifest-path"]).arg(workspace.join("Cargo.toml"));
    // The same as for everything else: what both need is there already.
    build.arg("--target-dir").arg(&project.target);
    build.env("RUSTC_WRAPPER", workspace.join("instrument"));
    logged::run("building the fuzz targets", &project.log("build-fuzz"), &mut build)
}

/// Runs the targets side by side; gives how many of them found something, which is printed.
///
/// # Errors
/// When one cannot be started, or ends badly without having found anything.
pub(crate) fn run(project: &Project, targets: &[String], seconds: u32) -> anyhow::Result<usize> {
    let mut runs = Vec::new();
    for target in targets {
        runs.push(Run::start(project, target, seconds)?);
    }
    let mut progress = Progress::start(&format!("fuzzing {} for {seconds} s", targets.join(", ")));
    while runs.iter_mut().any(Run::is_running) {
        progress.tick(|| runs.iter().map(Run::executions).collect::<Vec<_>>().join(", "));
        thread::sleep(POLL);
    }
    progress.done();

    let mut found = 0;
    for run in runs {
        let outcome = run.end()?;
        say(&outcome.text());
        found += usize::from(outcome.is_finding());
    }
    Ok(found)
}

/// A target that runs.
struct Run {
    target: String,
    program: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Run {
    fn start(project: &Project, target: &str, seconds: u32) -> anyhow::Result<Self> {
        let workspace = project.root.join(WORKSPACE);
        let grown = made(project.target.join("fuzz-corpus").join(target))?;
        let findings = made(project.target.join("fuzz").join(target))?;
        let program = project.results(Profile::Dev).join(target);
        let log = project.log(&format!("fuzz-{target}"));
        let mut command = fuzzer(&program, seconds);
        // libFuzzer puts this in front of a file's name as it is.
        command.arg(format!("-artifact_prefix={}/", findings.display()));
        let words = workspace.join("dictionaries").join(format!("{target}.dict"));
        if words.is_file() {
            command.arg(format!("-dict={}", words.display()));
        }
        // What is learnt goes into the first directory; the second is only read.
        command.arg(grown).arg(workspace.join("corpus").join(target));
        let (output, errors) = streams(&log)?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().with_context(|| format!("cannot start: {}", tool::line(&command)))?;
        Ok(Self { target: target.to_owned(), program, log, child })
    }

    fn is_running(&mut self) -> bool {
        // What cannot be waited for is waited for at the end, and the error told there.
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How far it has come, for the progress line.
    fn executions(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        format!("{} {}", self.target, outcome::so_far(&log).unwrap_or(0))
    }

    fn end(mut self) -> anyhow::Result<Outcome> {
        let status = self.child.wait().with_context(|| format!("cannot wait for {}", self.program.display()))?;
        let log =
            fs::read(&self.log).with_context(|| format!("cannot read the target's output, {}", self.log.display()))?;
        let outcome = Outcome::read(self.target, &String::from_utf8_lossy(&log), &self.program);
        if !status.success() && !outcome.is_finding() {
            bail!("{} ended with {status} and no finding; its output: {}", self.program.display(), self.log.display());
        }
        Ok(outcome)
    }
}

/// The target with libFuzzer's options (https://llvm.org/docs/LibFuzzer.html#options).
fn fuzzer(program: &Path, seconds: u32) -> Command {
    let mut command = tool::command(program);
    command.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1");
    command.arg(format!("-max_len={MAX_INPUT}"));
    command.arg(format!("-timeout={MAX_SECONDS}")).arg(format!("-report_slow_units={MAX_SECONDS}"));
    command.arg(format!("-rss_limit_mb={MAX_MEBIBYTES}"));
    command
}

/// A directory, which is made where it is not there.
fn made(directory: PathBuf) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(&directory).with_context(|| format!("cannot make the directory {}", directory.display()))?;
    Ok(directory)
}

fn streams(log: &Path) -> anyhow::Result<(File, File)> {
    let output = logged::create(log)?;
    let errors = output.try_clone().context("cannot share the log file with a fuzz target")?;
    Ok((output, errors))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// The value of a line `key = "value"` of a package in a lock file.
    fn value<'a>(package: &'a str, key: &str) -> &'a str {
        let mut lines = package.lines();
        let line = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.unwrap_or_default().trim_matches('"')
    }

    fn packages(lock: &str) -> BTreeSet<(&str, &str)> {
        lock.split("[[package]]").skip(1).map(|package| (value(package, "name"), value(package, "version"))).collect()
    }

    /// Else what both workspaces need would be built twice, and fuzzed in another version than it is used in.
    #[test]
    fn the_targets_are_built_with_the_versions_of_the_workspace() {
        let ours = packages(include_str!("../../Cargo.lock"));
        let theirs = packages(include_str!("../../tests/fuzz/Cargo.lock"));
        let names: BTreeSet<&str> = ours.iter().map(|(name, _)| *name).collect();
        let shared: Vec<_> = theirs.iter().filter(|(name, _)| names.contains(name)).collect();
        assert!(shared.len() > 100, "{} packages are shared", shared.len());
        let others: Vec<_> = shared.into_iter().filter(|package| !ours.contains(package)).collect();
        assert!(others.is_empty(), "`cargo update --precise` them in tests/fuzz: {others:?}");
    }
}
