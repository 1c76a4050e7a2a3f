//! The agent: keeps the datapath in step with Kubernetes objects.
//!
//! It wires source, model, plan and dataplane, and decides nothing itself. It may stop, be killed or be replaced at any
//! time: the datapath goes on with what was last programmed.

mod addresses;
mod breaks;
mod directory;
mod drop_log;
mod events;
mod health;
mod health_checks;
mod hops;
mod http;
mod in_process;
mod lock;
mod metrics;
mod report;
mod socket;
mod sync;
mod telling;
mod uplinks;
mod verify;

#[doc(hidden)]
pub use in_process::InProcess;

use std::{
    io::{self, IsTerminal},
    panic, process,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use self::{
    addresses::Addresses,
    breaks::{History, Teller},
    hops::Hops,
    lock::Lock,
    report::Report,
    sync::Syncer,
    telling::Telling,
    uplinks::Uplinks,
    verify::Questions,
};
use crate::{
    cli::{AgentOptions, SourceOption},
    clock,
    dataplane::{self, BreakEvents, HeldPins, Loaded, Pins, Switches},
    netlink::{Changes, Netlink},
    source::Source,
};

/// Pause before what failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Pause after which uplinks and the ways to other nodes are looked at though no change was announced: a path MTU that
/// the kernel learns is not, nor that somebody took our programs off.
const REFRESH: Duration = Duration::from_secs(30);
/// Pause after which it is looked whether the pins are still where they belong: no mount is announced either.
const GLANCE: Duration = Duration::from_secs(2);

/// Runs until SIGTERM or Ctrl-C.
///
/// # Errors
/// When it cannot start: another agent runs on this node, a device is unknown, the kernel refuses. What goes wrong
/// later is reported and tried again.
pub fn run(options: &AgentOptions) -> Result<()> {
    log_to_standard_error(&options.log)?;
    end_with_the_first_panic();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(serve(options))
}

/// A task that panics would end alone and leave an agent that seems to be well and follows nothing: better none, which is
/// seen and started again, while the datapath goes on.
fn end_with_the_first_panic() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        tell(what);
        process::abort();
    }));
}

/// The lines that `--log` chooses.
fn log_to_standard_error(filter: &str) -> Result<()> {
    // What the client says of each request that fails is said here once, and better.
    let quiet = format!("kube_client=off,{filter}");
    let filter = EnvFilter::builder().parse(quiet).with_context(|| format!("{filter:?} chooses no log lines"))?;
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours).init();
    Ok(())
}

async fn serve(options: &AgentOptions) -> Result<()> {
    let _socket_lock = Lock::take(&options.places.socket)?;
    let stop = Stop::listen()?;
    let netlink = Netlink::open()?;
    let names = uplinks::wanted(options, &netlink).await?;
    let pins = Pins::new(&options.places.pin_dir);
    pins.create_root()?;
    let pins_lock = lock::lock_pins(&pins)?;
    let switches = Switches { log_drops: options.log_drops, flood_guard: options.flood_guard };
    // Before anything is written: see there.
    let mut loaded = dataplane::take_over(&pins, &options.limits.sizes(), switches)?;
    if options.log_drops {
        drop_log::start(loaded.ebpf())?;
    }
    let pins = HeldPins::hold(pins, pins_lock)?;
    let uplinks = Uplinks::start(names, pins, options.tunnel_port, &mut loaded.maps).await?;

    let source = source(options).await?;
    let breaks = BreakEvents::take(&mut loaded)?;
    let report = Report::new(options, source.standing());
    let history = History::starting(&options.node, clock::monotonic().context("cannot read the monotonic clock")?);
    let (asker, questions) = verify::channel();
    let _socket = socket::serve(&options.places.socket, report.clone(), history.clone(), asker)?;
    let syncer = Syncer::start(options, &mut loaded.maps)?;
    info!(node = options.node, source = source.standing().state().place, "started");
    let telling = Telling::start(options, &report, source.client())?;
    telling.programmed(syncer.applied());
    let teller = Teller::new(syncer.applied(), history, telling.announcer());
    let events = Events { stop, source, network: netlink.changes(), questions };
    let hops = Hops::new(netlink);
    let addresses = Addresses::new(&options.services.node_port_addresses)?;
    let mut agent =
        Agent { loaded, syncer, hops, addresses, uplinks, report, telling, breaks, teller, is_on_uplinks: false };
    agent.tell_hops();
    agent.check_addresses().await;
    agent.run(events).await?;
    info!("stopped; the datapath goes on with what was last programmed (`limpet detach` removes it)");
    Ok(())
}

/// Where Kubernetes objects come from.
async fn source(options: &AgentOptions) -> Result<Source> {
    Ok(match &options.source {
        SourceOption::Directory(path) => Source::directory(path)?,
        SourceOption::Kube => {
            let proxy_name = options.services.service_proxy_name.as_deref();
            Source::kube(options.kubeconfig.as_deref(), proxy_name).await?
        }
    })
}

/// The signals that end the agent.
struct Stop {
    terminated: Signal,
    interrupted: Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        Ok(Self {
            terminated: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupted: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminated.recv() => {}
            _ = self.interrupted.recv() => {}
        }
    }
}

/// What the agent reacts to.
struct Events {
    stop: Stop,
    source: Source,
    network: Changes,
    questions: Questions,
}

/// The running agent: what it writes to, where from, and what it tells.
struct Agent {
    loaded: Loaded,
    syncer: Syncer,
    hops: Hops,
    addresses: Addresses,
    uplinks: Uplinks,
    report: Report,
    telling: Telling,
    breaks: BreakEvents,
    teller: Teller,
    /// Not before the maps are complete for the first time.
    is_on_uplinks: bool,
}

impl Agent {
    /// Runs until it is asked to stop. Fails when no uplink at all can be used at the beginning.
    async fn run(mut self, mut events: Events) -> Result<()> {
        let mut next_sync = Some(Instant::now());
        let mut next_look = Instant::now() + REFRESH;
        let mut glances = interval(GLANCE);
        glances.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = events.stop.asked() => return Ok(()),
                () = events.source.changed() => {
                    self.report.fall_behind();
                    next_sync = Some(Instant::now());
                }
                () = events.network.next() => next_look = Instant::now(),
                _ = glances.tick() => {
                    if self.uplinks.are_pins_elsewhere() {
                        next_look = Instant::now();
                    }
                }
                breaks = self.breaks.next() => self.teller.tell(&breaks, self.syncer.applied()),
                Some(question) = events.questions.next() => {
                    if let Some(again_in) = self.answer(question, &mut events.source).await? {
                        next_sync = again_in.map(|pause| Instant::now() + pause);
                    }
                }
                () = sleep_until(next_sync.unwrap_or(next_look)), if next_sync.is_some() => {
                    next_sync = self.sync(&mut events.source).await?.map(|pause| Instant::now() + pause);
                }
                () = sleep_until(next_look) => {
                    if self.check_addresses().await {
                        next_sync = Some(Instant::now());
                    }
                    next_look = Instant::now() + self.look().await?;
                }
            }
        }
    }

    /// Brings maps and uplinks in step with the source; returns when to do it again although nothing changes.
    async fn sync(&mut self, source: &mut Source) -> Result<Option<Duration>> {
        // Before names are taken away that they have.
        self.teller.tell(&self.breaks.waiting(), self.syncer.applied());
        let outcome = self.syncer.sync(source, &mut self.loaded.maps, &mut self.hops).await;
        self.teller.reprogrammed(self.syncer.applied());
        self.telling.programmed(self.syncer.applied());
        match outcome {
            // The source does not know everything yet, and will tell.
            Ok(None) => {
                self.report.nothing_to_do();
                Ok(None)
            }
            Ok(Some(outcome)) => {
                self.check_uplinks().await?;
                let again_in = outcome.again_in;
                self.report.in_step(&outcome, self.hops.problems());
                self.telling.synced(outcome.snapshot, &outcome.limits).await;
                Ok(again_in)
            }
            Err(failure) => {
                error!("cannot bring the datapath in step: {failure:#}; trying again");
                self.report.failed(&failure);
                Ok(Some(RETRY))
            }
        }
    }

    /// Looks at uplinks and ways to other nodes; returns when to look again.
    async fn look(&mut self) -> Result<Duration> {
        if self.is_on_uplinks {
            self.check_uplinks().await?;
        }
        let ways = self.hops.refresh(&mut self.loaded.maps).await;
        self.report.hops(self.hops.problems());
        self.telling.retry().await;
        Ok(if ways.is_ok() { REFRESH } else { RETRY })
    }

    /// Asks for this node's addresses; returns whether there is something to do about them.
    async fn check_addresses(&mut self) -> bool {
        let addresses = self.addresses.changed().await;
        let has_changed = addresses.is_some();
        if let Some(addresses) = addresses {
            self.syncer.use_addresses(addresses);
        }
        has_changed
    }

    /// Puts the programs on the uplinks. One that cannot be used is told and tried again; fails when, the first time,
    /// none can.
    async fn check_uplinks(&mut self) -> Result<()> {
        let found = self.uplinks.check(&mut self.loaded).await;
        if !self.is_on_uplinks && found.attached.is_empty() {
            return Err(found.into_error());
        }
        self.is_on_uplinks = true;
        self.report.uplinks(found.attached, found.problems);
        self.tell_hops();
        Ok(())
    }

    /// What fits through the tunnel depends on the uplinks as well as on the ways.
    fn tell_hops(&mut self) {
        if let Some((indexes, mtu)) = self.uplinks.devices_and_mtu() {
            self.hops.use_uplinks(indexes, mtu);
        }
    }
}
