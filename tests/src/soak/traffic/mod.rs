//! The clients: threads that ask, each at its own pace and from addresses of its own, until the soak is over.

mod ask;
mod failure;
mod held;
mod source;
mod users;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::dice::Dice;
use super::history::{Moment, Window};
use super::judge::{Asked, Failure};
use super::tally::Event;
use crate::Lab;
use crate::address::{CLIENTS, Family, NODES};
use crate::world::{FrontendKind, Protocol, Service};

pub(super) use source::{FENCE, Source, ranges_of};

/// How long a new TCP connection, a datagram, and each answer may take. A SYN is sent again after a second, so that one
/// packet that is lost is no failure of a connection.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long an answer on an open connection may take: longer than an uplink is ever down, so that no connection
/// ends for that.
const HELD_PATIENCE: Duration = Duration::from_secs(12);

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Threads of each client machine that make new connections and send datagrams, and the pause of each.
    askers: u8,
    asker_pause: Duration,
    /// Threads of each client machine with users of Services with affinity, and how many users each has. Each asks once
    /// in a pause.
    user_threads: u8,
    users_each: u8,
    user_pause: Duration,
    /// Threads of each client machine with open connections, and how many each has. Data move on each once in a pause.
    holders: u8,
    held_each: u8,
    held_pause: Duration,
}

impl Load {
    /// Some hundred requests a second.
    pub(super) const NORMAL: Self = Self {
        askers: 10,
        asker_pause: Duration::from_millis(80),
        user_threads: 2,
        users_each: 12,
        user_pause: Duration::from_millis(1_000),
        holders: 2,
        held_each: 12,
        held_pause: Duration::from_millis(500),
    };
}

/// What all clients share.
pub(super) struct Scene<'a> {
    pub(super) seed: u64,
    pub(super) began: Instant,
    pub(super) over: &'a AtomicBool,
    pub(super) services: Vec<Service>,
}

impl Scene<'_> {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// Any way to any Service, or to one that is chosen so, as this thread's dice fall.
    fn any_way(&self, dice: &mut Dice, wanted: impl Fn(&Service) -> bool) -> Option<Way> {
        let wanted: Vec<&Service> = self.services.iter().filter(|service| wanted(service)).collect();
        let service = *dice.pick(&wanted)?;
        let kind = *dice.pick(&FrontendKind::ALL)?;
        let family = *dice.pick(&Family::BOTH)?;
        let node = 1 + u8::try_from(dice.below(NODES.into())).unwrap_or(0);
        Some(Way { service: service.clone(), kind, family, node })
    }
}

/// How a Service is reached.
#[derive(Clone, Debug)]
struct Way {
    service: Service,
    kind: FrontendKind,
    family: Family,
    node: u8,
}

impl Way {
    fn to(&self, protocol: Protocol) -> Result<SocketAddr> {
        self.service.frontend(self.kind, self.family, protocol, self.node)
    }

    fn asked(&self, client: u8, window: Window) -> Asked {
        let service = self.service.spec().name.clone();
        Asked { service, node: self.node, kind: self.kind, client, window }
    }
}

/// A client thread's own things.
struct Hand<'a> {
    scene: &'a Scene<'a>,
    dice: Dice,
    /// The client machine.
    machine: u8,
    source: Source,
    events: Sender<Event>,
}

impl Hand<'_> {
    /// Tells what was seen. Whoever counts has gone when nobody listens; then there is nothing left to tell.
    fn tell(&self, event: Event) {
        let _gone = self.events.send(event);
    }

    /// Waits for the next turn, but not beyond the end of the soak.
    fn pause(&self, since: Instant, pause: Duration) {
        const LOOK: Duration = Duration::from_millis(100);
        while !self.scene.is_over() {
            let left = pause.saturating_sub(since.elapsed());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(LOOK));
        }
    }

    /// One new request over a new connection or with one datagram. Tells how it went, and gives the Pod that answered,
    /// and when it was.
    fn request(&mut self, way: &Way, protocol: Protocol, loyal: bool) -> (Option<String>, Window) {
        let from = self.source.next(way.family, way.node);
        let begun = self.scene.now();
        let outcome = way.to(protocol).map_err(|error| Failure::Other(format!("{error:#}"))).and_then(|to| {
            let answer = match protocol {
                Protocol::Tcp => {
                    crate::client::connect_within(to, from, PATIENCE).and_then(|mut connection| connection.who())
                }
                Protocol::Udp => crate::client::send_within(to, from, PATIENCE),
            };
            let answer = answer.map_err(|error| failure::of(&error))?;
            failure::check_client(&answer, from)?;
            Ok(answer.pod)
        });
        let window = Window { from: begun, to: self.scene.now() };
        let pod = outcome.as_ref().ok().cloned();
        self.tell(Event::Asked { asked: way.asked(self.machine, window), protocol, loyal, outcome });
        (pod, window)
    }
}

type Role = fn(Hand<'_>, Load) -> Result<()>;

/// Starts all clients of a lab. They end when the scene is over.
pub(super) fn start<'scope, 'env: 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    lab: &Lab,
    scene: &'env Scene<'env>,
    load: Load,
    events: &Sender<Event>,
) -> Vec<ScopedJoinHandle<'scope, Result<()>>> {
    let roles: [(u8, Role); 3] = [(load.askers, ask::run), (load.user_threads, users::run), (load.holders, held::run)];
    let mut threads = Vec::new();
    for machine in 1..=CLIENTS {
        // Every thread of a machine has addresses that no other one has.
        let mut own = 0;
        for (count, role) in roles {
            for _ in 0..count {
                own += 1;
                let client = lab.client(machine);
                let hand = Hand {
                    scene,
                    dice: Dice::new(scene.seed).fork(u64::from(machine) << 8 | u64::from(own)),
                    machine,
                    source: Source::new(client.clone(), own),
                    events: events.clone(),
                };
                threads.push(scope.spawn(move || client.inside(|| role(hand, load))));
            }
        }
    }
    threads
}
