//! An API server that flaps, or tells an older state than before. What every fault of its own does to the agent's view is
//! tested without packets, in `lb-userspace/tests/kube`.

use std::time::Duration;

use anyhow::{Result, ensure};
use limpet_lab::address::{Family, NODES};
use limpet_lab::api_server::{Fault, Times, Verb, Which, Wrong};
use limpet_lab::world::{Protocol, ServiceSpec};
use limpet_lab::{Lab, wait};

use crate::support::{
    BACK_LIMIT, Test, all_first_pods, api, ask_all, backends, frontend, hold, says_within, serve, wait_until_connected,
    while_clients_connect,
};

/// How often it goes and comes.
const FLAPS: usize = 6;
/// How long it is there, and away, each time.
const BEAT: Duration = Duration::from_millis(200);
/// The Pod that leaves.
const LEAVES: &str = "p2-1";
/// Each agent lists each of three kinds.
const LISTS: u32 = 3 * NODES as u32;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("an_api_server_that_flaps_is_not_felt_and_is_followed_in_the_end", flaps),
        Test::new("an_older_state_than_the_one_that_was_seen_is_told_and_not_followed", older),
    ]
}

fn flaps(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("flaps", &all_first_pods()))?;
    let to = frontend(lab, "flaps", Family::V4, Protocol::Tcp)?;
    let mut held = hold(lab, to, 20)?;
    held.retain(|held| held.pod != LEAVES);
    // One connection at most is at the Pod that leaves at the moment at which it does.
    while_clients_connect(&lab.client(2), to, 1, || {
        for flap in 0..FLAPS {
            api(lab)?.fault(Fault::RefuseConnections)?;
            if flap == FLAPS / 2 {
                let mut spec = lab.world().service("flaps")?.spec().clone();
                spec.pods.retain(|pod| pod != LEAVES);
                lab.put_service(spec)?;
            }
            wait::let_pass(BEAT);
            api(lab)?.heal()?;
            wait::let_pass(BEAT);
        }
        wait_until_connected(lab, true)?;
        lab.wait_until_programmed("flaps", &[1, 2, 3])
    })?;
    ask_all(&mut held, "after the API server flapped")
}

/// Lists are answered by a server that lags behind the one that answered before.
fn older(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("older", &all_first_pods()))?;
    let to = frontend(lab, "older", Family::V6, Protocol::Tcp)?;
    let old = api(lab)?.version()?;
    let mut spec = lab.world().service("older")?.spec().clone();
    spec.pods.retain(|pod| pod != LEAVES);
    lab.put_service(spec)?;
    lab.wait_until_programmed("older", &[1, 2, 3])?;
    let used = backends(lab)?;
    let mut held = hold(lab, to, 20)?;
    while_clients_connect(&lab.client(2), to, 0, || {
        let api = api(lab)?;
        api.fault(Fault::OldView(old))?;
        api.fault(Fault::Answers(Wrong::Gone, Which::verb(Verb::Watch), Times::Next(LISTS)))?;
        api.fault(Fault::CutWatches)?;
        let parts = ["not connected", "older state of", "backup", "the datapath stays as it is"];
        for node in 1..=NODES {
            says_within(lab, node, 1, &parts, BACK_LIMIT)?;
        }
        ensure!(backends(lab)? == used, "the datapath went back in time");
        api.heal()?;
        wait_until_connected(lab, true)
    })?;
    ensure!(backends(lab)? == used, "the datapath went back in time");
    ask_all(&mut held, "after the API server told an older state")
}
