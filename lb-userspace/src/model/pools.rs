//! Pools: which endpoints take new flows, and what becomes of those that find none (A.4, A.5, A.7, A.11).

use super::endpoints::Candidate;
use super::nodes::Nodes;
use super::topology::Hints;
use super::types::{BackendState, Family, IfEmpty, TrafficPolicy};

/// The endpoints of one Service port and family that take new flows.
pub(super) struct Pool {
    /// Their indexes, in the order of identities, each identity once.
    pub(super) members: Vec<usize>,
    /// What becomes of new flows while there is none.
    pub(super) if_empty: IfEmpty,
    /// Some are usable, but none of those on this node.
    pub(super) only_elsewhere: bool,
}

/// Chooses and marks those that take new flows: the ready ones, less those that hints keep for others; or if none is
/// ready, those that still serve while they terminate. With policy Local only this node's are asked, whatever there is
/// elsewhere. `out_of_reach` says whether there are usable ones besides, which no tunnel leads to.
pub(super) fn choose(
    candidates: &mut [Candidate<'_>],
    family: Family,
    policy: TrafficPolicy,
    nodes: &Nodes<'_>,
    out_of_reach: bool,
) -> Pool {
    // Candidates are sorted by address: a family's are together.
    let start = match family {
        Family::V4 => 0,
        Family::V6 => candidates.partition_point(|c| c.address.is_ipv4()),
    };
    let end = match family {
        Family::V4 => candidates.partition_point(|c| c.address.is_ipv4()),
        Family::V6 => candidates.len(),
    };
    let own = candidates.get_mut(start..end).unwrap_or_default();

    let anywhere = out_of_reach || own.iter().any(|c| c.ready || c.is_fallback());
    let here = own.iter().any(|c| c.local && (c.ready || c.is_fallback()));
    let asked = |candidate: &Candidate<'_>| policy == TrafficPolicy::Cluster || candidate.local;
    let any_ready = own.iter().any(|c| asked(c) && c.ready);
    let hints = match policy {
        TrafficPolicy::Cluster => {
            let ready = own.iter().filter(|c| c.ready);
            Hints::of(ready.map(|c| c.endpoint), nodes.own, nodes.own_zone)
        }
        TrafficPolicy::Local => Hints::Ignored,
    };
    let takes = |candidate: &Candidate<'_>| {
        asked(candidate)
            && if any_ready { candidate.ready && hints.accept(candidate.endpoint) } else { candidate.is_fallback() }
    };
    let mut members: Vec<usize> = (0..own.len()).filter(|index| own.get(*index).is_some_and(takes)).collect();
    // A Pod that is listed with two addresses gets one share, at the first of them.
    members.sort_by(|a, b| own[*a].identity.cmp(&own[*b].identity));
    members.dedup_by(|a, b| own[*a].identity == own[*b].identity);
    for index in &mut members {
        own[*index].state = BackendState::Active;
        *index += start;
    }
    Pool {
        members,
        if_empty: match policy {
            TrafficPolicy::Local if anywhere => IfEmpty::Drop,
            TrafficPolicy::Local | TrafficPolicy::Cluster => IfEmpty::Reject,
        },
        only_elsewhere: anywhere && !here,
    }
}
