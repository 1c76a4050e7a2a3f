//! The agent's process: started, looked at from outside, ended.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use lb_common::{Family, V4, layout::Frontend, wire::Protocol};
use lb_userspace::dataplane::{Maps, Pins, Pod};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, SysconfVar, sysconf},
};

use crate::{
    cluster::{self, Cluster, PORT, node_name},
    node::UPLINK,
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Pause between two looks at a map.
const LOOK: Duration = Duration::from_micros(200);
/// Slots of the table of ten backends, and as many again for what is being replaced.
const SLOTS_PER_SERVICE: u32 = 2 * 8_192;
/// Fewer than this need no smaller maps.
const FEW_SERVICES: u32 = 1_000;

/// A running agent.
pub(crate) struct Agent {
    process: Child,
    maps: Maps,
    pins: PathBuf,
}

impl Agent {
    /// Starts one, and waits until every Service is programmed; returns how long that took.
    pub(crate) fn start(cluster: &Cluster) -> Result<(Self, Duration)> {
        let pins = PathBuf::from(format!("/sys/fs/bpf/limpet-bench-{}", std::process::id()));
        let room = cluster.services().max(FEW_SERVICES);
        let log = File::create(cluster.home().join("log")).context("cannot make a file for the agent's log")?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_limpet"));
        command
            .args(["agent", "--source", "kube", "--uplink", UPLINK, "--health-address", "none"])
            .args(["--metrics-address", "none", "--max-flows", "65536", "--max-clients", "65536"])
            .args(["--node", &node_name(0)])
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig())
            .args(["--max-slots", &(room * SLOTS_PER_SERVICE).to_string()])
            .args(["--max-backends", &(room * 20).to_string(), "--max-frontends", &(room * 3).to_string()])
            .args(["--max-services", &(room * 2).to_string()])
            .arg("--pin-dir")
            .arg(&pins)
            .arg("--socket")
            .arg(cluster.home().join("socket"))
            .stderr(Stdio::from(log))
            .stdin(Stdio::null());
        let begun = Instant::now();
        let mut process = command.spawn().context("cannot start limpet")?;
        let waited = wait_for_all(&mut process, &pins, cluster);
        match waited {
            Ok(maps) => Ok((Self { process, maps, pins }, begun.elapsed())),
            Err(error) => {
                let log = fs::read_to_string(cluster.home().join("log")).unwrap_or_default();
                end(&mut process, &pins)?;
                Err(error.context(log))
            }
        }
    }

    /// What a Service's frontend leads to.
    pub(crate) fn frontend(&self, service: u32) -> Result<Frontend> {
        look_up(&self.maps, service)?.with_context(|| format!("Service s{service} has no frontend"))
    }

    /// Waits until it leads somewhere else.
    pub(crate) fn wait_for_other_frontend(&self, service: u32, before: Frontend) -> Result<()> {
        let begun = Instant::now();
        while self.frontend(service)? == before {
            ensure!(begun.elapsed() < PATIENCE, "the change of s{service} is not programmed");
            sleep(LOOK);
        }
        Ok(())
    }

    /// Memory that is the agent's own: without the lookup tables, which it maps and the kernel keeps.
    pub(crate) fn rss_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.trim().parse().ok());
        number.context("/proc says nothing of the agent's memory")
    }

    /// Time on a CPU so far.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The name may hold blanks; what is behind it does not. The state is the first.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
        let hertz = sysconf(SysconfVar::CLK_TCK)?.context("the kernel does not say how long a tick is")?;
        Ok(Duration::from_secs_f64(ticks as f64 / hertz as f64))
    }

    /// Ends it, and takes away what it left.
    pub(crate) fn stop(mut self) -> Result<()> {
        end(&mut self.process, &self.pins)
    }
}

fn wait_for_all(process: &mut Child, pins: &PathBuf, cluster: &Cluster) -> Result<Maps> {
    let begun = Instant::now();
    let maps = loop {
        if let Some(status) = process.try_wait()? {
            bail!("the agent ended: {status}");
        }
        match Maps::open(&Pins::new(pins)) {
            Ok(maps) => break maps,
            Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => sleep(LOOK),
        }
    };
    for service in 0..cluster.services() {
        while look_up(&maps, service)?.is_none_or(|frontend| frontend.table_length == 0) {
            ensure!(begun.elapsed() < PATIENCE, "s{service} is not programmed");
            ensure!(process.try_wait()?.is_none(), "the agent ended");
            sleep(LOOK);
        }
    }
    Ok(maps)
}

fn look_up(maps: &Maps, service: u32) -> Result<Option<Frontend>> {
    let key = V4::frontend_key(cluster::frontend(service).into(), PORT, Protocol::TCP);
    match maps.v4.frontends.get(&Pod(key), 0) {
        Ok(Pod(frontend)) => Ok(Some(frontend)),
        Err(aya::maps::MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn end(process: &mut Child, pins: &PathBuf) -> Result<()> {
    if process.try_wait()?.is_none() {
        kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGTERM)?;
        process.wait()?;
    }
    let detach = Command::new(env!("CARGO_BIN_EXE_limpet")).arg("--pin-dir").arg(pins).arg("detach").output()?;
    ensure!(detach.status.success(), "limpet detach: {}", String::from_utf8_lossy(&detach.stderr).trim());
    Ok(())
}
