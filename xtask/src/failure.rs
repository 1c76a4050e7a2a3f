//! The ways to fail that `main` tells apart, and the exit code of each.

use std::fmt;
use std::path::PathBuf;

/// Something went wrong in a way that has its own message or exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A command was started and did not end well.
    Command {
        /// What it was to do, as in "building the BPF object".
        doing: String,
        /// The command line, as one would type it.
        line: String,
        /// How it ended, as in "exit status: 101".
        status: String,
        /// The file with its output, and the lines of it that say why; none when they went to the terminal.
        output: Option<(PathBuf, String)>,
    },
    /// This needs root.
    NeedsRoot {
        /// Why, as in "`test` makes network namespaces".
        why: String,
        /// The command to type instead.
        to_type: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { doing, line, status, output } => {
                write!(f, "{doing} failed ({status})\n  command: {line}")?;
                if let Some((log, lines)) = output {
                    write!(f, "\n  all of its output: {}\n  what it said:", log.display())?;
                    for line in lines.lines() {
                        write!(f, "\n    {line}")?;
                    }
                }
                Ok(())
            }
            Self::NeedsRoot { why, to_type } => {
                write!(f, "this needs root: {why}. Type:\n  {to_type}")
            }
        }
    }
}

impl std::error::Error for Failure {}

/// The exit code for an error: 2 for a command that must be typed differently, 1 for the rest.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Failure>() {
        Some(Failure::NeedsRoot { .. }) => 2,
        Some(Failure::Command { .. }) | None => 1,
    }
}
