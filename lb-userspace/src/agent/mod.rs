//! The agent: keeps the datapath in step with Kubernetes objects.
//!
//! It wires source, model, plan and dataplane, and decides nothing itself. It may stop, be killed or be replaced at any
//! time: the datapath goes on with what was last programmed.

mod drop_log;
mod hops;
mod lock;
mod report;
mod socket;
mod sync;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until},
};
use tracing::{error, info, level_filters::LevelFilter, warn};
use tracing_subscriber::EnvFilter;

use self::{hops::Hops, lock::Lock, report::Report, sync::Syncer};
use crate::{
    cli::{AgentOptions, SourceOption},
    dataplane::{self, Pins},
    netlink::{Device, Netlink},
    source::DirectoryWatch,
};

/// Pause before what failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Pause after which the ways to other nodes are looked up though no change was announced: a path MTU that the kernel
/// learns is not.
const HOPS_REFRESH: Duration = Duration::from_secs(30);

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
    let mut terminated = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;

    let netlink = Netlink::open()?;
    let uplinks = uplinks(options, &netlink).await?;
    let pins = Pins::new(&options.places.pin_dir);
    warn_of_other_versions(&pins);
    pins.create()?;
    let _pins_lock = Lock::take_pins(&pins.version_directory())?;
    let mut loaded = dataplane::load(&options.limits.sizes(), Some(&pins), options.log_drops)?;
    if options.log_drops {
        drop_log::start(loaded.ebpf())?;
    }
    let mtu = uplinks.iter().map(|device| device.mtu).min().unwrap_or_default();
    dataplane::configure(&mut loaded.maps, mtu, options.tunnel_port)?;

    let SourceOption::Directory(directory) = &options.source;
    let mut watch = DirectoryWatch::new(directory)?;
    let mut changes = netlink.changes();
    let report = Report::new(options);
    let _socket = socket::serve(&options.places.socket, report.clone())?;
    let mut hops = Hops::new(netlink);
    let mut syncer = Syncer::start(options, &mut loaded.maps)?;
    info!(node = options.node, source = %options.source, "started");

    let mut attached = false;
    let mut next_sync = Some(Instant::now());
    let mut next_hops = Instant::now() + HOPS_REFRESH;
    loop {
        tokio::select! {
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
            () = watch.changed() => {
                report.fall_behind();
                next_sync = Some(Instant::now());
            }
            () = changes.next() => next_hops = Instant::now(),
            () = sleep_until(next_sync.unwrap_or(next_hops)), if next_sync.is_some() => {
                next_sync = match syncer.sync(&mut loaded.maps, &mut hops).await {
                    Ok(outcome) => {
                        if !attached {
                            let programs = attach(&mut loaded, &pins, &uplinks)?;
                            report.attached(programs);
                            attached = true;
                        }
                        let again = outcome.again_in.map(|pause| Instant::now() + pause);
                        report.in_step(outcome, hops.problems());
                        again
                    }
                    Err(failure) => {
                        error!("cannot bring the datapath in step: {failure:#}; trying again");
                        report.failed(&failure);
                        Some(Instant::now() + RETRY)
                    }
                };
            }
            () = sleep_until(next_hops) => {
                next_hops = Instant::now() + HOPS_REFRESH;
                if let Err(failure) = hops.refresh(&mut loaded.maps).await {
                    error!("cannot look up the ways to other nodes: {failure:#}; trying again");
                    next_hops = Instant::now() + RETRY;
                }
                report.hops(hops.problems());
            }
        }
    }
    info!("stopped; the datapath goes on with what was last programmed (`limpet detach` removes it)");
    Ok(())
}

/// The devices to work on: those that were named, or those of the default routes.
async fn uplinks(options: &AgentOptions, netlink: &Netlink) -> Result<Vec<Device>> {
    let names = if options.uplinks.is_empty() { netlink.default_uplinks().await? } else { options.uplinks.clone() };
    let mut devices = Vec::with_capacity(names.len());
    for name in names {
        devices.push(netlink.device(&name).await?);
    }
    Ok(devices)
}

/// Puts the programs on the uplinks, and takes them off devices that are none any more.
fn attach(loaded: &mut dataplane::Loaded, pins: &Pins, uplinks: &[Device]) -> Result<Vec<dataplane::Attached>> {
    let mut attached = Vec::with_capacity(uplinks.len());
    for device in uplinks {
        let programs = dataplane::attach(loaded, pins, &device.name)?;
        match programs.mode {
            dataplane::XdpMode::Native => info!(device = device.name, "XDP runs in the driver (native)"),
            dataplane::XdpMode::Generic => warn!(
                device = device.name,
                "XDP runs in the network stack (generic), because the driver has no support: correct, but slower"
            ),
        }
        attached.push(programs);
    }
    for former in dataplane::attached(pins)? {
        if !attached.contains(&former) {
            info!(device = former.device, "no uplink any more: programs taken off");
            dataplane::detach_device(pins, &former.device)?;
        }
    }
    Ok(attached)
}

fn warn_of_other_versions(pins: &Pins) {
    for version in pins.other_versions() {
        warn!(
            "{} holds a datapath of layout {version}, which this version does not know: its flows are not taken over, \
             and its programs stay until `limpet detach`",
            pins.root().display()
        );
    }
}
