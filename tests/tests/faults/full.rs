//! Maps that are full while clients come: nobody who was served notices, the flag to raise is named, and what fits again is
//! taken in. Of the maps that the agent alone fills, `tests/lab/input/limits.rs` has the others.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use limpet_lab::Lab;
use limpet_lab::address::Family;
use limpet_lab::client::Client;
use limpet_lab::world::{Protocol, ServiceSpec};
use serde_json::{Value, json};

use crate::neighbours::reasons;
use crate::ring::with_little_room;
use crate::support::{
    INGRESS, Test, all_first_pods, ask_all, frontend, hold, is_content, says, serve, while_clients_connect,
};

/// Room for flows and clients; the kernel adds some for each processor.
const ROOM: [&str; 6] = ["--max-flows", "64", "--max-clients", "64", "--max-source-ranges", "40"];
/// More than there is room for.
const MANY: u16 = 1_500;
const HELD: u8 = 20;
const HELD_SECONDS: u32 = 3_600;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("full_maps_of_flows_and_clients_move_nobody", |lab| with_little_room(lab, &ROOM, flows_and_clients)),
        Test::new("a_full_map_of_source_ranges_is_named_and_keeps_who_was_let_in", |lab| {
            with_little_room(lab, &ROOM, source_ranges)
        }),
    ]
}

fn flows_and_clients(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("crowded", &all_first_pods()).with_affinity(HELD_SECONDS))?;
    let tcp = frontend(lab, "crowded", Family::V6, Protocol::Tcp)?;
    let udp = frontend(lab, "crowded", Family::V6, Protocol::Udp)?;
    let mut held = hold(lab, tcp, HELD)?;
    let client = lab.client(1);
    for number in 0..MANY {
        // Twice: one packet is not enough to be remembered for.
        let socket = client.udp(udp, Some(SocketAddr::new(many(&client, number)?, 0)))?;
        let first = socket.who()?.pod;
        let second = socket.who()?.pod;
        ensure!(first == second, "a client at {first} was moved to {second}");
    }
    for what in ["flows", "clients"] {
        let (used, room) = fill(lab, what)?;
        ensure!(used * 2 > room && room < u64::from(MANY), "{used} of {room} {what}: nothing is full");
    }
    ask_all(&mut held, "after more came than there is room for")?;
    let breaks = reasons(lab, "crowded")?;
    ensure!(breaks == json!({}), "somebody was moved: {breaks}");
    is_content(lab, INGRESS)
}

/// One of many addresses of a client.
fn many(client: &Client, number: u16) -> Result<IpAddr> {
    match client.address(Family::V6, 1) {
        IpAddr::V6(first) => Ok(Ipv6Addr::from_bits(first.to_bits() + 0x1_0000 + u128::from(number)).into()),
        IpAddr::V4(first) => bail!("{first} is no address of IPv6"),
    }
}

/// How full a map of IPv6 is, by `limpet status`.
fn fill(lab: &Lab, what: &str) -> Result<(u64, u64)> {
    let said = lab.limpet(INGRESS, &["status", "-o", "json"])?;
    let status: Value = serde_json::from_str(&said.stdout)?;
    let rows = status["datapath"]["fill"].as_array().context("the status has no fill")?;
    let row = rows.iter().find(|row| row["what"] == what && row["family"] == "IPv6");
    let row = row.with_context(|| format!("the status has no {what}"))?;
    Ok((row["used"].as_u64().context("no used")?, row["room"].as_u64().context("no room")?))
}

fn source_ranges(lab: &mut Lab) -> Result<()> {
    let ranges = |count: u8| {
        let all = (0..count).map(|number| format!("10.200.{number}.0/24")).chain([
            "0.0.0.0/1".to_owned(),
            "128.0.0.0/1".to_owned(),
            "::/0".to_owned(),
        ]);
        json!({"spec": {"loadBalancerSourceRanges": all.collect::<Vec<_>>()}})
    };
    let spec = ServiceSpec::new("ranges", &all_first_pods());
    let with = |count| ServiceSpec { patches: vec![ranges(count)], ..spec.clone() };
    lab.put_service(with(0))?;
    lab.wait_until_programmed("ranges", &[INGRESS])?;
    let to = frontend(lab, "ranges", Family::V4, Protocol::Tcp)?;
    let mut held = hold(lab, to, HELD)?;
    while_clients_connect(&lab.client(2), to, 0, || {
        lab.put_service(with(60))?;
        says(
            lab,
            INGRESS,
            1,
            &["error", "Service lab/ranges", "loadBalancerSourceRanges", "(40)", "raise --max-source-ranges"],
        )?;
        lab.put_service(with(1))?;
        is_content(lab, INGRESS)
    })?;
    ask_all(&mut held, "after the map was full")
}
