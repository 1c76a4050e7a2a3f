//! BPF programs of others on an uplink: theirs are left alone, and ours cannot be pushed out.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use limpet_lab::address::Family;
use limpet_lab::programs::{Tcx, TcxPlace, put_xdp};
use limpet_lab::world::{Protocol, ServiceSpec};
use limpet_lab::{Lab, wait};
use serde_json::Value;

use crate::support::{INGRESS, Test, ask_all, first_pods, frontend, hold, is_content, serve, who_answers};
use crate::uplinks::ip;

const UPLINK: &str = "eth0";
/// The node whose uplink is shared.
const NODE: u8 = 2;
const HELD: u8 = 16;
const REQUESTS: usize = 20;
/// How long an agent may take to see that it cannot begin.
const END_LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("an_xdp_program_of_somebody_else_is_named_and_left_alone", theirs_stays),
        Test::new("nobody_else_can_put_an_xdp_program_in_the_place_of_ours", ours_stays),
        Test::new("tcx_programs_of_others_run_before_and_after_ours", beside),
    ]
}

fn theirs_stays(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("theirs", &first_pods([1, 3])))?;
    let to = frontend(lab, "theirs", Family::V4, Protocol::Tcp)?;
    lab.detach(&[NODE])?;
    put_xdp(&lab.node(NODE), UPLINK, "xdpdrv", &pins(lab)?)?;
    let refused = is_refused(lab);
    ip(lab, NODE, &["link", "set", "dev", UPLINK, "xdpdrv", "off"])?;
    lab.start_agent(NODE)?;
    refused?;
    is_content(lab, NODE)?;
    who_answers(lab, Protocol::Tcp, to, REQUESTS)?;
    Ok(())
}

fn is_refused(lab: &mut Lab) -> Result<()> {
    let before = xdp(lab)?;
    lab.launch_agent(NODE)?;
    let ended = lab.wait_for_agents_end(NODE, END_LIMIT)?;
    ensure!(ended.code() == Some(1), "the agent ended with {ended}");
    let log = lab.agent_logs();
    for part in ["no uplink can be used", "an XDP program of somebody else, which stays", "xdp off", "--uplink"] {
        ensure!(log.contains(part), "its log does not say {part:?}: {log}");
    }
    ensure!(xdp(lab)? == before, "the program on the device is another one");
    Ok(())
}

fn ours_stays(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("ours", &first_pods([NODE])))?;
    let mut held = hold(lab, frontend(lab, "ours", Family::V4, Protocol::Tcp)?, HELD)?;
    let (before, pins) = (xdp(lab)?, pins(lab)?);
    for mode in ["xdpdrv", "xdpgeneric"] {
        ensure!(put_xdp(&lab.node(NODE), UPLINK, mode, &pins).is_err(), "ours was replaced ({mode})");
        let _refused = ip(lab, NODE, &["link", "set", "dev", UPLINK, mode, "off"]);
        ensure!(xdp(lab)? == before, "ours is gone ({mode})");
    }
    is_content(lab, NODE)?;
    ask_all(&mut held, "after somebody tried to take the device")
}

/// One sees the Pod as the source of a reply, the other one the frontend; the client gets what it should.
fn beside(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("beside", &first_pods([NODE])))?;
    let to = frontend(lab, "beside", Family::V4, Protocol::Udp)?;
    let node = lab.node(NODE);
    let programs = [
        ("before", Tcx::attach(&node, UPLINK, TcxPlace::First)?),
        ("after", Tcx::attach(&node, UPLINK, TcxPlace::Last)?),
    ];
    for restart in [false, true] {
        if restart {
            lab.kill_agent(NODE)?;
            lab.start_agent(NODE)?;
        }
        let before: Vec<u64> = programs.iter().map(|(_, program)| program.runs()).collect::<Result<_>>()?;
        who_answers(lab, Protocol::Udp, to, REQUESTS)?;
        for ((place, program), before) in programs.iter().zip(before) {
            let ran = program.runs()? - before;
            ensure!(ran >= REQUESTS as u64, "the program {place} ours ran {ran} times for {REQUESTS} replies");
        }
    }
    drop(programs);
    wait::until_true("the device to be ours alone", END_LIMIT, || {
        who_answers(lab, Protocol::Udp, to, REQUESTS)?;
        Ok(true)
    })?;
    is_content(lab, INGRESS)
}

/// The XDP program of the uplink.
fn xdp(lab: &Lab) -> Result<Value> {
    let output = lab.node(NODE).run(|| Ok(Command::new("ip").args(["-j", "link", "show", UPLINK]).output()?))?;
    let links: Value = serde_json::from_slice(&output.stdout)?;
    Ok(links[0]["xdp"].clone())
}

fn pins(lab: &Lab) -> Result<std::path::PathBuf> {
    Ok(lab.pin_directory(NODE)?.parent().context("pins have no directory above them")?.to_owned())
}
