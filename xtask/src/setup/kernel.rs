//! The running kernel: new enough for what we attach?

use anyhow::bail;

use super::{Facts, Fix, Purpose, Requirement, State};
use crate::project::Project;
use crate::version::Version;

/// The first kernel with tcx, by which the programs for replies are attached.
const OLDEST: Version = Version::new(6, 6);

pub(super) const REQUIREMENT: Requirement = Requirement { what: "kernel", purpose: Purpose::Run, check, install };

fn check(facts: &Facts) -> State {
    match Version::parse(&facts.kernel) {
        Some(version) if version >= OLDEST => State::Found(facts.kernel.clone()),
        Some(_) | None => State::Missing {
            needed: format!("Linux {OLDEST} or newer, for tcx (running: {})", facts.kernel),
            fix: Fix::ByHand(
                "boot a newer kernel, on Debian 12: \
                 apt-get install -t bookworm-backports linux-image-amd64, then reboot"
                    .to_owned(),
            ),
        },
    }
}

fn install(facts: &Facts, _project: &Project) -> anyhow::Result<String> {
    bail!("a kernel is not changed from here (running: {})", facts.kernel)
}

#[cfg(test)]
mod tests {
    use super::{Facts, State, check};

    #[test]
    fn tcx_needs_6_6() {
        let cases =
            [("6.6.0", true), ("6.18.44-cloud", true), ("7.0.1", true), ("6.1.0-37-amd64", false), ("?", false)];
        for (kernel, new_enough) in cases {
            let facts = Facts { kernel: kernel.to_owned(), ..Facts::default() };
            assert_eq!(matches!(check(&facts), State::Found(_)), new_enough, "{kernel}");
        }
    }
}
