//! What happens to nodes and their agents. No Pod goes, so no session may be lost.

use std::time::Duration;

use anyhow::Result;

use super::stage::{INGRESS, Stage};
use crate::wait;

/// The node that clients are sent through instead.
const OTHER: u8 = 2;
/// And after that.
const THIRD: u8 = 3;
/// The client machine that has half of the users.
const HALF: u8 = 2;
/// How long there is no agent.
const WITHOUT_AGENT: Duration = Duration::from_secs(1);
/// How long the router goes on sending packets to a dead node: longer than clients pause between rounds.
const ROUTER_NOTICES: Duration = Duration::from_millis(300);

pub(super) fn agent_killed(stage: &mut Stage<'_>) -> Result<()> {
    hold_some_elsewhere(stage)?;
    stage.step(&[], |stage| {
        stage.lab.kill_agent(INGRESS)?;
        stage.rounds_for(WITHOUT_AGENT)?;
        stage.lab.start_agent(INGRESS)?;
        stage.settled()
    })
}

pub(super) fn agent_upgraded(stage: &mut Stage<'_>) -> Result<()> {
    hold_some_elsewhere(stage)?;
    stage.step(&[], |stage| {
        stage.lab.upgrade_agent(INGRESS)?;
        stage.settled()
    })
}

pub(super) fn half_through_another_node(stage: &mut Stage<'_>) -> Result<()> {
    [Some(OTHER), Some(THIRD), None].into_iter().try_for_each(|node| {
        stage.step(&[], |stage| {
            stage.lab.route_client_via(HALF, node)?;
            stage.crowd.whole_round()
        })
    })
}

pub(super) fn ingress_node_dies(stage: &mut Stage<'_>) -> Result<()> {
    stage.step(&[], |stage| {
        stage.lab.cut_off(INGRESS)?;
        // Clients notice before the router does: what they send goes to the dead node first, and is sent again.
        wait::let_pass(ROUTER_NOTICES);
        stage.lab.kill_agent(INGRESS)?;
        stage.loses_node(INGRESS);
        stage.lab.route_frontends_via(OTHER)?;
        stage.crowd.whole_round()
    })
}

/// A Pod more takes slots of users who are logged in: from now on these are where they are because they are remembered,
/// and for no other reason.
fn hold_some_elsewhere(stage: &mut Stage<'_>) -> Result<()> {
    stage.step(&[], |stage| stage.join(&[(THIRD, "shop-new")]))
}
