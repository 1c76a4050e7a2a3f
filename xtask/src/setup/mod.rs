//! What this machine must have, in one list: `doctor` prints it, `setup` installs what it says is missing.

mod apt;
mod bpf_toolchain;
mod bpffs;
mod facts;
mod kernel;
mod linker;
mod manifest_tools;
mod packages;
pub(crate) mod programs;
pub(crate) mod report;
pub(crate) mod root;

use anyhow::{Context as _, bail};

pub(crate) use bpf_toolchain::Toolchain;
pub(crate) use facts::Facts;
pub(crate) use linker::Linker;
pub(crate) use manifest_tools::ManifestTools;

use crate::progress::say;
use crate::project::Project;

/// One thing that must be there.
pub(crate) struct Requirement {
    /// Its name in `doctor`'s table.
    pub(crate) what: &'static str,
    /// What it is needed for.
    purpose: Purpose,
    /// Decides from the facts whether it is there.
    pub(crate) check: fn(&Facts) -> State,
    /// Installs it as root, and says in one line what was done. Only called when `check` says `Fix::Setup`.
    install: fn(&Facts, &Project) -> anyhow::Result<String>,
}

/// What something is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Building and linting.
    Build,
    /// Running programs in the kernel, and making the lab.
    Run,
    /// Rendering and checking the manifests.
    Render,
    /// Looking for inputs that break something.
    Fuzz,
    /// Running the tests: all of the above.
    Test,
    /// Making the image.
    Package,
}

impl Purpose {
    /// Whether this needs what `other` needs.
    fn includes(self, other: Self) -> bool {
        match self {
            Self::Build => matches!(other, Self::Build),
            Self::Run => matches!(other, Self::Build | Self::Run),
            Self::Render => matches!(other, Self::Render),
            Self::Fuzz => matches!(other, Self::Build | Self::Fuzz),
            Self::Test => matches!(other, Self::Build | Self::Run | Self::Render | Self::Fuzz | Self::Test),
            Self::Package => matches!(other, Self::Build | Self::Package),
        }
    }
}

/// Whether something is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is; what was found.
    Found(String),
    /// It is not.
    Missing {
        /// What is needed, and what was found instead.
        needed: String,
        /// What to do about it.
        fix: Fix,
    },
}

/// What to do about something missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fix {
    /// `cargo xtask setup` installs it.
    Setup,
    /// Somebody must do this by hand.
    ByHand(String),
}

impl Fix {
    /// `Setup` when this machine has apt-get, else this advice.
    fn with_apt(facts: &Facts, otherwise: impl Into<String>) -> Self {
        if facts.apt { Self::Setup } else { Self::ByHand(otherwise.into()) }
    }
}

/// Everything that must be there, in the order in which it is installed.
pub(crate) const REQUIREMENTS: [Requirement; 8] = [
    kernel::REQUIREMENT,
    packages::REQUIREMENT,
    bpf_toolchain::REQUIREMENT,
    linker::REQUIREMENT,
    bpffs::REQUIREMENT,
    manifest_tools::REQUIREMENT,
    programs::ENGINE,
    programs::IMAGE,
];

/// What `doctor` looks for: everything that is set up before it is asked for.
pub(crate) fn ordinary_requirements() -> impl Iterator<Item = &'static Requirement> {
    REQUIREMENTS.iter().filter(|requirement| Purpose::Test.includes(requirement.purpose))
}

/// What `ensure` leaves.
pub(crate) struct Ready {
    /// The facts of a machine that has everything asked for.
    pub(crate) facts: Facts,
    /// Whether something had to be installed.
    pub(crate) changed: bool,
}

/// Makes sure that everything that this needs is there; installs what is missing and says so, one line each.
///
/// Fails before anything is changed when something must be done by hand, or when root is needed and we are
/// not; fails later when an installation does not give what it should.
pub(crate) fn ensure(project: &Project, purpose: Purpose) -> anyhow::Result<Ready> {
    let mut facts = Facts::gather(project)?;
    let missing = missing(&facts, purpose);
    if missing.is_empty() {
        return Ok(Ready { facts, changed: false });
    }
    let by_hand: Vec<String> = missing.iter().filter_map(by_hand).collect();
    if !by_hand.is_empty() {
        bail!("this machine lacks what cannot be installed from here:\n{}", by_hand.join("\n"));
    }
    let names: Vec<&str> = missing.iter().map(|(requirement, _)| requirement.what).collect();
    root::require(&format!("it has to install {}", names.join(", ")))?;

    for requirement in REQUIREMENTS.iter().filter(|requirement| purpose.includes(requirement.purpose)) {
        if matches!((requirement.check)(&facts), State::Found(_)) {
            continue;
        }
        let did =
            (requirement.install)(&facts, project).with_context(|| format!("cannot set up {}", requirement.what))?;
        say(&format!("setup  {did}"));
        facts = Facts::gather(project)?;
        if let State::Missing { needed, fix } = (requirement.check)(&facts) {
            bail!(
                "{} is still missing after it was installed; needed: {needed}{}",
                requirement.what,
                by_hand_text(&fix)
            );
        }
    }
    Ok(Ready { facts, changed: true })
}

fn missing(facts: &Facts, purpose: Purpose) -> Vec<(&'static Requirement, State)> {
    REQUIREMENTS
        .iter()
        .filter(|requirement| purpose.includes(requirement.purpose))
        .map(|requirement| (requirement, (requirement.check)(facts)))
        .filter(|(_, state)| matches!(state, State::Missing { .. }))
        .collect()
}

fn by_hand((requirement, state): &(&Requirement, State)) -> Option<String> {
    match state {
        State::Missing { needed, fix: Fix::ByHand(what) } => {
            Some(format!("  {}: needed: {needed}; {what}", requirement.what))
        }
        State::Missing { fix: Fix::Setup, .. } | State::Found(_) => None,
    }
}

fn by_hand_text(fix: &Fix) -> String {
    match fix {
        Fix::Setup => String::new(),
        Fix::ByHand(what) => format!("; {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Purpose, REQUIREMENTS, ordinary_requirements};

    #[test]
    fn nobody_installs_what_they_do_not_use() {
        let names = |purpose: Purpose| {
            let needed = REQUIREMENTS.iter().filter(|requirement| purpose.includes(requirement.purpose));
            needed.map(|requirement| requirement.what).collect::<Vec<_>>()
        };
        let (build, run) = (["BPF compiler", "bpf-linker"], ["kernel", "system tools", "bpffs"]);
        assert_eq!(names(Purpose::Build), build);
        assert_eq!(names(Purpose::Render), ["manifest tools"]);
        assert_eq!(names(Purpose::Fuzz), [build[0], build[1], "C++ compiler"]);
        assert_eq!(names(Purpose::Package), [build[0], build[1], "buildah"]);
        for (purpose, count) in [(Purpose::Run, 5), (Purpose::Test, 7)] {
            let names = names(purpose);
            assert_eq!(names.len(), count, "{names:?}");
            assert!(build.iter().chain(&run).all(|name| names.contains(name)), "{names:?}");
        }
        assert!(ordinary_requirements().all(|requirement| requirement.what != "buildah"));
    }
}
