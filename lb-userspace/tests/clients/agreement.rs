//! What `limpet why` says is what the programs then do.

use lb_common::{
    BreakReason,
    layout::{INSIDE, affinity_flags},
};
use serde_json::{Value, json};

use super::{
    json as read, limpet,
    pinned::{BACKENDS, Pinned, WEB, entry, key4, now_seconds, slot_of, table, web},
};

/// Client, Service, port of the Service port, its name.
const CONNECTIONS: [(&str, &str, u16, &str); 12] = [
    ("198.51.100.7", "web", 80, "http"),
    ("198.51.100.8", "web", 80, "http"),
    ("198.51.100.9", "web", 80, "http"),
    ("198.51.100.10", "web", 80, "http"),
    ("198.51.100.11", "web", 80, "http"),
    ("198.51.100.12", "web", 80, "http"),
    ("198.51.100.13", "web", 80, "http"),
    ("2001:db8::7", "web", 80, "http"),
    ("2001:db8::8", "web", 80, "http"),
    ("198.51.100.7", "brief", 81, ""),
    ("203.0.113.77", "shop/cart", 83, "https"),
    ("203.0.113.78", "shop/cart", 82, "http"),
];

fn why(pinned: &Pinned, client: &str, service: &str, port: &str) -> Value {
    let value = read(&limpet(pinned.root(), &["why", client, service, "-o", "json"]));
    let services = value["services"].as_array().unwrap();
    services.iter().find(|it| it["service"]["port"] == port).unwrap_or_else(|| panic!("{value}")).clone()
}

fn name(backend: u32) -> &'static str {
    BACKENDS.iter().find(|(id, ..)| *id == backend).unwrap().1
}

#[test]
fn the_next_connection_goes_where_it_is_said_to_go() {
    let mut pinned = Pinned::with_clients("agree");
    let mut broken = 0;
    for (client, service, port, port_name) in CONNECTIONS {
        let said = why(&pinned, client, service, port_name);
        let count = |pinned: &Pinned| BreakReason::ALL.map(|reason| pinned.breaks(reason));
        let before = count(&pinned);
        let seen = pinned.connect(client.parse().unwrap(), port);
        assert_eq!(said["next"]["backend"], json!(name(seen)), "{client} at {service}: {said}");

        let counted = count(&pinned).iter().zip(before).position(|(now, before)| *now != before);
        let counted = counted.map(|index| BreakReason::ALL[index].name());
        assert_eq!(said["counts_as_break"], json!(counted), "{client} at {service}: {said}");
        broken += usize::from(counted.is_some());

        // And from then on the client is held there.
        let after = why(&pinned, client, service, port_name);
        assert_eq!((&after["by"], &after["next"]), (&json!("map"), &said["next"]), "{client} at {service}");
    }
    assert!(broken > 0, "none of these was a break");
}

#[test]
fn a_client_that_is_forgotten_is_counted_when_it_connects() {
    let mut pinned = Pinned::new("counted");
    let client = "198.51.100.7";
    let here = slot_of(client);
    pinned.hold(client, web(), entry(if here == 1 { 2 } else { 1 }, now_seconds()));
    assert!(limpet(pinned.root(), &["forget", client, "--yes"]).status.success());
    assert_eq!(pinned.breaks(BreakReason::Forgotten), 0, "nothing happens until it connects");
    assert_eq!(pinned.connect(client.parse().unwrap(), 80), here);
    assert_eq!(pinned.breaks(BreakReason::Forgotten), 1);
    let clients = pinned.clients();
    let (.., value) = clients.first().unwrap();
    assert_eq!((value.backend, value.flags & affinity_flags::FORGOTTEN), (here, 0));
}

#[test]
fn a_client_that_a_full_map_forgot_is_known_to_have_been_somewhere() {
    let mut pinned = Pinned::new("evicted");
    let (client, address) = ("198.51.100.7", "198.51.100.7".parse().unwrap());
    let here = pinned.connect(address, 80);
    pinned.acknowledge(address, 80);
    assert_eq!(why(&pinned, client, "web", "http")["held"]["state"], json!("held"));

    // As the kernel does when the map is full; and meanwhile the table has changed.
    pinned.maps().v4.affinity.remove(&key4(client, web())).unwrap();
    let there = if here == 1 { 2 } else { 1 };
    let length = table(&[(1, "default/web-0"), (2, "default/web-1")]).len();
    pinned.maps().slots.write(0, &vec![there; length]).unwrap();
    let said = why(&pinned, client, "web", "http");
    assert_eq!((&said["held"], &said["had"]), (&json!(null), &json!(name(here))));
    assert_eq!((&said["next"]["backend"], &said["counts_as_break"]), (&json!(name(there)), &json!("evicted")));

    assert_eq!(pinned.connect(address, 80), there);
    pinned.acknowledge(address, 80);
    assert_eq!(pinned.breaks(BreakReason::Evicted), 1);
}

#[test]
fn who_is_kept_out_is_said_to_be_and_begins_nothing() {
    let mut pinned = Pinned::new("kept-out");
    pinned.allow(WEB, "198.51.100.0/25");
    pinned.allow(INSIDE, "198.51.100.9/32");
    for (client, expected) in [
        ("198.51.100.7", None),
        ("198.51.100.200", Some("source-range")),
        ("198.51.100.9", Some("from-inside")),
        ("240.0.0.1", Some("bad-source")),
    ] {
        assert_eq!(why(&pinned, client, "web", "http")["kept_out"], json!(expected), "{client}");
        assert_eq!(pinned.begins(client.parse().unwrap(), 80), expected.is_none(), "{client}");
    }
    let said = String::from_utf8(limpet(pinned.root(), &["why", "198.51.100.9", "web"]).stdout).unwrap();
    assert!(said.contains("Kept out: everywhere"), "{said}");
}
