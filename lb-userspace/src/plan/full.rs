//! What is full, and what to tell people of it.

use super::types::Limits;
use crate::model::ServicePortName;
use crate::source::Problem;

/// What is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Full {
    Slots,
    Backends,
    Services,
    Frontends,
    SourceRanges,
    Nodes,
}

impl Full {
    /// Tells that a Service port did not fit.
    pub(super) fn problem(self, name: &ServicePortName, limits: &Limits) -> Problem {
        let Limits { slots, backends, services, frontends, source_ranges, siblings: _, nodes } = *limits;
        let (what, limit, flag) = match self {
            Self::Slots => ("no room for its lookup table among the slots", slots, "--max-slots"),
            Self::Backends => ("no ids left for its backends", backends, "--max-backends"),
            Self::Services => ("no id left for it", services, "--max-services"),
            Self::Frontends => ("no room for its frontends", frontends, "--max-frontends"),
            Self::SourceRanges => ("no room for its loadBalancerSourceRanges", source_ranges, "--max-source-ranges"),
            Self::Nodes => ("no id left for the nodes of its backends", nodes, "--max-nodes"),
        };
        Problem::error(format!("{name}: {what} ({limit}); it keeps what it had; raise {flag}"))
            .about(format!("Service {}/{}", name.namespace, name.name))
    }
}
