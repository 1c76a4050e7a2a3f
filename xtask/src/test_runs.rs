//! How all tests are run: what waits most of the time side by side, what takes the whole machine by itself.
//!
//! The lab and the rest share nothing but the processor, and the lab's tests wait more than they work. So the two run at
//! the same time: the lab's output goes to the terminal, the other's to a log file that is printed when it has ended.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

use crate::logged;
use crate::progress::say;
use crate::project::{BPF_PACKAGE, Project};
use crate::{cargo, tool};

/// The package whose tests run in the lab.
const LAB_PACKAGE: &str = "limpet-lab";
/// Tests that load the machine as much as they can, or wait for what a busy machine does late: what else ran meanwhile would
/// be judged for it.
const BY_THEMSELVES: [&str; 5] = ["crash", "faults", "flood", "soak", "upgrade"];

/// Runs every test there is; gives the exit code, 0 when all have passed. A test that fails stops no other.
///
/// # Errors
/// When cargo cannot be started, or the log cannot be written or read.
pub(crate) fn all(project: &Project) -> anyhow::Result<u8> {
    let Groups { lab, by_themselves, others } = Groups::of(&project.tests);
    let log = project.log("test-beside-the-lab");
    let mut beside = run(project, &others);
    beside.args(["--lib", "--bins"]);
    let beside = Beside::start(beside, log)?;
    let mut worst = tool::run_here(&mut run(project, &lab))?;
    worst = worst.max(beside.end()?);
    if !by_themselves.is_empty() {
        worst = worst.max(tool::run_here(&mut run(project, &by_themselves))?);
    }
    let mut examples = run(project, &[]);
    examples.arg("--doc");
    Ok(worst.max(tool::run_here(&mut examples)?))
}

/// `cargo test` of these test programs. Always of the whole workspace, or features would be others and all be built again.
fn run(project: &Project, programs: &[&str]) -> Command {
    let mut command = cargo::host(project);
    command.args(["test", "--no-fail-fast", "--workspace", "--exclude", BPF_PACKAGE]);
    for program in programs {
        command.args(["--test", program]);
    }
    command
}

/// Test programs by how they run.
#[derive(Debug, Eq, PartialEq)]
struct Groups<'a> {
    lab: Vec<&'a str>,
    by_themselves: Vec<&'a str>,
    others: Vec<&'a str>,
}

impl<'a> Groups<'a> {
    /// `tests` are a package's name and a program's name each.
    fn of(tests: &'a [(String, String)]) -> Self {
        let mut groups = Self { lab: Vec::new(), by_themselves: Vec::new(), others: Vec::new() };
        for (package, program) in tests.iter().filter(|(package, _)| package != BPF_PACKAGE) {
            let group = if package != LAB_PACKAGE {
                &mut groups.others
            } else if BY_THEMSELVES.contains(&program.as_str()) {
                &mut groups.by_themselves
            } else {
                &mut groups.lab
            };
            group.push(program);
        }
        groups
    }
}

/// A run whose output waits in a file.
struct Beside {
    child: Child,
    line: String,
    log: PathBuf,
}

impl Beside {
    fn start(mut command: Command, log: PathBuf) -> anyhow::Result<Self> {
        let file = logged::create(&log)?;
        let errors = file.try_clone().context("cannot share the log file with a command")?;
        let line = tool::line(&command);
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = command.spawn().with_context(|| format!("cannot start: {line}"))?;
        say(&format!("beside the lab's tests, with its output in {}: {line}", log.display()));
        Ok(Self { child, line, log })
    }

    /// Waits for its end and prints what it said.
    fn end(mut self) -> anyhow::Result<u8> {
        let status = self.child.wait().with_context(|| format!("cannot wait for: {}", self.line))?;
        let said = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        say(&format!("ran beside the lab's tests: {}", self.line));
        println!("{}", String::from_utf8_lossy(&said));
        Ok(tool::code(status))
    }
}

#[cfg(test)]
mod tests {
    use super::Groups;

    #[test]
    fn every_program_is_in_one_group() {
        let tests = [
            ("lb-ebpf", "never"),
            ("lb-userspace", "kube"),
            ("limpet-lab", "flood"),
            ("limpet-lab", "lab"),
            ("other", "flood"),
        ]
        .map(|(package, program)| (package.to_owned(), program.to_owned()));
        let expected = Groups { lab: vec!["lab"], by_themselves: vec!["flood"], others: vec!["kube", "flood"] };
        assert_eq!(Groups::of(&tests), expected);
    }
}
