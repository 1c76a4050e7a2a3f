//! The ways to other nodes: looked up in the kernel, kept in the maps.

#[cfg(test)]
mod tests;
mod ways;

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, timeout_at};
use tracing::error;

use self::ways::Ways;
pub(super) use self::ways::Written;
use crate::{
    dataplane::{self, Maps},
    model::Family,
    netlink::{Netlink, Target},
    plan::Applied,
    source::Problem,
};

/// How long the first packets of a new node wait, at most, for its way to be found.
const SETTLE: Duration = Duration::from_secs(1);

/// Asks the kernel for the ways, and brings the maps in step with its answers.
pub(super) struct Hops {
    netlink: Netlink,
    ways: Ways,
    uplinks: Option<Uplinks>,
    /// Whether what [`Self::follow`] was last asked for is still to be done.
    is_behind: bool,
    /// Why the last look-up came to nothing, if it did.
    failure: Option<String>,
}

/// What outside traffic arrives on.
struct Uplinks {
    indexes: Vec<u32>,
    /// The smallest of theirs.
    mtu: u32,
}

impl Hops {
    pub(super) fn new(netlink: Netlink) -> Self {
        // Nobody may be known, and yet the segment size of an earlier agent be too small.
        Self { netlink, ways: Ways::default(), uplinks: None, is_behind: true, failure: None }
    }

    /// From now on, these are the uplinks, and this the smallest of their MTUs: ways over other devices are problems,
    /// and the largest segment follows uplinks and ways.
    pub(super) fn use_uplinks(&mut self, indexes: Vec<u32>, mtu: u32) {
        self.uplinks = Some(Uplinks { indexes, mtu });
    }

    /// Takes over the nodes that are programmed, and waits shortly for the ways to new ones.
    ///
    /// # Errors
    /// When routes cannot be read, or the maps cannot be written; it is among the problems too, and what was not done
    /// is done when this is asked for again.
    pub(super) async fn follow(&mut self, applied: &Applied, tunnel_port: u16, maps: &mut Maps) -> Result<()> {
        let followed = self.try_follow(applied, tunnel_port, maps).await;
        self.is_behind = followed.is_err();
        self.note(followed)
    }

    async fn try_follow(&mut self, applied: &Applied, tunnel_port: u16, maps: &mut Maps) -> Result<()> {
        let is_new = self.ways.follow(applied, tunnel_port, maps)?;
        if !is_new && !self.is_behind {
            return Ok(());
        }
        let deadline = Instant::now() + SETTLE;
        let mut changes = self.netlink.changes();
        self.look_up(maps).await?;
        while self.ways.is_any_pending() && timeout_at(deadline, changes.next()).await.is_ok() {
            self.look_up(maps).await?;
        }
        Ok(self.netlink.release_unneeded(self.ways.targets()).await?)
    }

    /// Looks all ways up again, and writes those that have changed.
    ///
    /// # Errors
    /// When routes cannot be read, or the maps cannot be written; it is among the problems too.
    pub(super) async fn refresh(&mut self, maps: &mut Maps) -> Result<()> {
        let looked_up = self.look_up(maps).await;
        self.note(looked_up)
    }

    async fn look_up(&mut self, maps: &mut Maps) -> Result<()> {
        let answers = self.netlink.resolve(self.ways.targets()).await?;
        self.ways.take(answers, maps)?;
        Ok(self.fit_mss(maps)?)
    }

    /// The largest segment is what uplinks and ways carry, all of them.
    fn fit_mss(&self, maps: &mut Maps) -> Result<(), dataplane::Error> {
        self.mtus().map_or(Ok(()), |[v4, v6]| dataplane::fit_mss(maps, v4, v6))
    }

    /// What uplinks and ways carry in one packet, all of them, of IPv4 and IPv6; none while the uplinks are not known.
    pub(super) fn mtus(&self) -> Option<[u32; 2]> {
        let uplinks = self.uplinks.as_ref()?;
        let mtu = |family| self.ways.smallest_mtu(family).map_or(uplinks.mtu, |way| uplinks.mtu.min(way.into()));
        Some(Family::ALL.map(mtu))
    }

    /// What was written of the ways, by node and address; nothing of those that were not looked up yet.
    pub(super) fn written(&self) -> impl Iterator<Item = (Target, Written<'_>)> {
        self.ways.written()
    }

    /// Nodes that cannot be reached, or not well.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let failure = self.failure.iter().map(|failure| {
            Problem::error(format!("cannot look up the ways to other nodes, which stay as they are: {failure}"))
        });
        failure.chain(self.ways.problems(self.uplinks.as_ref().map(|uplinks| uplinks.indexes.as_slice()))).collect()
    }

    /// Keeps a failure for [`Self::problems`]; says it once.
    fn note(&mut self, outcome: Result<()>) -> Result<()> {
        let failure = outcome.as_ref().err().map(|failure| format!("{failure:#}"));
        if let Some(failure) = failure.as_ref().filter(|failure| self.failure.as_ref() != Some(failure)) {
            error!("cannot look up the ways to other nodes, which stay as they are: {failure}; trying again");
        }
        self.failure = failure;
        outcome
    }
}
