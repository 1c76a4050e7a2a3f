//! What agents and maps take, and what the programs saw against what the devices did.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::Lab;
use crate::address::NODES;
use crate::wait;

/// How much more memory an agent may have than when it was warm: so much, and a quarter.
const MORE_KIB: u64 = 16 << 10;
/// How many more descriptors: connections of commands and of watches come and go.
const MORE_DESCRIPTORS: u64 = 12;
/// How long the wires have to fall silent.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// What an agent's process takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Process {
    /// Resident memory of its own; pages of maps that it writes by memory are the kernel's.
    pub(super) resident_kib: u64,
    pub(super) descriptors: u64,
}

impl Process {
    /// The most of both.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            resident_kib: self.resident_kib.max(other.resident_kib),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }

    /// The most that it may be later.
    pub(super) fn bound(self) -> Self {
        Self {
            resident_kib: self.resident_kib + self.resident_kib / 4 + MORE_KIB,
            descriptors: self.descriptors + MORE_DESCRIPTORS,
        }
    }

    pub(super) fn is_within(self, bound: Self) -> bool {
        self.resident_kib <= bound.resident_kib && self.descriptors <= bound.descriptors
    }
}

/// A node's agent. Fails when it runs no more.
pub(super) fn process(lab: &Lab, node: u8) -> Result<Process> {
    let pid = lab.agent_process(node)?.with_context(|| format!("no agent runs on n{node}"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.with_context(|| format!("the agent on n{node} ended by itself"))?;
    let resident_kib = resident(&status).with_context(|| format!("the agent on n{node} ended by itself"))?;
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).context("cannot count an agent's descriptors")?;
    Ok(Process { resident_kib, descriptors: descriptors.count() as u64 })
}

/// A zombie has no memory.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// How much there is in maps of one kind, over both families.
pub(super) type Fill = BTreeMap<String, u64>;

/// Kinds of things in maps that what Kubernetes says decides alone: after the same has been said again, there must be as
/// many as before. The others are filled by packets, up to their limit.
///
/// Ids of backends that are gone stay taken for a minute, so that their number says how much was changed last; that
/// none is left that should not be is what `limpet verify` looks at.
pub(super) const DECIDED: [&str; 4] = ["frontends", "source ranges", "slots", "nodes"];

#[derive(Deserialize)]
struct Status {
    datapath: Datapath,
}

#[derive(Deserialize)]
struct Datapath {
    fill: Vec<FillRow>,
}

#[derive(Deserialize)]
struct FillRow {
    what: String,
    used: u64,
}

/// What `limpet status` says of a node's maps.
pub(super) fn fill(lab: &Lab, node: u8) -> Result<Fill> {
    let said = lab.limpet(node, &["status", "-o", "json"])?;
    let status: Status = serde_json::from_str(&said.stdout)
        .with_context(|| format!("`limpet status` on n{node} has another form: {}", said.stderr.trim()))?;
    let mut fill = Fill::new();
    for FillRow { what, used } in status.datapath.fill {
        *fill.entry(what).or_default() += used;
    }
    Ok(fill)
}

/// Packets that a node's uplink handed to XDP, and those that the program counted, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Packets {
    pub(super) device: u64,
    pub(super) reasons: BTreeMap<String, u64>,
}

impl Packets {
    pub(super) fn counted(&self) -> u64 {
        self.reasons.values().sum()
    }

    /// What came after an earlier reading.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let before = |reason: &str| earlier.reasons.get(reason).copied().unwrap_or(0);
        let reasons = self.reasons.iter().map(|(reason, count)| (reason.clone(), count.wrapping_sub(before(reason))));
        Self { device: self.device.wrapping_sub(earlier.device), reasons: reasons.collect() }
    }
}

#[derive(Deserialize)]
struct Counter {
    program: String,
    reason: String,
    packets: u64,
}

/// A node's packets so far, read while nothing arrives: the device's count must be the same before and after the
/// program's.
pub(super) fn packets(lab: &Lab, node: u8) -> Result<Packets> {
    wait::until(&format!("silence at the uplink of n{node}"), SILENCE_LIMIT, || {
        let before = handed_to_xdp(lab, node)?;
        let counters = lab.limpet(node, &["get", "counters", "-o", "json"])?.json()?;
        let counters: Vec<Counter> = serde_json::from_value(counters).context("the counters have another form")?;
        let after = handed_to_xdp(lab, node)?;
        let ingress = counters.into_iter().filter(|counter| counter.program == "ingress" && counter.packets > 0);
        let reasons = ingress.map(|counter| (counter.reason, counter.packets)).collect();
        Ok((before == after).then_some(Packets { device: after, reasons }))
    })
}

/// The sum over the queues of the node's end of the veth pair.
fn handed_to_xdp(lab: &Lab, node: u8) -> Result<u64> {
    lab.node(node).run(|| {
        let output = Command::new("ethtool").args(["-S", "eth0"]).output().context("cannot start `ethtool`")?;
        ensure!(output.status.success(), "`ethtool -S eth0` failed on n{node}");
        Ok(xdp_packets(&String::from_utf8_lossy(&output.stdout)))
    })
}

fn xdp_packets(statistics: &str) -> u64 {
    let of_line = |line: &str| {
        let (name, count) = line.trim().split_once(':')?;
        let is_queue = name.starts_with("rx_queue_") && name.ends_with("_xdp_packets");
        if is_queue { count.trim().parse::<u64>().ok() } else { None }
    };
    statistics.lines().filter_map(of_line).sum()
}

/// What `limpet verify` has to say against each node; nothing where the maps are what they should be.
pub(super) fn verify(lab: &Lab) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    for node in 1..=NODES {
        let said = lab.limpet(node, &["verify"])?;
        if !said.success {
            differences.push(format!("`limpet verify` on n{node}: {}{}", said.stdout.trim(), said.stderr.trim()));
        }
    }
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_a_process_that_lives() {
        assert_eq!(resident("Name:\tlimpet\nRssAnon:\t   14040 kB\nThreads:\t3\n"), Some(14_040));
        assert_eq!(resident("Name:\tlimpet\nState:\tZ (zombie)\n"), None);
    }

    #[test]
    fn growth_has_a_bound() {
        let start = Process { resident_kib: 20_000, descriptors: 30 };
        let bound = start.bound();
        assert_eq!(bound, Process { resident_kib: 41_384, descriptors: 42 });
        assert!(bound.is_within(bound));
        assert!(!Process { resident_kib: 41_385, ..start }.is_within(bound));
        assert!(!Process { descriptors: 43, ..start }.is_within(bound));
    }

    #[test]
    fn what_every_queue_handed_over_is_added_up() {
        let statistics = "NIC statistics:\n     peer_ifindex: 4\n     rx_queue_0_xdp_packets: 12\n     \
                          rx_queue_0_xdp_drops: 5\n     rx_queue_1_xdp_packets: 30\n     tx_queue_0_xdp_xmit: 9\n";
        assert_eq!(xdp_packets(statistics), 42);
    }

    #[test]
    fn packets_are_counted_from_an_earlier_reading_on() {
        let packets = |device, passed| Packets { device, reasons: [("not-ip".to_owned(), passed)].into() };
        let grown = packets(25, 22).since(&packets(5, 2));
        assert_eq!((grown.device, grown.counted()), (20, 20));
    }
}
