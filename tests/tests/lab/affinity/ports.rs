//! Services with several ports: clients of each port, or of the whole Service.

use anyhow::{Result, ensure};
use limpet_lab::Lab;
use limpet_lab::world::{Port, Protocol, ServiceSpec};

use super::LONG_SECONDS;
use super::service::{join, put};
use super::time::while_time_out_passes;
use super::visitors::{Door, arrive, ask_again, leave, split, stay};
use crate::support::{CHANGE_LIMIT, Test, all_first_pods};

/// The Service's ports, of which the first is where everybody begins.
const PORTS: [Port; 3] = [
    Port { protocol: Protocol::Tcp, number: 80 },
    Port { protocol: Protocol::Tcp, number: 443 },
    Port { protocol: Protocol::Udp, number: 443 },
];

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("expiry_at_one_port_of_a_service_leaves_the_others_alone", one_port_expires),
        Test::new("with_the_service_as_key_all_ports_lead_to_one_pod_also_after_pods_changed", service_key),
    ]
}

fn one_port_expires(lab: &mut Lab) -> Result<()> {
    const SECONDS: u32 = 1;
    let service = "ports-own";
    put(lab, ServiceSpec::new(service, &all_first_pods()).with_ports(&PORTS).with_affinity(SECONDS))?;
    let used = Door::of(lab, service)?;
    let unused = used.at_port(PORTS[1]);
    let at_used = arrive(lab, 2..=11, used)?;
    let mut at_unused = arrive(lab, 2..=11, unused)?;
    while_time_out_passes(SECONDS, || stay(&at_used, used, "while the other port expired"))?;
    let moved = ask_again(&mut at_unused, unused)?;
    ensure!(moved > 0, "all {} clients still have their Pods at the port that expired", at_unused.len());
    stay(&at_used, used, "after the other port had expired")?;
    Ok(())
}

/// The first port alone is used until Pods join: the others must know of the clients without having seen them.
fn service_key(lab: &mut Lab) -> Result<()> {
    let service = "ports-shared";
    let pods = all_first_pods();
    let (first, others) = pods.split_at(3);
    let spec = ServiceSpec::new(service, first).with_ports(&PORTS).with_affinity(LONG_SECONDS);
    put(lab, spec.with_annotation("limpet.dev/affinity-key", "service"))?;
    let doors = PORTS.map(|port| Door::of(lab, service).map(|door| door.at_port(port)));
    let [a, b, c] = doors;
    let doors = [a?, b?, c?];
    let visitors = arrive(lab, 2..=9, doors[0])?;
    join(lab, service, others)?;
    for (door, port) in doors.into_iter().zip(PORTS).rev() {
        stay(&visitors, door, &format!("at port {} after Pods joined", port.name()))?;
    }

    // Those who must move do so at the second port, and the others follow.
    let victim = &pods[0];
    let (mut own, rest) = split(visitors, victim)?;
    let mut spec = lab.world().service(service)?.spec().clone();
    spec.pods.retain(|pod| pod != victim);
    put(lab, spec)?;
    leave(&mut own, doors[1], &[victim], CHANGE_LIMIT)?;
    for (door, port) in doors.into_iter().zip(PORTS) {
        stay(&own, door, &format!("at port {} after its Pod left", port.name()))?;
        stay(&rest, door, &format!("at port {} after a Pod of others left", port.name()))?;
    }
    Ok(())
}
