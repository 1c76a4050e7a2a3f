//! What a node says of itself: its counters, how full its maps are, and whether it says so while it is flooded.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use limpet_lab::Lab;
use limpet_lab::address::NODES;
use serde::Deserialize;
use serde_json::Value;

use crate::support::INGRESS;

/// Where an agent serves its metrics unless it is told otherwise.
const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6183);
/// How long a command or a scrape may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A row of `limpet get counters -o json`.
#[derive(Debug, Deserialize)]
struct CounterRow {
    reason: String,
    class: String,
    packets: u64,
}

/// Packets by reason, with the class of each, of one node.
pub(crate) type Counters = BTreeMap<String, (String, u64)>;

/// The counters of all nodes, the first node's first.
pub(crate) fn counters(lab: &Lab) -> Result<Vec<Counters>> {
    let of_node = |node| {
        let said = lab.limpet(node, &["get", "counters", "-o", "json"])?.json()?;
        let rows: Vec<CounterRow> = serde_json::from_value(said).context("`limpet get counters` has another form")?;
        Ok(rows.into_iter().map(|row| (row.reason, (row.class, row.packets))).collect())
    };
    (1..=NODES).map(of_node).collect()
}

/// By how much a node's counters grew, of the reasons of which there are more.
pub(crate) fn growth(before: &Counters, after: &Counters) -> Counters {
    let grown = after.iter().map(|(reason, (class, packets))| {
        let earlier = before.get(reason).map_or(0, |(_, packets)| *packets);
        (reason.clone(), (class.clone(), packets.saturating_sub(earlier)))
    });
    grown.filter(|(_, (_, packets))| *packets > 0).collect()
}

/// The packets of one reason.
pub(crate) fn packets(counters: &Counters, reason: &str) -> u64 {
    counters.get(reason).map_or(0, |(_, packets)| *packets)
}

/// A row of what `limpet status` says about maps.
#[derive(Debug, Deserialize)]
pub(crate) struct Fill {
    pub(crate) what: String,
    pub(crate) family: Option<String>,
    pub(crate) used: u32,
    pub(crate) room: u32,
}

/// What `limpet status` says of the datapath.
#[derive(Debug, Deserialize)]
pub(crate) struct Datapath {
    pub(crate) fill: Vec<Fill>,
    breaks: Option<Breaks>,
}

#[derive(Debug, Deserialize)]
struct Breaks {
    total: u64,
}

impl Datapath {
    /// That of the flooded node.
    pub(crate) fn read(lab: &Lab) -> Result<Self> {
        let said: Value = serde_json::from_str(&lab.limpet(INGRESS, &["status", "-o", "json"])?.stdout)
            .context("`limpet status` printed what is not JSON")?;
        serde_json::from_value(said["datapath"].clone()).context("`limpet status` has another form")
    }

    /// How often a client was given another backend.
    pub(crate) fn breaks(&self) -> u64 {
        self.breaks.as_ref().map_or(0, |breaks| breaks.total)
    }
}

/// The longest that each way to ask the flooded node took.
#[derive(Debug, Default)]
pub(crate) struct Asked(pub(crate) BTreeMap<&'static str, Duration>);

impl Asked {
    /// Asks in every way once. Fails when one of them does, or takes too long.
    pub(crate) fn ask(&mut self, lab: &Lab) -> Result<()> {
        self.time("limpet status", || {
            ensure!(lab.status(INGRESS)?.agent.alive, "no agent answers");
            Ok(())
        })?;
        for what in ["flows", "clients", "counters"] {
            let arguments = ["get", what, "-A", "-o", "json"];
            let name = match what {
                "flows" => "limpet get flows",
                "clients" => "limpet get clients",
                _ => "limpet get counters",
            };
            self.time(name, || lab.limpet(INGRESS, &arguments)?.json().map(drop))?;
        }
        self.time("metrics", || scrape(lab))
    }

    fn time(&mut self, what: &'static str, ask: impl FnOnce() -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        ask().with_context(|| format!("{what}, under flood"))?;
        let took = begun.elapsed();
        ensure!(took < LIMIT, "{what} took {took:?} under flood");
        let longest = self.0.entry(what).or_default();
        *longest = took.max(*longest);
        Ok(())
    }
}

/// Fetches the metrics, in which the packets are.
fn scrape(lab: &Lab) -> Result<()> {
    let text = lab.node(INGRESS).run(|| {
        let mut stream = TcpStream::connect_timeout(&METRICS, LIMIT).context("cannot connect")?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").context("cannot ask")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).context("no whole answer")?;
        Ok(text)
    })?;
    ensure!(text.contains("limpet_packets_total"), "{text:.200} does not tell of packets");
    Ok(())
}
