//! The compiler for the fuzzer's engine (libFuzzer), which is C++.

use super::{Facts, Fix, Purpose, Requirement, State, apt};
use crate::project::Project;
use crate::tool;

/// What it is called by the crate that builds the engine, and its Debian package.
const NAME: &str = "c++";
const PACKAGE: &str = "g++";

pub(super) const REQUIREMENT: Requirement =
    Requirement { what: "C++ compiler", purpose: Purpose::Fuzz, check, install };

/// What it says of itself; none when it is not there or does not run.
pub(super) fn gather() -> Option<String> {
    let said = tool::answer(tool::command(NAME).arg("--version"))?;
    said.lines().next().map(|line| line.trim().to_owned())
}

fn check(facts: &Facts) -> State {
    match &facts.cxx {
        Some(said) => State::Found(said.clone()),
        None => State::Missing {
            needed: "to fuzz".to_owned(),
            fix: Fix::with_apt(facts, "install a C++ compiler called `c++` with your package manager"),
        },
    }
}

fn install(_facts: &Facts, project: &Project) -> anyhow::Result<String> {
    apt::install(project, &[PACKAGE])
}

#[cfg(test)]
mod tests {
    use super::{Facts, Fix, State, check};

    #[test]
    fn it_is_installed_where_there_is_apt() {
        let missing = |apt| match check(&Facts { apt, ..Facts::default() }) {
            State::Missing { fix, .. } => fix,
            State::Found(found) => panic!("found {found}"),
        };
        assert_eq!(missing(true), Fix::Setup);
        assert!(matches!(missing(false), Fix::ByHand(_)));
    }
}
