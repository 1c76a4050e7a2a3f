//! What this machine must have, in one list: `doctor` prints it, `setup` installs what it says is missing.

mod apt;
mod bpf_toolchain;
mod bpffs;
mod facts;
mod kernel;
mod linker;
mod packages;
pub(crate) mod report;
pub(crate) mod root;

use anyhow::{Context as _, bail};

pub(crate) use bpf_toolchain::Toolchain;
pub(crate) use facts::Facts;
pub(crate) use linker::Linker;

use crate::progress::say;
use crate::project::Project;

/// One thing that must be there.
pub(crate) struct Requirement {
    /// Its name in `doctor`'s table.
    pub(crate) what: &'static str,
    /// From when on it is needed.
    needed: Needed,
    /// Decides from the facts whether it is there.
    pub(crate) check: fn(&Facts) -> State,
    /// Installs it as root, and says in one line what was done. Only called when `check` says `Fix::Setup`.
    install: fn(&Facts, &Project) -> anyhow::Result<String>,
}

/// From when on something is needed; what building needs, running needs too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needed {
    /// To build and lint.
    ToBuild,
    /// To run programs in the kernel and to make the lab.
    ToRun,
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
pub(crate) const REQUIREMENTS: [Requirement; 5] =
    [kernel::REQUIREMENT, packages::REQUIREMENT, bpf_toolchain::REQUIREMENT, linker::REQUIREMENT, bpffs::REQUIREMENT];

/// What `ensure` leaves.
pub(crate) struct Ready {
    /// The facts of a machine that has everything asked for.
    pub(crate) facts: Facts,
    /// Whether something had to be installed.
    pub(crate) changed: bool,
}

/// Makes sure that everything up to `needed` is there; installs what is missing and says so, one line each.
///
/// Fails before anything is changed when something must be done by hand, or when root is needed and we are
/// not; fails later when an installation does not give what it should.
pub(crate) fn ensure(project: &Project, needed: Needed) -> anyhow::Result<Ready> {
    let mut facts = Facts::gather(project)?;
    let missing = missing(&facts, needed);
    if missing.is_empty() {
        return Ok(Ready { facts, changed: false });
    }
    let by_hand: Vec<String> = missing.iter().filter_map(by_hand).collect();
    if !by_hand.is_empty() {
        bail!("this machine lacks what cannot be installed from here:\n{}", by_hand.join("\n"));
    }
    let names: Vec<&str> = missing.iter().map(|(requirement, _)| requirement.what).collect();
    root::require(&format!("it has to install {}", names.join(", ")))?;

    for requirement in REQUIREMENTS.iter().filter(|requirement| requirement.needed <= needed) {
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

fn missing(facts: &Facts, needed: Needed) -> Vec<(&'static Requirement, State)> {
    REQUIREMENTS
        .iter()
        .filter(|requirement| requirement.needed <= needed)
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
