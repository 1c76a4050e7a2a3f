//! What is said of settings that cannot be.

use std::fmt;

use thiserror::Error;

/// What is wrong with a setting, and where it is set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// As people look for it: `FILE:LINE: key`, `LIMPET_NAME` or `--name`.
    pub place: String,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Why the command line, the environment and the file are no settings. Always wrong usage, but for help and the version.
#[derive(Debug, Error)]
pub enum Refused {
    /// What clap says, which may be help.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// All that is wrong with single settings, a line each.
    #[error("{}", lines(.0))]
    Settings(Vec<Problem>),
}

impl Refused {
    /// One problem.
    pub(super) fn one(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Settings(vec![Problem { place: place.into(), message: message.into() }])
    }

    /// All of these problems, if there are any.
    pub(super) fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self::Settings(problems)) }
    }
}

fn lines(problems: &[Problem]) -> String {
    let line = |problem: &Problem| format!("error: {problem}\n");
    problems.iter().map(line).collect::<String>()
        + "\n`limpet config` shows all settings; `limpet agent --help` explains them."
}
