//! Clients that have a Pod, and asking whether they still have it.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use limpet_lab::address::{CLIENTS, Family};
use limpet_lab::client::Client;
use limpet_lab::world::{FrontendKind, Port, Protocol};
use limpet_lab::{Lab, wait};

use crate::support::{Held, INGRESS};

/// How many visitors ask at the same time.
const THREADS: usize = 8;

/// Where visitors ask: a frontend, with an address of each family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    protocol: Protocol,
    v4: SocketAddr,
    v6: SocketAddr,
}

impl Door {
    /// The load-balancer IP and the first TCP port of a Service.
    pub(super) fn of(lab: &Lab, service: &str) -> Result<Self> {
        Self::of_kind(lab, service, FrontendKind::LoadBalancerIp, Protocol::Tcp)
    }

    /// The first port of a protocol. A node port is that of the ingress node.
    pub(super) fn of_kind(lab: &Lab, service: &str, kind: FrontendKind, protocol: Protocol) -> Result<Self> {
        let service = lab.world().service(service)?;
        let to = |family| service.frontend(kind, family, protocol, INGRESS);
        Ok(Self { protocol, v4: to(Family::V4)?, v6: to(Family::V6)? })
    }

    /// Another port of the same addresses, which must not be those of a node.
    pub(super) fn at_port(self, port: Port) -> Self {
        let at = |address: SocketAddr| SocketAddr::new(address.ip(), port.number);
        Self { protocol: port.protocol, v4: at(self.v4), v6: at(self.v6) }
    }

    /// Its address of this family.
    pub(super) fn to(self, family: Family) -> SocketAddr {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// A client as a Service knows it, one source address, and the Pod that it had last.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// The machine that it is on.
    client: Client,
    /// Its address.
    pub(super) address: IpAddr,
    /// The Pod's name.
    pub(super) pod: String,
}

impl Visitor {
    /// The family of its address.
    pub(super) fn family(&self) -> Family {
        if self.address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The Pod that answers a new connection. That Pod must see the visitor's own address.
    pub(super) fn ask(&self, door: Door) -> Result<String> {
        let from = SocketAddr::new(self.address, 0);
        let answer = self.client.who(door.protocol, door.to(self.family()), Some(from));
        let answer = answer.with_context(|| format!("{} had Pod {}", self.address, self.pod))?;
        let (own, seen) = (self.address, answer.client.ip());
        ensure!(seen == own, "Pod {} takes {own} for {seen}", answer.pod);
        Ok(answer.pod)
    }

    /// A connection to hold, which must be answered by the visitor's Pod.
    pub(super) fn hold(&self, door: Door) -> Result<Held> {
        let from = SocketAddr::new(self.address, 0);
        let connection = self.client.tcp(door.to(self.family()), Some(from))?;
        let mut held = Held { connection, pod: self.pod.clone() };
        held.ask()?;
        Ok(held)
    }
}

/// Lets clients connect for the first time. Each number stands for four of them: an IPv4 and an IPv6 address on each of
/// the client machines, one after the other.
pub(super) fn arrive(lab: &Lab, numbers: RangeInclusive<u8>, door: Door) -> Result<Vec<Visitor>> {
    let mut visitors = Vec::new();
    for number in numbers {
        for client in (1..=CLIENTS).map(|machine| lab.client(machine)) {
            for family in Family::BOTH {
                let address = client.address(family, number);
                visitors.push(Visitor { client: client.clone(), address, pod: "none".to_owned() });
            }
        }
    }
    ask_again(&mut visitors, door)?;
    Ok(visitors)
}

/// Everybody asks and remembers the Pod that answers. Says how many got another one than before.
pub(super) fn ask_again(visitors: &mut [Visitor], door: Door) -> Result<usize> {
    let pods = all(visitors, |visitor| visitor.ask(door))?;
    let mut moved = 0;
    for (visitor, pod) in visitors.iter_mut().zip(pods) {
        moved += usize::from(visitor.pod != pod);
        visitor.pod = pod;
    }
    Ok(moved)
}

/// Everybody asks, and must be answered by the Pod that they had.
pub(super) fn stay(visitors: &[Visitor], door: Door, when: &str) -> Result<()> {
    let pods = all(visitors, |visitor| visitor.ask(door))?;
    let moved: Vec<_> = visitors.iter().zip(&pods).filter(|(visitor, pod)| visitor.pod != **pod).collect();
    let Some((visitor, pod)) = moved.first() else {
        return Ok(());
    };
    let (count, of) = (moved.len(), visitors.len());
    Err(anyhow!("{when}, {count} of {of} clients moved, such as {} from {} to {pod}", visitor.address, visitor.pod))
}

/// Everybody asks, again and again, until none of them has one of the `leaving` Pods any more. All must be answered
/// each time, and by the Pod that they had, unless it is one of those.
pub(super) fn leave(visitors: &mut [Visitor], door: Door, leaving: &[&str], limit: Duration) -> Result<()> {
    let is_leaving = |pod: &str| leaving.contains(&pod);
    let mut look = || {
        let (mut free, held): (Vec<_>, Vec<_>) = visitors.iter().cloned().partition(|visitor| is_leaving(&visitor.pod));
        stay(&held, door, "while Pods of others left")?;
        ask_again(&mut free, door)?;
        let left = free.iter().all(|visitor| !is_leaving(&visitor.pod));
        for visitor in visitors.iter_mut() {
            if let Some(now) = free.iter().find(|now| now.address == visitor.address) {
                visitor.pod.clone_from(&now.pod);
            }
        }
        anyhow::Ok(left)
    };
    let what = format!("the clients of {leaving:?} to leave");
    // What goes wrong must not be tried again.
    let outcome = wait::until(&what, limit, || match look() {
        Ok(false) => Ok(None),
        outcome => Ok(Some(outcome)),
    });
    outcome?.map(|_| ())
}

/// Those who have this Pod, and the others; there must be some of both.
pub(super) fn split(visitors: Vec<Visitor>, pod: &str) -> Result<(Vec<Visitor>, Vec<Visitor>)> {
    let (own, others): (Vec<_>, Vec<_>) = visitors.into_iter().partition(|visitor| visitor.pod == pod);
    ensure!(!own.is_empty() && !others.is_empty(), "{} clients have Pod {pod}, {} others", own.len(), others.len());
    Ok((own, others))
}

/// A held connection for each visitor.
pub(super) fn hold_all(visitors: &[Visitor], door: Door) -> Result<Vec<Held>> {
    all(visitors, |visitor| visitor.hold(door))
}

/// Lets every visitor do something, many at a time; the results are in the order of the visitors.
pub(super) fn all<T: Send>(visitors: &[Visitor], act: impl Fn(&Visitor) -> Result<T> + Sync) -> Result<Vec<T>> {
    let share = visitors.len().div_ceil(THREADS).max(1);
    let act = &act;
    thread::scope(|scope| {
        let one = |part: &'_ [Visitor]| part.iter().map(act).collect::<Result<Vec<T>>>();
        let threads: Vec<_> = visitors.chunks(share).map(|part| scope.spawn(move || one(part))).collect();
        let mut results = Vec::new();
        for thread in threads {
            results.extend(thread.join().map_err(|_| anyhow!("a visitor panicked"))??);
        }
        Ok(results)
    })
}
