//! The ring buffer of breaks, full because nobody reads it: what is lost there is counted, and the counters stay exact.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use limpet_lab::world::{NAMESPACE, ServiceSpec};
use limpet_lab::{Lab, wait};
use serde_json::{Value, json};

use crate::neighbours::reasons;
use crate::support::{INGRESS, Test, first_pods, is_content};
use crate::visitors::{Door, arrive, ask_again};

/// So few clients that the ring buffer is as small as can be: one page.
const ROOM: [&str; 2] = ["--max-clients", "64"];
/// How many breaks fit into a page: 48 bytes each, and 8 of the kernel's.
const FITTING: usize = 4_096 / 56;
const HELD_SECONDS: u32 = 3_600;
const TOLD_LIMIT: Duration = Duration::from_secs(10);
/// How long an agent may take until it is in step, also on a machine that has much else to do.
const START_LIMIT: Duration = Duration::from_secs(40);

pub(crate) fn tests() -> Vec<Test> {
    vec![Test::new("breaks_that_nobody_fetches_are_counted_all_the_same", |lab| with_little_room(lab, &ROOM, full))]
}

fn full(lab: &mut Lab) -> Result<()> {
    lab.put_service(ServiceSpec::new("ring", &first_pods([INGRESS])).with_affinity(HELD_SECONDS))?;
    lab.wait_until_programmed("ring", &[INGRESS])?;
    let door = Door::of(lab, "ring")?;
    let mut visitors = arrive(lab, 2..=41, door)?;
    let mut spec = lab.world().service("ring")?.spec().clone();
    spec.pods = first_pods([2]);
    lab.put_service(spec)?;
    lab.wait_until_programmed("ring", &[INGRESS])?;

    lab.freeze_agent(INGRESS)?;
    let moved = ask_again(&mut visitors, door);
    let counted = reasons(lab, "ring");
    lab.thaw_agent(INGRESS)?;
    let (moved, counted) = (moved?, counted?);
    ensure!(moved == visitors.len() && moved > 2 * FITTING, "{moved} moved");
    ensure!(counted == json!({"backend-gone": moved}), "{counted} are counted, and {moved} moved");

    wait::until_true("what fitted to be told", TOLD_LIMIT, || {
        let said = lab.limpet(INGRESS, &["breaks", &format!("{NAMESPACE}/ring"), "-o", "json"])?.json()?;
        let told = said["events"].as_array().context("the agent does not tell of breaks")?.len();
        let lost = said["lost_events"].as_u64().and_then(|lost| usize::try_from(lost).ok()).context("nothing lost")?;
        ensure!(told == FITTING && told + lost == moved, "{told} told, {lost} lost, {moved} moved");
        Ok(true)
    })?;
    let status: Value = serde_json::from_str(&lab.limpet(INGRESS, &["status", "-o", "json"])?.stdout)?;
    ensure!(
        status["datapath"]["breaks"]["lost_events"].as_u64() > Some(0),
        "the status does not say that some were lost"
    );
    is_content(lab, INGRESS)
}

/// Runs a case with an agent at the ingress node that has little room, and gives it all of it again, whatever happens.
pub(crate) fn with_little_room(lab: &mut Lab, room: &[&str], case: fn(&mut Lab) -> Result<()>) -> Result<()> {
    let outcome = start_with(lab, room).and_then(|()| case(lab));
    let restored = start_with(lab, &[]);
    outcome.and(restored)
}

fn start_with(lab: &mut Lab, flags: &[&str]) -> Result<()> {
    lab.detach(&[INGRESS])?;
    lab.launch_agent_with(INGRESS, flags, &[])?;
    wait::until_true("the agent to be in step", START_LIMIT, || Ok(lab.status(INGRESS)?.agent.in_step == Some(true)))
}
