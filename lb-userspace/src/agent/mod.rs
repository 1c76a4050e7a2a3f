//! The agent: keeps the datapath in step with Kubernetes objects.
//!
//! It wires source, model, plan and dataplane, and decides nothing itself. It may stop, be killed or be replaced at any
//! time: the datapath goes on with what was last programmed.

mod breaks;
mod drop_log;
mod hops;
mod lock;
mod report;
mod socket;
mod sync;
mod uplinks;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep_until},
};
use tracing::{error, info, level_filters::LevelFilter, warn};
use tracing_subscriber::EnvFilter;

use self::{
    breaks::{History, Teller},
    hops::Hops,
    lock::Lock,
    report::Report,
    sync::Syncer,
    uplinks::Uplinks,
};
use crate::{
    cli::{AgentOptions, SourceOption},
    clock,
    dataplane::{self, BreakEvents, Loaded, Pins},
    netlink::{Changes, Netlink},
    source::DirectoryWatch,
};

/// Pause before what failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Pause after which uplinks and the ways to other nodes are looked at though no change was announced: a path MTU that
/// the kernel learns is not, nor that somebody took our programs off.
const REFRESH: Duration = Duration::from_secs(30);

/// Runs until SIGTERM or Ctrl-C.
///
/// # Errors
/// When it cannot start: another agent runs on this node, a device is unknown, the kernel refuses. What goes wrong
/// later is reported and tried again.
pub fn run(options: &AgentOptions) -> Result<()> {
    log_to_standard_error();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(serve(options))
}

/// Lines of level `info` and above; `LIMPET_LOG` chooses others, in the syntax of `RUST_LOG`.
fn log_to_standard_error() {
    let filter = EnvFilter::builder()
        .with_env_var("LIMPET_LOG")
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours).init();
}

async fn serve(options: &AgentOptions) -> Result<()> {
    let _socket_lock = Lock::take(&options.places.socket)?;
    let stop = Stop::listen()?;
    let netlink = Netlink::open()?;
    let names = uplinks::wanted(options, &netlink).await?;
    let pins = Pins::new(&options.places.pin_dir);
    refuse_other_versions(&pins)?;
    pins.create()?;
    let _pins_lock = lock::lock_pins(&pins)?;
    let mut loaded = dataplane::load(&options.limits.sizes(), Some(&pins), options.log_drops)?;
    if options.log_drops {
        drop_log::start(loaded.ebpf())?;
    }
    let uplinks = Uplinks::start(names, pins, options.tunnel_port, &mut loaded.maps).await?;

    let SourceOption::Directory(directory) = &options.source else {
        bail!("there is no API server as a source yet");
    };
    let breaks = BreakEvents::take(&mut loaded)?;
    let events = Events { stop, source: DirectoryWatch::new(directory)?, network: netlink.changes() };
    let report = Report::new(options);
    let history = History::starting(&options.node, clock::monotonic().context("cannot read the monotonic clock")?);
    let _socket = socket::serve(&options.places.socket, report.clone(), history.clone())?;
    let syncer = Syncer::start(options, &mut loaded.maps)?;
    info!(node = options.node, source = %options.source, "started");
    let teller = Teller::new(syncer.applied(), history);
    let hops = Hops::new(netlink);
    let mut agent = Agent { loaded, syncer, hops, uplinks, report, breaks, teller, is_on_uplinks: false };
    agent.tell_hops();
    agent.run(events).await?;
    info!("stopped; the datapath goes on with what was last programmed (`limpet detach` removes it)");
    Ok(())
}

/// Two versions cannot share a device; and the flows of the other one's connections are in its maps.
fn refuse_other_versions(pins: &Pins) -> Result<()> {
    let linked = pins.other_versions_with_links()?;
    if !linked.is_empty() {
        bail!(
            "{} holds the running datapath of another version (layout {}), which this one cannot take over; run \
             `limpet detach` first, which ends its connections",
            pins.root().display(),
            linked.join(", ")
        );
    }
    for version in pins.other_versions() {
        warn!(
            "{} holds maps of layout {version}, which nobody uses; `limpet detach` removes them",
            pins.root().display()
        );
    }
    Ok(())
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
    source: DirectoryWatch,
    network: Changes,
}

/// The running agent: what it writes to, where from, and what it tells.
struct Agent {
    loaded: Loaded,
    syncer: Syncer,
    hops: Hops,
    uplinks: Uplinks,
    report: Report,
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
        loop {
            tokio::select! {
                () = events.stop.asked() => return Ok(()),
                () = events.source.changed() => {
                    self.report.fall_behind();
                    next_sync = Some(Instant::now());
                }
                () = events.network.next() => next_look = Instant::now(),
                breaks = self.breaks.next() => self.teller.tell(&breaks, self.syncer.applied()),
                () = sleep_until(next_sync.unwrap_or(next_look)), if next_sync.is_some() => {
                    next_sync = self.sync().await?.map(|pause| Instant::now() + pause);
                }
                () = sleep_until(next_look) => next_look = Instant::now() + self.look().await?,
            }
        }
    }

    /// Brings maps and uplinks in step with the source; returns when to do it again although nothing changes.
    async fn sync(&mut self) -> Result<Option<Duration>> {
        // Before names are taken away that they have.
        self.teller.tell(&self.breaks.waiting(), self.syncer.applied());
        let outcome = self.syncer.sync(&mut self.loaded.maps, &mut self.hops).await;
        self.teller.reprogrammed(self.syncer.applied());
        match outcome {
            Ok(outcome) => {
                self.check_uplinks().await?;
                let again_in = outcome.again_in;
                self.report.in_step(outcome, self.hops.problems());
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
        Ok(if ways.is_ok() { REFRESH } else { RETRY })
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
