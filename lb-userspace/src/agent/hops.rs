//! The ways to other nodes: looked up in the kernel, kept in the maps.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use anyhow::Result;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::{
    dataplane::{self, Maps},
    netlink::{Hop, Netlink, Target, Unresolved},
    plan::{Applied, AppliedNode},
    source::Problem,
};

use lb_common::layout::THIS_NODE;

/// How long the first packets of a new node wait, at most, for its way to be found.
const SETTLE: Duration = Duration::from_secs(1);

/// The ways to other nodes, as they are in the maps.
pub(super) struct Hops {
    netlink: Netlink,
    targets: Vec<Target>,
    names: BTreeMap<u32, String>,
    known: BTreeMap<(u32, IpAddr), Result<Hop, Unresolved>>,
}

impl Hops {
    pub(super) fn new(netlink: Netlink) -> Self {
        Self { netlink, targets: Vec::new(), names: BTreeMap::new(), known: BTreeMap::new() }
    }

    /// Takes over the nodes that are programmed, and waits shortly for the ways to new ones.
    ///
    /// # Errors
    /// When routes cannot be read, or the maps cannot be written.
    pub(super) async fn follow(&mut self, applied: &Applied, maps: &mut Maps) -> Result<()> {
        let targets = targets(applied);
        if targets == self.targets {
            return Ok(());
        }
        self.names = applied.nodes.iter().map(|(id, node)| (*id, node.name.clone())).collect();
        self.targets = targets;
        self.known.retain(|(node, address), _| {
            self.targets.iter().any(|target| target.node == *node && target.address == *address)
        });
        let deadline = Instant::now() + SETTLE;
        let mut changes = self.netlink.changes();
        self.refresh(maps).await?;
        while self.is_any_pending() && timeout_at(deadline, changes.next()).await.is_ok() {
            self.refresh(maps).await?;
        }
        self.netlink.release_unneeded(&self.targets).await?;
        Ok(())
    }

    /// Looks all ways up again, and writes those that have changed.
    ///
    /// # Errors
    /// When routes cannot be read, or the maps cannot be written.
    pub(super) async fn refresh(&mut self, maps: &mut Maps) -> Result<()> {
        for (target, found) in self.netlink.resolve(&self.targets).await? {
            let key = (target.node, target.address);
            let before = self.known.get(&key);
            if before == Some(&found) {
                continue;
            }
            let node = self.names.get(&target.node).map_or("?", String::as_str);
            match found {
                Ok(hop) => {
                    info!(node, address = %target.address, device = hop.device, mtu = hop.mtu, "way to node found");
                    dataplane::set_next_hop(maps, &target, Some(&hop))?;
                }
                // A way that was known is kept while its neighbour is asked again: it is nearly always still right.
                Err(Unresolved::NeighbourPending) if matches!(before, Some(Ok(_))) => continue,
                Err(reason) => {
                    if reason != Unresolved::NeighbourPending {
                        warn!(node, address = %target.address, "no way to node: {reason}");
                    }
                    dataplane::set_next_hop(maps, &target, None)?;
                }
            }
            self.known.insert(key, found);
        }
        Ok(())
    }

    /// Nodes that cannot be reached.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let unreachable = self.known.iter().filter_map(|((node, address), found)| {
            let reason = found.as_ref().err()?;
            let name = self.names.get(node).map_or("?", String::as_str);
            Some(
                Problem::warning(format!("packets for its Pods are dropped: no way to {address}: {reason}"))
                    .about(format!("Node {name}")),
            )
        });
        unreachable.collect()
    }

    fn is_any_pending(&self) -> bool {
        self.known.values().any(|found| *found == Err(Unresolved::NeighbourPending))
    }
}

/// The other nodes' ends of the tunnel, of each family that this node has too.
fn targets(applied: &Applied) -> Vec<Target> {
    let Some(own) = applied.nodes.get(&THIS_NODE).map(|node| node.addresses) else {
        return Vec::new();
    };
    let of_node = |(id, node): (&u32, &AppliedNode)| {
        let v4 = own.v4.zip(node.addresses.v4).map(|(source, address)| (IpAddr::V4(source), IpAddr::V4(address)));
        let v6 = own.v6.zip(node.addresses.v6).map(|(source, address)| (IpAddr::V6(source), IpAddr::V6(address)));
        let node = *id;
        v4.into_iter().chain(v6).map(move |(source, address)| Target { node, source, address })
    };
    applied.nodes.iter().filter(|(id, _)| **id != THIS_NODE).flat_map(of_node).collect()
}
