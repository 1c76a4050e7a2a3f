//! Pods of one Service that go while Pods of another one come: clients never follow an id or an address there.

use anyhow::{Result, ensure};
use limpet_lab::Lab;
use limpet_lab::world::ServiceSpec;

use super::LONG_SECONDS;
use super::service::{programmed, put};
use super::time::meanwhile;
use super::visitors::{Door, Visitor, all, arrive, ask_again, stay};
use crate::support::Test;

const ONE: &str = "reuse-one";
const OTHER: &str = "reuse-other";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("clients_of_a_deleted_pod_never_reach_a_pod_that_another_service_gets_at_once", new_pods),
        Test::new("clients_never_follow_a_pod_that_another_service_takes_over", same_addresses),
    ]
}

/// Each time a Pod of one Service is removed and the other gets a new one, both before an agent has read either.
fn new_pods(lab: &mut Lab) -> Result<()> {
    const TIMES: usize = 4;
    let mut one = lab.add_pods(&[1, 2, 3, 1, 2])?;
    let mut other = lab.add_pods(&[3])?;
    let mut waiting = lab.add_pods(&[1, 2, 3, 1])?;
    put_both(lab, &one, &other)?;
    let (one_door, other_door) = (Door::of(lab, ONE)?, Door::of(lab, OTHER)?);
    let mut visitors = arrive(lab, 2..=11, one_door)?;
    let strangers = arrive(lab, 2..=6, other_door)?;
    let own = one.clone();
    for _ in 0..TIMES {
        let asking = visitors.clone();
        let ask = || all(&asking, |visitor| is_one_of(visitor, one_door, &own)).map(|_| ());
        meanwhile(ask, || {
            one.remove(0);
            other.extend(waiting.pop());
            put_both(lab, &one, &other)
        })?;
        ask_again(&mut visitors, one_door)?;
        let outside = visitors.iter().find(|visitor| !one.contains(&visitor.pod));
        ensure!(outside.is_none(), "{outside:?} is at a Pod that is none of {one:?}");
    }
    stay(&visitors, one_door, "after all changes")?;
    stay(&strangers, other_door, "of the other Service, after all changes")?;
    Ok(())
}

/// Two Services share four Pods and hand one to each other in turns, all at once: every address goes from one to the
/// other and back.
fn same_addresses(lab: &mut Lab) -> Result<()> {
    let mut ring = lab.add_pods(&[1, 2, 3, 2])?;
    put_both(lab, &ring[..2], &ring[2..])?;
    let (one_door, other_door) = (Door::of(lab, ONE)?, Door::of(lab, OTHER)?);
    let mut at_one = arrive(lab, 2..=11, one_door)?;
    let mut at_other = arrive(lab, 2..=11, other_door)?;
    for _ in 0..2 * ring.len() {
        ring.rotate_left(1);
        put_both(lab, &ring[..2], &ring[2..])?;
        for (visitors, door, own) in [(&mut at_one, one_door, &ring[..2]), (&mut at_other, other_door, &ring[2..])] {
            let (held, mut free): (Vec<_>, Vec<_>) =
                visitors.drain(..).partition(|visitor: &Visitor| own.contains(&visitor.pod));
            stay(&held, door, "at a Pod that stayed")?;
            ask_again(&mut free, door)?;
            let outside = free.iter().find(|visitor| !own.contains(&visitor.pod));
            ensure!(outside.is_none(), "{outside:?} is at a Pod that is none of {own:?}");
            visitors.extend(held);
            visitors.extend(free);
        }
    }
    Ok(())
}

/// Changes both Services in one burst, then waits for both.
fn put_both(lab: &mut Lab, one: &[String], other: &[String]) -> Result<()> {
    let spec = |name, pods: &[String]| ServiceSpec::new(name, pods).with_affinity(LONG_SECONDS);
    lab.put_service(spec(ONE, one))?;
    put(lab, spec(OTHER, other))?;
    programmed(lab, ONE)
}

/// Whoever answers, it is one of these Pods. Who is cut off because its Pod goes at that moment asks again.
fn is_one_of(visitor: &Visitor, door: Door, pods: &[String]) -> Result<()> {
    let pod = visitor.ask(door).or_else(|_| visitor.ask(door))?;
    ensure!(pods.contains(&pod), "{} reached {pod}, which was never a Pod of its Service", visitor.address);
    Ok(())
}
