//! What clients do while agents are replaced: they connect and send datagrams, hundreds of times a second.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use limpet_lab::Lab;
use limpet_lab::address::{CLIENTS, Family};
use limpet_lab::client::{Client, Outcome};
use limpet_lab::wait::let_pass;
use limpet_lab::world::Protocol;

use crate::support::frontend;

/// How long an answer may take: long enough for a segment to be sent again, and for a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two requests of a client: the processor is the agents' as well.
const PAUSE: Duration = Duration::from_millis(2);
/// The kernel sends a segment that got no answer again after this, and not before.
const SECOND_SYN: Duration = Duration::from_secs(1);

/// The addresses of each client that they come from, in turn: one alone would run out of ports. Others are the held
/// connections', and those of the clients with affinity.
const ADDRESSES: RangeInclusive<u8> = 130..=189;

/// Of so many requests, one may go wrong. On a machine that has too much to do, any network loses some; and a Pod's kernel may
/// reset a connection whose first two packets after the SYN come on two CPUs at once: it removes the request from its table
/// before it adds the socket (`inet_ehash_insert` in net/ipv4/inet_hashtables.c, before Linux 6.19).
pub(crate) const REQUESTS_PER_LOST: u64 = 10_000;

/// How it went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    /// Connections that were made and answered.
    connections: u64,
    /// Those of them that took so long that something of theirs may have been sent twice.
    slow: u64,
    /// Those that were refused or reset.
    resets: u64,
    /// Those that nobody answered.
    time_outs: u64,
    /// Datagrams that were answered.
    datagrams: u64,
    /// Those that were not.
    lost: u64,
    /// What went wrong, in order of time, as far as anybody would read it.
    wrong: Vec<String>,
}

/// So many things that went wrong are kept.
const MAX_WRONG: usize = 20;

impl Traffic {
    /// That no more went wrong than may go wrong anyhow, and that there was something to lose.
    pub(crate) fn is_unharmed(&self) -> Result<()> {
        let (asked, wrong) = (self.connections + self.datagrams, self.resets + self.time_outs + self.lost);
        ensure!(wrong * REQUESTS_PER_LOST <= asked, "{self:?}");
        ensure!(self.connections > 100 && self.datagrams > 100, "too little to tell: {self:?}");
        Ok(())
    }
}

/// Lets clients ask with hardly a pause while `work` is done.
pub(crate) fn during(lab: &mut Lab, service: &str, work: impl FnOnce(&mut Lab) -> Result<()>) -> Result<Traffic> {
    let mut askers = Vec::new();
    for (number, family) in (1..=CLIENTS).zip(Family::BOTH) {
        for protocol in Protocol::BOTH {
            askers.push((lab.client(number), protocol, frontend(lab, service, family, protocol)?));
        }
    }
    let (over, start) = (AtomicBool::new(false), Instant::now());
    let (outcome, counts) = thread::scope(|scope| {
        let over = &over;
        let ask = |(client, protocol, to)| scope.spawn(move || ask(&client, protocol, to, start, over));
        let askers: Vec<_> = askers.into_iter().map(ask).collect();
        let outcome = {
            let _end = AtEnd(over);
            work(lab)
        };
        (outcome, askers.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>())
    });
    let mut sum = Traffic::default();
    for count in counts {
        let Traffic { connections, slow, resets, time_outs, datagrams, lost, wrong } =
            count.map_err(|_| anyhow!("a client panicked"))?;
        sum.connections += connections;
        sum.slow += slow;
        sum.resets += resets;
        sum.time_outs += time_outs;
        sum.datagrams += datagrams;
        sum.lost += lost;
        sum.wrong.extend(wrong);
    }
    sum.wrong.sort();
    outcome.map(|()| sum)
}

fn ask(client: &Client, protocol: Protocol, to: SocketAddr, start: Instant, over: &AtomicBool) -> Traffic {
    let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
    let mut traffic = Traffic::default();
    let mut addresses = ADDRESSES.cycle();
    while !over.load(Ordering::Relaxed) {
        let from = addresses.next().map(|index| SocketAddr::new(client.address(family, index), 0));
        let_pass(PAUSE);
        let begun = Instant::now();
        let outcome = client.attempt(protocol, to, from, PATIENCE);
        let count = match (protocol, &outcome) {
            (Protocol::Tcp, Ok(Outcome::Answered(_))) => {
                traffic.connections += 1;
                if begun.elapsed() < SECOND_SYN {
                    continue;
                }
                &mut traffic.slow
            }
            (Protocol::Udp, Ok(Outcome::Answered(_))) => {
                traffic.datagrams += 1;
                continue;
            }
            (Protocol::Tcp, Ok(Outcome::Silence)) => &mut traffic.time_outs,
            (Protocol::Tcp, Ok(Outcome::Refused | Outcome::Unreachable) | Err(_)) => &mut traffic.resets,
            (Protocol::Udp, Ok(_) | Err(_)) => &mut traffic.lost,
        };
        *count += 1;
        if traffic.wrong.len() < MAX_WRONG {
            let (since, took) = ((begun - start).as_secs_f64(), begun.elapsed().as_secs_f64());
            let protocol = protocol.name();
            traffic.wrong.push(format!("{since:6.1} s: {protocol} from {from:?} to {to}, {took:.1} s: {outcome:?}"));
        }
    }
    traffic
}

/// Also when the work panics, or the clients would go on for ever.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
