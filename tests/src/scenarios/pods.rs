//! What happens to one Pod. Its sessions are lost, all others are not.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::stage::Stage;
use crate::sessions::Mode;
use crate::world::PodState;

/// The Pod that it happens to.
const VICTIM: &str = "shop-1";
/// Where it comes back, when it comes back elsewhere.
const ELSEWHERE: u8 = 3;
/// How long a readiness probe fails.
const FLAP: Duration = Duration::from_secs(1);

pub(super) fn readiness_flaps(stage: &mut Stage<'_>) -> Result<()> {
    stage.step(&[VICTIM], |stage| {
        stage.set_state(&[VICTIM], PodState::NotReady)?;
        stage.rounds_for(FLAP)?;
        stage.set_state(&[VICTIM], PodState::Ready)
    })
}

pub(super) fn container_restarts(stage: &mut Stage<'_>) -> Result<()> {
    stage.step(&[VICTIM], |stage| {
        stage.lab.stop_server(VICTIM)?;
        // Clients notice before Kubernetes does.
        stage.crowd.someone_tries_again()?;
        stage.set_state(&[VICTIM], PodState::NotReady)?;
        stage.crowd.whole_round()?;
        stage.lab.start_server_again(VICTIM)?;
        stage.set_state(&[VICTIM], PodState::Ready)
    })
}

/// Every other one of its users says nothing while it is away, and must find its successor: the name is the same, so
/// the table gives it the same clients.
pub(super) fn stateful_pod_replaced(stage: &mut Stage<'_>) -> Result<()> {
    let mut quiet = 0;
    stage.step(&[VICTIM], |stage| {
        let of_victim = |position, pod: Option<&str>| position % 2 == 0 && pod == Some(VICTIM);
        quiet = stage.crowd.set_mode(Mode::Quiet, |position, user| of_victim(position, user.pod.as_deref()));
        stage.leave(&[VICTIM])?;
        stage.join(&[(ELSEWHERE, VICTIM)])?;
        stage.crowd.set_mode(Mode::Asking, |_, _| true);
        Ok(())
    })?;
    let back = stage.sessions_at(VICTIM);
    ensure!(
        quiet > 0 && back == quiet,
        "{back} users are at {VICTIM} after it came back, and {quiet} said nothing while it was away"
    );
    Ok(())
}
