//! One client of a Service port, whichever of its frontends it uses.

use anyhow::Result;
use limpet_lab::Lab;
use limpet_lab::world::{FrontendKind, Protocol, ServiceSpec};

use super::LONG_SECONDS;
use super::service::{join, put};
use super::visitors::{Door, Visitor, arrive, stay};
use crate::support::{Test, all_first_pods};

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("load_balancer_ip_external_ip_and_node_port_know_the_same_clients", one_key)]
}

/// A third of the clients comes by each kind; then Pods join, and everybody uses all kinds in turn.
fn one_key(lab: &mut Lab) -> Result<()> {
    let service = "kinds";
    let pods = all_first_pods();
    let (first, others) = pods.split_at(2);
    put(lab, ServiceSpec::new(service, first).with_affinity(LONG_SECONDS))?;
    let mut doors = Vec::new();
    for kind in FrontendKind::ALL {
        doors.push(Door::of_kind(lab, service, kind, Protocol::Tcp)?);
    }
    let mut visitors: Vec<Visitor> = Vec::new();
    for (numbers, door) in [2..=6, 7..=11, 12..=16].into_iter().zip(&doors) {
        visitors.extend(arrive(lab, numbers, *door)?);
    }
    join(lab, service, others)?;
    for time in 1..=2 {
        for (kind, door) in FrontendKind::ALL.into_iter().zip(&doors) {
            stay(&visitors, *door, &format!("at the {}, time {time}", kind.name()))?;
        }
    }
    Ok(())
}
