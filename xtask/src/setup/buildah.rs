//! Buildah, which makes the image without a daemon. Only `cargo xtask image` asks for it.

use super::{Facts, Fix, Purpose, Requirement, State, apt};
use crate::project::Project;
use crate::tool;

/// The program, and its Debian package.
pub(crate) const NAME: &str = "buildah";

pub(super) const REQUIREMENT: Requirement = Requirement { what: NAME, purpose: Purpose::Package, check, install };

/// What it says of itself; none when it is not there or does not run.
pub(super) fn gather() -> Option<String> {
    tool::answer(tool::command(NAME).arg("--version")).map(|said| said.trim().to_owned())
}

fn check(facts: &Facts) -> State {
    match &facts.buildah {
        Some(said) => State::Found(said.clone()),
        None => State::Missing {
            needed: "to make the image".to_owned(),
            fix: Fix::with_apt(facts, "install buildah with your package manager"),
        },
    }
}

fn install(_facts: &Facts, project: &Project) -> anyhow::Result<String> {
    apt::install(project, &[NAME])
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
