//! Programs of one Debian package each: the compiler for the fuzzer's engine (libFuzzer is C++), and Buildah, which makes the
//! image without a daemon.

use super::{Facts, Fix, Purpose, Requirement, State, apt};
use crate::tool;

/// What a C++ compiler is called by the crate that builds the engine.
const CXX: &str = "c++";
/// The program that makes the image. Only `cargo xtask image` asks for it.
pub(crate) const BUILDAH: &str = "buildah";

pub(super) const ENGINE: Requirement = Requirement {
    what: "C++ compiler",
    purpose: Purpose::Fuzz,
    check: |facts| state(facts, facts.cxx.as_ref(), "to fuzz", "install a C++ compiler called `c++`"),
    install: |_, project| apt::install(project, &["g++"]),
};

pub(super) const IMAGE: Requirement = Requirement {
    what: BUILDAH,
    purpose: Purpose::Package,
    check: |facts| state(facts, facts.buildah.as_ref(), "to make the image", "install buildah"),
    install: |_, project| apt::install(project, &[BUILDAH]),
};

/// What a C++ compiler says of itself; none when there is none that runs.
pub(super) fn cxx() -> Option<String> {
    said_by(CXX)
}

/// What Buildah says of itself; none when it is not there or does not run.
pub(super) fn buildah() -> Option<String> {
    said_by(BUILDAH)
}

fn said_by(program: &str) -> Option<String> {
    let said = tool::answer(tool::command(program).arg("--version"))?;
    said.lines().next().map(|line| line.trim().to_owned())
}

fn state(facts: &Facts, found: Option<&String>, needed: &str, by_hand: &str) -> State {
    match found {
        Some(said) => State::Found(said.clone()),
        None => State::Missing {
            needed: needed.to_owned(),
            fix: Fix::with_apt(facts, format!("{by_hand} with your package manager")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{ENGINE, Facts, Fix, IMAGE, State};

    #[test]
    fn they_are_installed_where_there_is_apt() {
        for requirement in [ENGINE, IMAGE] {
            let missing = |apt| match (requirement.check)(&Facts { apt, ..Facts::default() }) {
                State::Missing { fix, .. } => fix,
                State::Found(found) => panic!("found {found}"),
            };
            assert_eq!(missing(true), Fix::Setup, "{}", requirement.what);
            assert!(matches!(missing(false), Fix::ByHand(_)), "{}", requirement.what);
        }
    }
}
