//! What happens to many Pods. The sessions of those that go are lost, all others are not.

use anyhow::Result;

use super::stage::Stage;
use crate::world::PodState;

/// The node that is drained.
const DRAINED: u8 = 2;

/// The first Pod that goes is one of the oldest, so that its users come to the new ones; then four of those go.
pub(super) fn scaled_up_and_down(stage: &mut Stage<'_>) -> Result<()> {
    let new = [(1, "shop-3"), (2, "shop-4"), (3, "shop-5"), (1, "shop-6"), (2, "shop-7")];
    stage.step(&[], |stage| stage.join(&new))?;
    leave(stage, &["shop-1"])?;
    leave(stage, &["shop-4", "shop-5", "shop-6", "shop-7"])
}

/// As a Deployment does with one Pod more than it needs: a new one comes, then an old one goes.
pub(super) fn all_replaced(stage: &mut Stage<'_>) -> Result<()> {
    for (node, old, new) in [(1, "shop-0", "shop-0b"), (2, "shop-1", "shop-1b"), (3, "shop-2", "shop-2b")] {
        stage.step(&[], |stage| stage.join(&[(node, new)]))?;
        leave(stage, &[old])?;
    }
    Ok(())
}

/// All Pods of the node terminate at once; their successors come while they do.
pub(super) fn node_drained(stage: &mut Stage<'_>) -> Result<()> {
    let behind = stage.lab.world().pods_on(DRAINED);
    let pods: Vec<&str> = behind.iter().map(String::as_str).filter(|pod| pod.starts_with("shop-")).collect();
    stage.step(&pods, |stage| {
        stage.set_state(&pods, PodState::Terminating)?;
        stage.join(&[(1, "shop-1b"), (3, "shop-2b")])?;
        stage.leave(&pods)
    })
}

fn leave(stage: &mut Stage<'_>, pods: &[&str]) -> Result<()> {
    stage.step(pods, |stage| stage.leave(pods))
}
