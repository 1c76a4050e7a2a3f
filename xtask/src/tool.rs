//! Finding other programs, and starting them.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::Context as _;

use crate::failure::Failure;

/// Searched after PATH: an ordinary user's PATH on Debian lacks them, and `sudo env PATH=…` keeps that PATH.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A command for `program`, which is looked for where `find` looks.
pub(crate) fn command(program: impl Into<OsString>) -> Command {
    let mut command = Command::new(program.into());
    if let Ok(path) = env::join_paths(search_path()) {
        command.env("PATH", path);
    }
    command
}

/// The first executable file of that name on the search path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    find_all(program).into_iter().next()
}

/// All executable files of that name on the search path, in its order, each once.
pub(crate) fn find_all(program: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for directory in search_path() {
        let candidate = directory.join(program);
        if is_executable(&candidate) && !found.contains(&candidate) {
            found.push(candidate);
        }
    }
    found
}

/// Cargo's bin directory, where `cargo install` puts programs: `$CARGO_HOME/bin` or `~/.cargo/bin`.
pub(crate) fn cargo_bin() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
        .map(|home| home.join("bin"))
}

/// What a command prints on standard output; `None` when it cannot be started or does not exit 0.
///
/// For questions to tools that may be missing or broken, where any failure means "not usable".
pub(crate) fn answer(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command with this terminal's input and output, and gives its exit code (128 + n after signal n).
///
/// Fails when the command cannot be started.
pub(crate) fn run_here(command: &mut Command) -> anyhow::Result<u8> {
    let status = command.status().with_context(|| format!("cannot start: {}", line(command)))?;
    Ok(code(status))
}

/// The exit code of a command that has ended, 128 + n after signal n.
pub(crate) fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// Runs a command with this terminal's output; a `Failure` when it does not exit 0.
pub(crate) fn must_succeed(doing: &str, command: &mut Command) -> anyhow::Result<()> {
    match run_here(command)? {
        0 => Ok(()),
        code => Err(Failure::Command {
            doing: doing.to_owned(),
            line: line(command),
            status: format!("exit code {code}"),
            output: None,
        }
        .into()),
    }
}

/// The command line as one would type it: the variables that were set for it, the program, its arguments.
pub(crate) fn line(command: &Command) -> String {
    let variables = command
        .get_envs()
        .filter(|(name, _)| *name != "PATH")
        .filter_map(|(name, value)| Some(format!("{}={}", name.display(), quoted(&value?.to_string_lossy()))));
    let words =
        std::iter::once(command.get_program()).chain(command.get_args()).map(|word| quoted(&word.to_string_lossy()));
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

/// One word for a shell, quoted when it needs to be.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    // Cargo separates encoded flags by the unit separator, which only bash's $'…' can say.
    let escaped = word.replace('\\', "\\\\").replace('\'', "\\'").replace('\x1f', "\\x1f");
    let dollar = if escaped == word { "" } else { "$" };
    format!("{dollar}'{escaped}'")
}

fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    directories.extend(cargo_bin());
    directories.extend(SYSTEM_DIRECTORIES.map(PathBuf::from));
    directories
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::line;

    #[test]
    fn a_command_line_can_be_typed_again() {
        let mut command = Command::new("cargo");
        command.args(["test", "two words", "it's"]).env("FLAGS", "-a\x1f-b").env("PATH", "/x");
        assert_eq!(line(&command), r"FLAGS=$'-a\x1f-b' cargo test 'two words' $'it\'s'");
    }
}
