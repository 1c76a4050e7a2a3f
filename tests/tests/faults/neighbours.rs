//! A node that is gone with its Pods, as when its power is cut: first nobody knows, then its neighbours, then the cluster.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use limpet_lab::address::{Family, NODES};
use limpet_lab::world::{NAMESPACE, PodState, Protocol, ServiceSpec};
use limpet_lab::{Lab, Namespace, wait};
use serde_json::Value;

use crate::support::{
    Held, INGRESS, LOOK, Test, all_first_pods, ask_all, first_pods, frontend, hold, is_content_within, says_within,
    serve,
};
use crate::visitors::{Door, Visitor, arrive, ask_again};

/// The node that goes.
const GONE: u8 = 3;
const HELD: u8 = 30;
/// How long a client is held by affinity: longer than this test.
const HELD_SECONDS: u32 = 600;
/// How long the kernel may take until it knows that a neighbour is silent, or there again.
const NOTICE_LIMIT: Duration = Duration::from_secs(30);
/// Connections of which every Pod has some.
const MANY: usize = 30;

pub(crate) fn tests() -> Vec<Test> {
    vec![Test::new("a_node_that_is_gone_is_named_and_costs_only_its_own_clients_their_pods", power_cut)]
}

fn power_cut(lab: &mut Lab) -> Result<()> {
    ask_neighbours_often(lab)?;
    serve(lab, ServiceSpec::new("power", &all_first_pods()))?;
    let to = frontend(lab, "power", Family::V4, Protocol::Tcp)?;
    let held = hold(lab, to, HELD)?;
    let (mut lost, mut others): (Vec<Held>, Vec<Held>) = held.into_iter().partition(|held| is_gone(&held.pod));
    ensure!(!lost.is_empty() && !others.is_empty(), "all connections are at the same nodes");
    serve(lab, ServiceSpec::new("clients", &all_first_pods()).with_affinity(HELD_SECONDS))?;
    let door = Door::of(lab, "clients")?;
    everybody_answers(lab, "power")?;
    let before = arrive(lab, 2..=9, door)?;

    lab.cut_off(GONE)?;
    let outcome = while_it_is_gone(lab, to, &mut others, door, &before);
    lab.reconnect(GONE)?;
    outcome?;
    for node in 1..=NODES {
        is_content_within(lab, node, NOTICE_LIMIT)?;
    }
    // Its Pods ran on, and nobody took their connections away.
    ask_all(&mut lost, "after the node is back")?;
    ask_all(&mut others, "after the node is back")?;
    first_pods([GONE]).iter().try_for_each(|pod| lab.set_pod_state(pod, PodState::Ready))
}

/// Waits until all nodes have found each other again after what tests before did to them.
fn everybody_answers(lab: &Lab, service: &str) -> Result<()> {
    wait::until_true("an answer from whomever is asked", NOTICE_LIMIT, || {
        for family in Family::BOTH {
            let to = frontend(lab, service, family, Protocol::Tcp)?;
            for _ in 0..MANY {
                let outcome = lab.client(1).attempt(Protocol::Tcp, to, None, LOOK)?;
                ensure!(outcome.pod().is_some(), "{to}: {outcome:?}");
            }
        }
        Ok(true)
    })
}

fn while_it_is_gone(
    lab: &mut Lab,
    to: std::net::SocketAddr,
    others: &mut [Held],
    door: Door,
    before: &[Visitor],
) -> Result<()> {
    // Nobody has told anything: its Pods are still chosen, and only the neighbour's silence shows.
    let parts = ["warning", "Node n3", "packets for its Pods are dropped", "does not answer"];
    says_within(lab, INGRESS, 0, &parts, NOTICE_LIMIT)?;
    ask_all(others, "while the node is gone")?;
    let dropped = no_next_hop(lab)?;
    wait::until_true("a packet for the node to be dropped and counted", NOTICE_LIMIT, || {
        let _silence = lab.client(1).attempt(Protocol::Tcp, to, None, LOOK)?;
        Ok(no_next_hop(lab)? > dropped)
    })?;

    // The cluster has noticed.
    first_pods([GONE]).iter().try_for_each(|pod| lab.set_pod_state(pod, PodState::NotReady))?;
    for service in ["power", "clients"] {
        lab.wait_until_programmed(service, &[INGRESS, 2])?;
    }
    let mut after = before.to_vec();
    let moved = ask_again(&mut after, door)?;
    let homeless = before.iter().filter(|visitor| is_gone(&visitor.pod)).count();
    ensure!(homeless > 0 && moved == homeless, "{moved} moved, and {homeless} had lost their Pod");
    ensure!(after.iter().all(|visitor| !is_gone(&visitor.pod)), "somebody is answered by a node that is gone");
    let counted = reasons(lab, "clients")?;
    let expected = serde_json::json!({"not-ready": moved});
    ensure!(counted == expected, "{counted} are counted, and {moved} moved");
    ask_all(others, "after the cluster noticed")
}

fn is_gone(pod: &str) -> bool {
    first_pods([GONE]).iter().any(|gone| gone == pod)
}

/// Packets dropped because the way to their node is not known.
fn no_next_hop(lab: &Lab) -> Result<u64> {
    let rows = lab.limpet(INGRESS, &["get", "counters", "-o", "json"])?.json()?;
    let rows = rows.as_array().context("`limpet get counters` prints no array")?;
    let of_reason = rows.iter().filter(|row| row["reason"] == "no-next-hop");
    Ok(of_reason.filter_map(|row| row["packets"].as_u64()).sum())
}

/// The reasons of a Service's breaks at the ingress node that were counted at all.
pub(crate) fn reasons(lab: &Lab, service: &str) -> Result<Value> {
    let service = format!("{NAMESPACE}/{service}");
    let said = lab.limpet(INGRESS, &["breaks", &service, "-o", "json"])?.json()?;
    let totals = said["totals"].as_array().context("`limpet breaks` has no totals")?;
    let mut sum = serde_json::Map::new();
    for (reason, count) in totals.iter().filter_map(|total| total["reasons"].as_object()).flatten() {
        let count = count.as_u64().unwrap_or_default();
        if count > 0 {
            let before = sum.get(reason).and_then(Value::as_u64).unwrap_or_default();
            sum.insert(reason.clone(), (before + count).into());
        }
    }
    Ok(sum.into())
}

/// Has all kernels of the lab look after a neighbour within seconds that was not heard of, where they take half a minute to
/// three quarters of one by themselves. Of devices that are there, and of later ones.
pub(crate) fn ask_neighbours_often(lab: &Lab) -> Result<()> {
    let is_on_the_wire = |namespace: &Namespace| {
        let name = namespace.name();
        name.ends_with("-router") || (1..=NODES).any(|node| name == lab.node(node).name())
    };
    lab.namespaces().iter().filter(|namespace| is_on_the_wire(namespace)).try_for_each(|namespace| {
        namespace.run(|| {
            for family in ["ipv4", "ipv6"] {
                let devices = fs::read_dir(format!("/proc/sys/net/{family}/neigh"))?;
                for device in devices {
                    let device = device?.path();
                    fs::write(device.join("base_reachable_time_ms"), "2000")?;
                    fs::write(device.join("delay_first_probe_time"), "1")?;
                    fs::write(device.join("interval_probe_time_ms"), "1000")?;
                }
            }
            Ok(())
        })
    })
}
