//! Whether we are root, and what to type when we are not.

use std::{env, fs};

use crate::failure::Failure;

/// How to type a cargo command as root: with the environment and PATH of the user who has rustup.
const SUDO: &str = r#"sudo -E env "PATH=$PATH" cargo xtask"#;

/// Whether this process may do what root may.
pub(crate) fn are_we() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective_uid(&status) == Some(0)
}

/// Fails, with the command to type, unless we are root. `why` completes "this needs root: ".
pub(crate) fn require(why: &str) -> anyhow::Result<()> {
    if are_we() {
        return Ok(());
    }
    let args: Vec<String> = env::args().skip(1).collect();
    Err(Failure::NeedsRoot { why: why.to_owned(), to_type: as_root(&args.join(" ")) }.into())
}

/// The command line for `cargo xtask ARGS` as root.
pub(crate) fn as_root(args: &str) -> String {
    format!("{SUDO} {args}")
}

/// The second number of the `Uid:` line of /proc/PID/status.
fn effective_uid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::effective_uid;

    #[test]
    fn the_effective_uid_is_the_second() {
        let status = "Name:\txtask\nUid:\t1000\t0\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\n";
        assert_eq!(effective_uid(status), Some(0));
        assert_eq!(effective_uid("Name:\txtask\n"), None);
    }
}
