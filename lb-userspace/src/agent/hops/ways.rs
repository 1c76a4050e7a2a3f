//! What is known of the ways to other nodes, and what each answer of the kernel's makes of the maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use lb_common::layout::THIS_NODE;
use tracing::{info, warn};

use crate::{
    dataplane::{self, Maps},
    fail_point,
    model::Family,
    netlink::{self, Ends, Hop, Target, Unresolved},
    plan::{Applied, AppliedNode},
    source::Problem,
};

/// The kernel's answer for one target.
pub(super) type Answer = Result<Hop, Unresolved>;

/// The ways to other nodes, as they are in the maps.
#[derive(Default)]
pub(super) struct Ways {
    /// Sorted.
    targets: Vec<Target>,
    names: BTreeMap<u32, String>,
    tunnel_port: u16,
    known: BTreeMap<Target, Known>,
}

/// What is known of one way.
struct Known {
    answer: Answer,
    /// What the way that is in the map carries in one packet; none while there is none.
    mtu: Option<u16>,
}

/// What the maps have of a way.
#[derive(Clone, Copy, Debug)]
pub(in crate::agent) enum Written<'a> {
    /// This one.
    Way(&'a Hop),
    /// One that an earlier agent found, and that stays until there is an answer.
    Kept,
    /// None.
    None,
}

/// What an answer calls for.
#[derive(Debug, Eq, PartialEq)]
enum Step {
    /// Nothing. It is no news, or what was known before is nearly always still right.
    Nothing,
    /// The way is written.
    Write(Hop),
    /// A way between the same ends stays, as an earlier agent left it, until there is an answer.
    Keep,
    /// There is no way: what is in the map goes, and somebody should know.
    Clear(Unresolved),
}

fn step(before: Option<&Answer>, answer: &Answer) -> Step {
    match (before, answer) {
        (Some(before), answer) if before == answer => Step::Nothing,
        (_, Ok(hop)) => Step::Write(*hop),
        // The kernel asks again every few seconds: a way that was known stays meanwhile, and a silent neighbour that is
        // asked once more is still silent.
        (Some(Ok(_) | Err(Unresolved::NeighbourFailed)), Err(Unresolved::NeighbourPending)) => Step::Nothing,
        (_, Err(Unresolved::NeighbourPending)) => Step::Keep,
        (_, Err(reason)) => Step::Clear(*reason),
    }
}

impl Ways {
    /// The other nodes' ends of the tunnel.
    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Takes over the nodes that are programmed; returns whether the targets are others than before.
    ///
    /// # Errors
    /// When a way that leads from an address which this node has no longer cannot be taken out of the maps.
    pub(super) fn follow(
        &mut self,
        applied: &Applied,
        tunnel_port: u16,
        maps: &mut Maps,
    ) -> Result<bool, dataplane::Error> {
        self.names = applied.nodes.iter().map(|(id, node)| (*id, node.name.clone())).collect();
        self.tunnel_port = tunnel_port;
        let targets = targets(applied);
        if targets == self.targets {
            return Ok(false);
        }
        let reached: BTreeSet<(u32, IpAddr)> = targets.iter().map(|target| (target.node, target.address())).collect();
        let is_gone = |target: &Target| targets.binary_search(target).is_err();
        for target in self.known.keys().filter(|target| is_gone(target)) {
            // A node that went took its way with it. One that stays, but is not reached over this family any more,
            // or not from there, keeps one that must not be used; where it is reached from elsewhere, the answer to
            // that replaces it.
            let stays = applied.nodes.get(&target.node).is_some_and(|node| has(node, target.address()));
            if stays && !reached.contains(&(target.node, target.address())) {
                dataplane::set_next_hop(maps, target, None, tunnel_port)?;
            }
        }
        self.known.retain(|target, _| !is_gone(target));
        self.targets = targets;
        Ok(true)
    }

    /// Takes in what the kernel says, and writes what has changed.
    ///
    /// # Errors
    /// When the maps cannot be written. What follows is taken in the next time.
    pub(super) fn take(&mut self, answers: Vec<(Target, Answer)>, maps: &mut Maps) -> Result<(), dataplane::Error> {
        for (target, answer) in answers {
            fail_point::pass("ways");
            let node = self.name(&target);
            let address = target.address();
            let mtu = match step(self.known.get(&target).map(|known| &known.answer), &answer) {
                Step::Nothing => continue,
                Step::Write(hop) => {
                    let device = netlink::device_name(hop.device);
                    info!(node, %address, device, mtu = hop.mtu, vlan_tags = hop.tag_count, "way to node found");
                    dataplane::set_next_hop(maps, &target, Some(&hop), self.tunnel_port)?;
                    Some(hop.mtu)
                }
                Step::Keep => {
                    let kept = dataplane::keep_next_hop(maps, &target, self.tunnel_port)?;
                    if kept.is_none() {
                        dataplane::set_next_hop(maps, &target, None, self.tunnel_port)?;
                    }
                    kept
                }
                Step::Clear(reason) => {
                    warn!(node, %address, "no way to node: {reason}");
                    dataplane::set_next_hop(maps, &target, None, self.tunnel_port)?;
                    None
                }
            };
            self.known.insert(target, Known { answer, mtu });
        }
        Ok(())
    }

    /// What was written of each way.
    pub(super) fn written(&self) -> impl Iterator<Item = (Target, Written<'_>)> {
        self.known.iter().map(|(target, known)| {
            let written = match (&known.answer, known.mtu) {
                (Ok(hop), _) => Written::Way(hop),
                (Err(_), Some(_)) => Written::Kept,
                (Err(_), None) => Written::None,
            };
            (*target, written)
        })
    }

    /// Whether the kernel is still looking for somebody.
    pub(super) fn is_any_pending(&self) -> bool {
        self.known.values().any(|known| known.answer == Err(Unresolved::NeighbourPending))
    }

    /// What the narrowest way of a family carries in one packet; none where there is no way.
    pub(super) fn smallest_mtu(&self, family: Family) -> Option<u16> {
        let ways = self.known.iter().filter(|(target, _)| Family::of(target.address()) == family);
        ways.filter_map(|(_, known)| known.mtu).min()
    }

    /// Nodes that cannot be reached, or by a way that does not bring their packets back. `uplinks` are the indexes of
    /// the devices that have our programs, as far as they are known.
    pub(super) fn problems(&self, uplinks: Option<&[u32]>) -> Vec<Problem> {
        let problem = |(target, known): (&Target, &Known)| {
            let address = target.address();
            let message = match &known.answer {
                Err(Unresolved::NeighbourPending) if known.mtu.is_some() => return None,
                Err(reason) => format!("packets for its Pods are dropped: no way to {address}: {reason}"),
                Ok(hop) => {
                    let is_uplink = |device| uplinks.is_none_or(|uplinks| uplinks.contains(&device));
                    if is_uplink(hop.device) || is_uplink(hop.route_device) {
                        return None;
                    }
                    let device = netlink::device_name(hop.route_device);
                    format!(
                        "the way to {address} leads over {device}, which is no uplink: what this node sends for it \
                         back is not taken out of the tunnel; name {device} with --uplink too"
                    )
                }
            };
            Some(Problem::warning(message).about(format!("Node {}", self.name(target))))
        };
        self.known.iter().filter_map(problem).collect()
    }

    fn name(&self, target: &Target) -> &str {
        self.names.get(&target.node).map_or("?", String::as_str)
    }
}

/// The other nodes' ends of the tunnel, of each family that this node has too; sorted.
fn targets(applied: &Applied) -> Vec<Target> {
    let Some(own) = applied.nodes.get(&THIS_NODE).map(|node| node.addresses) else {
        return Vec::new();
    };
    let of_node = |(id, node): (&u32, &AppliedNode)| {
        let v4 = |(source, address): (Ipv4Addr, Ipv4Addr)| Ends::V4 { source, address };
        let v6 = |(source, address): (Ipv6Addr, Ipv6Addr)| Ends::V6 { source, address };
        let ends = [own.v4.zip(node.addresses.v4).map(v4), own.v6.zip(node.addresses.v6).map(v6)];
        let node = *id;
        ends.into_iter().flatten().map(move |ends| Target { node, ends })
    };
    let mut targets: Vec<Target> = applied.nodes.iter().filter(|(id, _)| **id != THIS_NODE).flat_map(of_node).collect();
    targets.sort_unstable();
    targets
}

fn has(node: &AppliedNode, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => node.addresses.v4 == Some(address),
        IpAddr::V6(address) => node.addresses.v6 == Some(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_call_for_steps() {
        use Unresolved::{NeighbourFailed, NeighbourPending, NoRoute};
        let hop = |mtu| Hop { device: 3, route_device: 3, mtu, ethernet: [0; 12], tags: [0; 2], tag_count: 0 };
        let cases = [
            ("found at once", None, Ok(hop(1500)), Step::Write(hop(1500))),
            ("found after a while", Some(Err(NeighbourPending)), Ok(hop(1500)), Step::Write(hop(1500))),
            ("found again", Some(Err(NeighbourFailed)), Ok(hop(1500)), Step::Write(hop(1500))),
            ("the same", Some(Ok(hop(1500))), Ok(hop(1500)), Step::Nothing),
            ("another", Some(Ok(hop(1500))), Ok(hop(1400)), Step::Write(hop(1400))),
            ("known, and asked again", Some(Ok(hop(1500))), Err(NeighbourPending), Step::Nothing),
            ("known, and silent", Some(Ok(hop(1500))), Err(NeighbourFailed), Step::Clear(NeighbourFailed)),
            ("known, and unreachable", Some(Ok(hop(1500))), Err(NoRoute), Step::Clear(NoRoute)),
            ("new, and asked", None, Err(NeighbourPending), Step::Keep),
            ("asked, and silent", Some(Err(NeighbourPending)), Err(NeighbourFailed), Step::Clear(NeighbourFailed)),
            ("silent, and asked again", Some(Err(NeighbourFailed)), Err(NeighbourPending), Step::Nothing),
            ("still silent", Some(Err(NeighbourFailed)), Err(NeighbourFailed), Step::Nothing),
            ("a route at last", Some(Err(NoRoute)), Err(NeighbourPending), Step::Keep),
        ];
        for (description, before, answer, expected) in cases {
            assert_eq!(step(before.as_ref(), &answer), expected, "{description}");
        }
    }
}
