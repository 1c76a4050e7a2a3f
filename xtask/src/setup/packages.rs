//! The system's own tools that the build and the lab call.

use super::{Facts, Fix, Purpose, Requirement, State, apt};
use crate::project::Project;
use crate::tool;

/// A program, and the Debian packages that bring it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    program: &'static str,
    packages: &'static [&'static str],
}

/// What is called: the C compiler to link with, `ip` to make the lab, `ethtool` to switch off checksum offload, `nft` for
/// kube-proxy's rules.
const TOOLS: [Tool; 4] = [
    Tool { program: "cc", packages: &["gcc", "libc6-dev"] },
    Tool { program: "ip", packages: &["iproute2"] },
    Tool { program: "ethtool", packages: &["ethtool"] },
    Tool { program: "nft", packages: &["nftables"] },
];

pub(super) const REQUIREMENT: Requirement = Requirement { what: "system tools", purpose: Purpose::Run, check, install };

/// Those of the tools that are not on the search path.
pub(super) fn missing_tools() -> Vec<Tool> {
    TOOLS.into_iter().filter(|tool| tool::find(tool.program).is_none()).collect()
}

fn check(facts: &Facts) -> State {
    if facts.missing_tools.is_empty() {
        return State::Found(programs(&TOOLS));
    }
    let packages = packages(&facts.missing_tools);
    State::Missing {
        needed: programs(&facts.missing_tools),
        fix: Fix::with_apt(
            facts,
            format!("install what Debian calls {} with your package manager", packages.join(", ")),
        ),
    }
}

fn install(facts: &Facts, project: &Project) -> anyhow::Result<String> {
    apt::install(project, &packages(&facts.missing_tools))
}

fn programs(tools: &[Tool]) -> String {
    tools.iter().map(|tool| tool.program).collect::<Vec<_>>().join(", ")
}

fn packages(tools: &[Tool]) -> Vec<&'static str> {
    tools.iter().flat_map(|tool| tool.packages).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::{Facts, Fix, State, TOOLS, check};

    #[test]
    fn without_apt_the_packages_are_named() {
        let facts = Facts { missing_tools: TOOLS[1..].to_vec(), ..Facts::default() };
        let State::Missing { needed, fix: Fix::ByHand(what) } = check(&facts) else {
            panic!("not to be done by hand");
        };
        assert_eq!(needed, "ip, ethtool, nft");
        assert!(what.contains("iproute2, ethtool, nftables"), "{what}");
    }

    #[test]
    fn with_apt_setup_installs_them() {
        let facts = Facts { missing_tools: TOOLS.to_vec(), apt: true, ..Facts::default() };
        assert!(matches!(check(&facts), State::Missing { fix: Fix::Setup, .. }));
    }
}
