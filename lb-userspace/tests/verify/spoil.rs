//! One element of each map, spoilt as by a stray write.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::layout::{Backend, SLOT_BACKEND_MASK, SiblingKey, backend_state, name_kind};
use lb_userspace::{
    dataplane::{Change, Elements, Endpoint, Maps, NextHop},
    model::{Family, Protocol},
};

/// What must be told of it.
#[derive(Debug)]
pub(crate) struct Spoilt {
    pub(crate) object: String,
    pub(crate) what: String,
    pub(crate) programmed: String,
    pub(crate) desired: String,
}

/// Spoils something.
type Spoil = fn(&mut Maps) -> Spoilt;

/// All of them, each by its name.
pub(crate) const ALL: [(&str, Spoil); 17] = [
    ("a frontend is gone", removed_frontend),
    ("a frontend that nobody asked for", another_frontend),
    ("a frontend holds its clients for another time", another_timeout),
    ("a frontend leads to the other port's table", another_table),
    ("a slot leads to another backend", another_slot),
    ("a backend has another address", another_address),
    ("a backend is gone", gone_backend),
    ("a backend has another generation", another_generation),
    ("a backend of this node is not found", removed_local),
    ("a sibling is gone", removed_sibling),
    ("a source range is gone", removed_range),
    ("a source range that nobody asked for", another_range),
    ("a node is no peer", removed_peer),
    ("the way to a node leads elsewhere", another_way),
    ("a Service port has no name", removed_service_name),
    ("a backend has another's name", another_backend_name),
    ("segments are too large", another_config),
];

/// What an agent that starts finds out by itself, from the maps alone.
pub(crate) const SEEN_AT_START: [(&str, Spoil); 6] = [
    ("a slot leads to another backend", another_slot),
    ("a backend of this node is not found", removed_local),
    ("a sibling is gone", removed_sibling),
    ("a source range is gone", removed_range),
    ("a backend has another address", another_address),
    ("a frontend is gone", removed_frontend),
];

fn spoilt(object: &str, what: &str, programmed: &str, desired: &str) -> Spoilt {
    let [object, what, programmed, desired] = [object, what, programmed, desired].map(str::to_owned);
    Spoilt { object, what, programmed, desired }
}

fn frontend(port: u16) -> Endpoint {
    Endpoint::new(IpAddr::from([203, 0, 113, 10]), port, Protocol::Tcp)
}

fn read(maps: &Maps) -> Elements {
    Elements::read(maps).unwrap()
}

fn put(maps: &mut Maps, change: &Change) {
    change.carry_out(maps).unwrap();
}

/// The backend that listens there.
fn backend(maps: &Maps, address: [u8; 4], port: u16) -> (u32, Backend) {
    let mut backends = read(maps).backends.into_iter().rev();
    let is_it = |(_, backend): &(u32, Backend)| {
        lb_userspace::dataplane::ip_of(backend.address) == IpAddr::from(address) && backend.port == port
    };
    backends.find(is_it).unwrap()
}

fn set_backend(maps: &mut Maps, id: u32, backend: Backend) {
    put(maps, &Change::Backend { id, programmed: None, wanted: Some(backend) });
}

pub(crate) fn removed_frontend(maps: &mut Maps) -> Spoilt {
    put(maps, &Change::Frontend { at: frontend(80), programmed: None, wanted: None });
    spoilt("Frontend 203.0.113.10:80/TCP", "leads to", "nothing", "Service default/web:http/TCP")
}

fn another_frontend(maps: &mut Maps) -> Spoilt {
    let wanted = read(maps).frontends.get(&frontend(80)).copied();
    put(maps, &Change::Frontend { at: frontend(8080), programmed: None, wanted });
    spoilt("Frontend 203.0.113.10:8080/TCP", "leads to", "Service default/web:http/TCP", "nothing")
}

fn another_timeout(maps: &mut Maps) -> Spoilt {
    let mut wanted = read(maps).frontends[&frontend(81)];
    wanted.affinity_timeout_seconds = 7;
    put(maps, &Change::Frontend { at: frontend(81), programmed: None, wanted: Some(wanted) });
    spoilt("Frontend 203.0.113.10:81/TCP", "affinity", "7 s, by service, /32, real", "10800 s, by service, /32, real")
}

fn another_table(maps: &mut Maps) -> Spoilt {
    let frontends = read(maps).frontends;
    let wanted =
        lb_common::layout::Frontend { table_offset: frontends[&frontend(81)].table_offset, ..frontends[&frontend(80)] };
    put(maps, &Change::Frontend { at: frontend(80), programmed: None, wanted: Some(wanted) });
    spoilt(
        "Frontend 203.0.113.10:80/TCP",
        "lookup table",
        "that of Service default/web:alt/TCP",
        &format!("the current one ({} slots)", wanted.table_length),
    )
}

fn another_slot(maps: &mut Maps) -> Spoilt {
    let table = read(maps).frontends[&frontend(80)];
    let slots = maps.slots.read(table.table_offset, table.table_length).unwrap();
    let (a, b) = (backend(maps, [10, 1, 0, 1], 8080).0, backend(maps, [10, 1, 0, 2], 8080).0);
    let first = slots.iter().position(|slot| slot & SLOT_BACKEND_MASK == a).unwrap();
    maps.slots.write(table.table_offset + u32::try_from(first).unwrap(), &[b]).unwrap();
    spoilt(
        "Service default/web:http/TCP",
        "lookup table for IPv4",
        &format!("1 of {} slots: default/b", slots.len()),
        "default/a",
    )
}

fn another_address(maps: &mut Maps) -> Spoilt {
    let (id, record) = backend(maps, [10, 1, 0, 1], 8080);
    let address = lb_userspace::dataplane::words(IpAddr::from([10, 1, 0, 77]));
    set_backend(maps, id, Backend { address, ..record });
    spoilt("Backend default/a of default/web:http/TCP", "address", "10.1.0.77:8080/TCP", "10.1.0.1:8080/TCP")
}

fn gone_backend(maps: &mut Maps) -> Spoilt {
    let (id, record) = backend(maps, [10, 1, 1, 1], 8081);
    set_backend(maps, id, Backend { state: backend_state::GONE, ..record });
    spoilt("Backend default/c of default/web:alt/TCP", "state", "gone", "active")
}

fn another_generation(maps: &mut Maps) -> Spoilt {
    let (id, record) = backend(maps, [10, 1, 0, 2], 8081);
    set_backend(maps, id, Backend { generation: record.generation + 7, ..record });
    let (wrong, right) = ((record.generation + 7).to_string(), record.generation.to_string());
    spoilt("Backend default/b of default/web:alt/TCP", "generation", &wrong, &right)
}

fn removed_local(maps: &mut Maps) -> Spoilt {
    let at = Endpoint::new(IpAddr::from([10, 1, 0, 2]), 8080, Protocol::Tcp);
    put(maps, &Change::Local { at, programmed: None, wanted: None });
    let own = "Backend default/b of default/web:http/TCP";
    spoilt(own, "found at 10.1.0.2:8080/TCP", "nothing", own)
}

fn removed_sibling(maps: &mut Maps) -> Spoilt {
    let (other, own) = (backend(maps, [10, 1, 1, 1], 8080), backend(maps, [10, 1, 1, 1], 8081));
    let SiblingKey { service, backend } = SiblingKey { service: own.1.service, backend: other.0 };
    put(maps, &Change::Sibling { key: (service, backend), programmed: None, wanted: None });
    spoilt(
        "Backend default/c of default/web:http/TCP",
        "the same Pod's for Service default/web:alt/TCP",
        "nothing",
        "Backend default/c of default/web:alt/TCP",
    )
}

fn removed_range(maps: &mut Maps) -> Spoilt {
    let (_, backend) = backend(maps, [10, 1, 0, 1], 8080);
    let range = "198.51.100.0/24".parse().unwrap();
    put(maps, &Change::SourceRange { service: backend.service, range, is_wanted: false });
    spoilt("Service default/web:http/TCP", "source range 198.51.100.0/24", "nothing", "in it")
}

fn another_range(maps: &mut Maps) -> Spoilt {
    put(maps, &Change::SourceRange { service: 0, range: "0.0.0.0/0".parse().unwrap(), is_wanted: true });
    spoilt("Inside the cluster", "source range 0.0.0.0/0", "in it", "nothing")
}

fn removed_peer(maps: &mut Maps) -> Spoilt {
    let address = IpAddr::from([192, 0, 2, 2]);
    put(maps, &Change::Peer { address, programmed: None, wanted: None });
    spoilt("Node n2", "end of the tunnel 192.0.2.2", "nothing", "Node n2")
}

fn another_way(maps: &mut Maps) -> Spoilt {
    let of_n2 = |((_, family), hop): &((u32, Family), NextHop)| {
        *family == Family::V4 && hop.destination == Ipv4Addr::new(192, 0, 2, 2)
    };
    let (key, mut hop) = read(maps).next_hops.into_iter().find(of_n2).unwrap();
    assert!(hop.way.is_known(), "{hop:?}");
    let text = |hop: &NextHop| {
        let octets: [[u8; 4]; 3] = hop.way.ethernet.map(u32::to_ne_bytes);
        let octets: Vec<String> = octets.as_flattened().iter().map(|octet| format!("{octet:02x}")).collect();
        let (to, from) = (octets[..6].join(":"), octets[6..].join(":"));
        // The device is in the place's network namespace, where the test is not.
        format!("{from} > {to} mtu {} port {}", hop.way.mtu, hop.way.tunnel_port)
    };
    let right = text(&hop);
    hop.way.mtu -= 1;
    put(maps, &Change::NextHop { key, programmed: None, wanted: Some(hop) });
    let whole = |text: String| format!("from 192.0.2.1 to 192.0.2.2: {} {text}", crate::place::UPLINK);
    spoilt("Node n2", "way over IPv4", &whole(text(&hop)), &whole(right))
}

fn removed_service_name(maps: &mut Maps) -> Spoilt {
    let (_, backend) = backend(maps, [10, 1, 0, 1], 8081);
    put(maps, &Change::Name { key: (name_kind::SERVICE, backend.service), programmed: None, wanted: None });
    spoilt("Service default/web:alt/TCP", "name", "nothing", "default/web:alt/TCP")
}

fn another_backend_name(maps: &mut Maps) -> Spoilt {
    let (id, _) = backend(maps, [10, 1, 0, 1], 8080);
    let wrong = Some("default/z n1".to_owned());
    put(maps, &Change::Name { key: (name_kind::BACKEND, id), programmed: None, wanted: wrong });
    spoilt("Backend default/a of default/web:http/TCP", "name", "default/z n1", "default/a n1")
}

fn another_config(maps: &mut Maps) -> Spoilt {
    let mut config = read(maps).config;
    let right = config.mss4.to_string();
    config.mss4 = 9000;
    put(maps, &Change::Config { programmed: config, wanted: config });
    spoilt("This node", "largest segment over IPv4", "9000", &right)
}
