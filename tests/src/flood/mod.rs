//! A flood: SYNs and single datagrams, each from another forged source, as fast as one thread makes them.
//!
//! Frames leave at the router's port to a node, so that neither clients' machines nor the router spend time on them; what
//! is sent back to their sources ends at the router. A flood is as fast as the node takes it ([`sender`]). It ends after so
//! many frames, after so much time, when it is stopped or dropped, and with the process that it is in.

mod frame;
mod sender;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

pub(crate) use self::frame::source_ranges;
use self::frame::{Chance, Template};
use self::sender::Wire;
use crate::net::namespace::Namespace;
use crate::wire::Stream;
use crate::world::Protocol;

/// Frames that are made between two looks at the clock.
const BATCH: usize = 64;

/// What is flooded, and when that is over.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where frames are sent, in turn: SYNs to TCP ports, datagrams to UDP ports.
    pub targets: Vec<(Protocol, SocketAddr)>,
    /// No more frames than these.
    pub max_frames: u64,
    /// No longer than this.
    pub max_time: Duration,
    /// Another seed, other sources.
    pub seed: u64,
}

/// What a flood has come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sent {
    /// Frames that were handed to the wire.
    pub frames: u64,
    /// How long that took.
    pub time: Duration,
}

impl Sent {
    /// Frames a second.
    #[must_use]
    pub fn rate(self) -> f64 {
        self.frames as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// A device of a namespace.
pub(crate) type Device<'a> = (&'a Namespace, &'a str);

/// A flood that goes on.
#[derive(Debug)]
pub struct Flood {
    shared: Arc<Shared>,
    /// Gone when it was joined.
    thread: Option<JoinHandle<Result<Duration>>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    frames: AtomicU64,
}

impl Flood {
    /// Begins a flood at the end `port` of a wire, for the device `receiver` at the other end of it, in the name of the
    /// device `from`.
    pub(crate) fn start(port: Device<'_>, receiver: Device<'_>, from: Device<'_>, plan: &Plan) -> Result<Self> {
        ensure!(!plan.targets.is_empty(), "a flood needs a target");
        let wire = Wire::at(port.0, port.1)?;
        let receiver = sender::ethernet_address(receiver.0, receiver.1)?;
        let from = sender::ethernet_address(from.0, from.1)?;
        let frame = |(protocol, to): &(Protocol, SocketAddr)| Template::new(from, receiver, *protocol, *to);
        let templates = plan.targets.iter().map(frame).collect();
        let shared = Arc::new(Shared::default());
        let (seen, plan) = (Arc::clone(&shared), plan.clone());
        let thread = thread::Builder::new()
            .name("flood".to_owned())
            .spawn(move || run(&wire, templates, &plan, &seen))
            .context("cannot start a thread")?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Frames so far.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.shared.frames.load(Ordering::Relaxed)
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it, and says what it has come to; fails when a frame could not be sent.
    pub fn stop(self) -> Result<Sent> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// The same, when it has ended by itself.
    pub fn wait(mut self) -> Result<Sent> {
        let thread = self.thread.take().context("a flood ends once")?;
        let time = thread.join().map_err(|_| anyhow!("the flood panicked"))??;
        Ok(Sent { frames: self.frames(), time })
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Who drops it does not ask what became of it.
            let _outcome = thread.join();
        }
    }
}

/// Floods until it is over, and says how long that took.
fn run(wire: &Wire, mut templates: Vec<Template>, plan: &Plan, shared: &Shared) -> Result<Duration> {
    let begun = Instant::now();
    let mut stream = Stream::new(plan.seed);
    let mut chances = [0; BATCH * size_of::<u64>()];
    let mut left = plan.max_frames;
    // Which target is next goes on from batch to batch, or the first ones would get more.
    let mut next = 0;
    while left > 0 && begun.elapsed() < plan.max_time && !shared.is_over.load(Ordering::Relaxed) {
        stream.fill(&mut chances);
        let mut sent = 0;
        for chance in chances.as_chunks().0.iter().take(usize::try_from(left).unwrap_or(BATCH)) {
            let frame = templates[next].spoof(Chance(u64::from_le_bytes(*chance)));
            sent += u64::from(wire.send(frame)?);
            next = (next + 1) % templates.len();
        }
        left -= sent;
        shared.frames.fetch_add(sent, Ordering::Relaxed);
    }
    Ok(begun.elapsed())
}
