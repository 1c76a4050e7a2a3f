//! More Pods, and fewer.

use anyhow::{Result, ensure};
use limpet_lab::Lab;
use limpet_lab::world::ServiceSpec;

use super::LONG_SECONDS;
use super::service::{programmed, put};
use super::visitors::{Door, Visitor, arrive, ask_again, stay};
use crate::support::Test;

const FEW: usize = 3;
const MANY: usize = 12;

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("of_two_hundred_clients_none_moves_up_and_only_those_of_removed_pods_move_down", up_and_down)]
}

fn up_and_down(lab: &mut Lab) -> Result<()> {
    let service = "scale";
    let pods = lab.add_pods(&[1, 2, 3])?;
    put(lab, ServiceSpec::new(service, &pods).with_affinity(LONG_SECONDS))?;
    let door = Door::of(lab, service)?;
    let first = arrive(lab, 2..=51, door)?;
    lab.scale(service, MANY)?;
    programmed(lab, service)?;
    stay(&first, door, &format!("from {FEW} to {MANY} Pods"))?;

    // Those who came first have none of the new Pods, so others come now.
    let late = arrive(lab, 52..=101, door)?;
    lab.scale(service, FEW)?;
    programmed(lab, service)?;
    let is_left = |visitor: &Visitor| pods.contains(&visitor.pod);
    let (staying, mut leaving): (Vec<_>, Vec<_>) = first.into_iter().chain(late).partition(is_left);
    stay(&staying, door, &format!("from {MANY} to {FEW} Pods"))?;
    let moved = ask_again(&mut leaving, door)?;
    ensure!(moved == leaving.len() && moved > 0, "{moved} of {} clients of removed Pods moved", leaving.len());
    ensure!(leaving.iter().all(is_left), "some clients have Pods that are gone");
    stay(&leaving, door, "after they had moved")?;
    Ok(())
}
