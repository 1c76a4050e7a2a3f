//! A client machine with an IPv4 and an IPv6 address is two clients.

use anyhow::{Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::Family;
use limpet_lab::world::ServiceSpec;

use super::service::put;
use super::time::while_time_out_passes;
use super::visitors::{Door, Visitor, arrive, ask_again, stay};
use crate::support::{Test, all_first_pods};

const SECONDS: u32 = 1;

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("a_machine_is_one_client_over_ipv4_and_another_over_ipv6", both_families)]
}

fn both_families(lab: &mut Lab) -> Result<()> {
    let service = "families";
    put(lab, ServiceSpec::new(service, &all_first_pods()).with_affinity(SECONDS))?;
    let door = Door::of(lab, service)?;
    let visitors = arrive(lab, 2..=11, door)?;
    stay(&visitors, door, "at once")?;
    let is_v4 = |visitor: &Visitor| visitor.family() == Family::V4;
    let (v4, v6): (Vec<_>, Vec<_>) = visitors.into_iter().partition(is_v4);
    let different = v4.iter().zip(&v6).filter(|(one, other)| one.pod != other.pod).count();
    ensure!(different > 0, "all {} machines have one Pod for both families", v4.len());

    // Each family is used while the other one expires.
    for (used, mut unused) in [(v4.clone(), v6.clone()), (v6, v4)] {
        ask_again(&mut unused, door)?;
        let mut used = used;
        ask_again(&mut used, door)?;
        while_time_out_passes(SECONDS, || stay(&used, door, "while the other family expired"))?;
        let moved = ask_again(&mut unused, door)?;
        ensure!(moved > 0, "all {} clients still have their Pods in the family that expired", unused.len());
        stay(&used, door, "after the other family had expired")?;
    }
    Ok(())
}
