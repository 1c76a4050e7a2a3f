//! Services that hold their clients, and clients that they hold, in maps pinned in a place of their own until the test ends.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use aya::programs::{TestRun, TestRunOptions};
use lb_common::{
    BreakReason, Family, V4, V6,
    family::Address,
    hash,
    host::FrameSpec,
    layout::{
        Affinity, AffinityKey4, AffinityKey6, Backend, Config, Flow, Frontend, Keyed, NameKey, Sibling, SiblingKey,
        affinity_flags, backend_state, frontend_flags, frontend_kind, name_kind,
    },
    wire::{Protocol, tcp_flags},
};
use lb_userspace::{
    clock,
    dataplane::{self, FamilyMaps, Loaded, Maps, Pins, Pod, Sizes, Switches, held_for, load, names, words},
    model::{self, AffinityKey, ServicePortName, maglev},
    plan::{Applied, Write},
};

/// Room for what is written here, and little more.
const SIZES: Sizes = Sizes {
    flows: 512,
    clients: 64,
    slots: 32_768,
    backends: 16,
    services: 8,
    frontends: 16,
    source_ranges: 8,
    nodes: 8,
};
/// `sessionAffinityConfig.clientIP.timeoutSeconds` of the Services, but for `default/brief`.
pub(crate) const TIMEOUT_SECONDS: u32 = 10_800;

/// Where the Services are reached: `default/web` at port 80, the others at those after it, in the order of their ids.
const FRONTEND4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const FRONTEND6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
/// Clients connect from the ports after this one.
const FIRST_CLIENT_PORT: u16 = 40_000;

/// Ids of the Service ports.
pub(crate) const WEB: u32 = 1;
const BRIEF: u32 = 2;
const CART_HTTP: u32 = 3;
const CART_HTTPS: u32 = 4;
const PLAIN: u32 = 5;

/// Backends: id, identity, node.
pub(crate) const BACKENDS: [(u32, &str, &str); 9] = [
    (1, "default/web-0", "n1"),
    (2, "default/web-1", "n2"),
    (3, "default/web-2", "n2"),
    (4, "default/web-0", "n1"),
    (5, "default/web-1", "n2"),
    (6, "default/brief-0", "n1"),
    (7, "shop/cart-0", "n1"),
    (8, "shop/cart-0", "n1"),
    (9, "default/plain-0", "n1"),
];

/// What the clients are held for.
pub(crate) fn web() -> [u32; 2] {
    held_for(&port("default", "web", "http"), AffinityKey::Port)
}
pub(crate) fn brief() -> [u32; 2] {
    held_for(&port("default", "brief", ""), AffinityKey::Port)
}
pub(crate) fn cart() -> [u32; 2] {
    held_for(&port("shop", "cart", "http"), AffinityKey::Service)
}
pub(crate) const NOBODY: [u32; 2] = [1, 2];

/// The pins; removed when dropped, also after a panic.
pub(crate) struct Pinned {
    pins: Pins,
    loaded: Loaded,
    /// The port that the last connection came from: each comes from another one.
    client_port: u16,
}

impl Pinned {
    /// Maps pinned under a name that is this test's and this process's alone.
    pub(crate) fn new(test: &str) -> Self {
        let pins = Pins::new(format!("/sys/fs/bpf/limpet-test-clients-{}-{test}", std::process::id()));
        let loaded = load(&SIZES, Some(&pins), Switches::default()).unwrap();
        let mut pinned = Self { pins, loaded, client_port: FIRST_CLIENT_PORT };
        let config = Config { ghost_sets: SIZES.clients, ..Config::default() };
        pinned.loaded.maps.config.set(0, Pod(config), 0).unwrap();
        pinned.write_names();
        pinned.write_backends();
        pinned.write_frontends();
        pinned
    }

    /// The same, with clients in every state.
    pub(crate) fn with_clients(test: &str) -> Self {
        let mut pinned = Self::new(test);
        let now = now_seconds();
        pinned.hold("198.51.100.7", web(), entry(1, now));
        pinned.hold("198.51.100.8", web(), Affinity { flags: affinity_flags::FORGOTTEN, ..entry(2, now) });
        pinned.hold("198.51.100.9", web(), entry(3, now));
        pinned.note("198.51.100.10", web(), entry(2, now));
        pinned.hold("2001:db8::7", web(), entry(5, now));
        // Longer ago than its Service's timeout of a second.
        pinned.hold("198.51.100.7", brief(), Affinity { expiries: 3, ..entry(6, now.saturating_sub(5)) });
        pinned.hold("203.0.113.0", cart(), entry(7, now));
        pinned.hold("198.51.100.7", NOBODY, entry(1, now));
        pinned
    }

    pub(crate) fn root(&self) -> &Path {
        self.pins.root()
    }

    pub(crate) fn maps(&mut self) -> &mut Maps {
        &mut self.loaded.maps
    }

    /// Has the program see a SYN from this client to this port of the Services' address of its family; gives the id of the
    /// backend that the flow goes to.
    pub(crate) fn connect(&mut self, client: IpAddr, port: u16) -> u32 {
        self.client_port += 1;
        let client_port = self.client_port;
        let frontend = self.send(client, port, tcp_flags::SYN);
        let maps = &self.loaded.maps;
        match (client, frontend) {
            (IpAddr::V4(client), IpAddr::V4(frontend)) => {
                let key = V4::flow_key(client.into(), frontend.into(), client_port, port, Protocol::TCP);
                maps.v4.new_flows.get(&Pod(key), 0).unwrap().0.backend
            }
            (IpAddr::V6(client), IpAddr::V6(frontend)) => {
                let key = V6::flow_key(client.into(), frontend.into(), client_port, port, Protocol::TCP);
                maps.v6.new_flows.get(&Pod(key), 0).unwrap().0.backend
            }
            families => panic!("{families:?}"),
        }
    }

    /// Has the program see a SYN as for [`Self::connect`]; whether a flow began with it.
    pub(crate) fn begins(&mut self, client: Ipv4Addr, port: u16) -> bool {
        self.client_port += 1;
        self.send(client.into(), port, tcp_flags::SYN);
        let key = V4::flow_key(client.into(), FRONTEND4.into(), self.client_port, port, Protocol::TCP);
        self.loaded.maps.v4.new_flows.get(&Pod(key), 0).is_ok()
    }

    /// Has IPv4 sources in this range alone begin something at a Service port that asks; at id 0, makes it the cluster's own.
    pub(crate) fn allow(&mut self, service: u32, range: &str) {
        let write = Write::SourceRange { service, range: range.parse().unwrap() };
        dataplane::write(&mut self.loaded.maps, &write, &Applied::default(), 0).unwrap();
        let frontends = &mut self.loaded.maps.v4.frontends;
        let of_service: Vec<_> =
            frontends.iter().map(|it| it.unwrap()).filter(|(_, it)| it.0.service == service).collect();
        for (key, Pod(mut frontend)) in of_service {
            frontend.flags |= frontend_flags::SOURCE_RANGES;
            frontends.insert(key, Pod(frontend.of(&key.0)), 0).unwrap();
        }
    }

    /// Has the program see the second packet of the last connection, which was this one.
    pub(crate) fn acknowledge(&mut self, client: IpAddr, port: u16) {
        self.send(client, port, tcp_flags::ACK);
    }

    fn send(&mut self, client: IpAddr, port: u16, flags: u8) -> IpAddr {
        let frontend: IpAddr = if client.is_ipv4() { FRONTEND4.into() } else { FRONTEND6.into() };
        let frame = FrameSpec::tcp((client, self.client_port), (frontend, port), flags).build();
        let options = TestRunOptions { data_in: Some(&frame), repeat: 1, ..TestRunOptions::default() };
        self.loaded.ingress().unwrap().test_run(options).unwrap();
        frontend
    }

    /// How often clients of these Services were given another backend for this reason.
    pub(crate) fn breaks(&self, reason: BreakReason) -> u64 {
        let count = |service: u32| {
            let cpus = self.loaded.maps.breaks.get(&service, 0).unwrap();
            cpus.iter().map(|counts| counts.0[reason.index() as usize]).sum::<u64>()
        };
        (WEB..=PLAIN).map(count).sum()
    }

    /// Holds a client of more than one packet.
    pub(crate) fn hold(&mut self, client: &str, held_for: [u32; 2], value: Affinity) {
        match client.parse().unwrap() {
            IpAddr::V4(_) => {
                let key = key4(client, held_for);
                self.loaded.maps.v4.affinity.insert(key, Pod(value.of(&key.0)), 0).unwrap();
            }
            IpAddr::V6(ip) => {
                let key = AffinityKey6 { client: ip.into(), service: held_for };
                self.loaded.maps.v6.affinity.insert(Pod(key), Pod(value.of(&key)), 0).unwrap();
            }
        }
    }

    /// Holds an IPv4 client of one packet.
    pub(crate) fn note(&mut self, client: &str, held_for: [u32; 2], value: Affinity) {
        let key = key4(client, held_for);
        self.loaded.maps.v4.new_affinity.insert(key, Pod(value.of(&key.0)), 0).unwrap();
    }

    /// Flows of an IPv4 client to `default/web`, so many in the map of flows and `new` of them in that of new ones too.
    pub(crate) fn flow(&mut self, client: &str, count: u16, new: u16) {
        let client: Ipv4Addr = client.parse().unwrap();
        let flow = Flow { backend: 1, generation: 1, service: WEB, ..Flow::default() };
        for index in 0..count {
            let key = V4::flow_key(client.into(), FRONTEND4.into(), 4000 + index, 80, Protocol::TCP);
            self.loaded.maps.v4.flows.insert(Pod(key), Pod(flow.of(&key)), 0).unwrap();
            if index < new {
                self.loaded.maps.v4.new_flows.insert(Pod(key), Pod(flow.of(&key)), 0).unwrap();
            }
        }
    }

    /// All clients that are held, as the maps have them: address, what for, whether of one packet, where.
    pub(crate) fn clients(&self) -> Vec<(IpAddr, [u32; 2], bool, Affinity)> {
        let mut all = Vec::new();
        for (is_new, map) in [(false, &self.loaded.maps.v4.affinity), (true, &self.loaded.maps.v4.new_affinity)] {
            all.extend(map.iter().map(|element| {
                let (Pod(key), Pod(value)) = element.unwrap();
                (IpAddr::V4(key.client.into()), key.service, is_new, value)
            }));
        }
        for (is_new, map) in [(false, &self.loaded.maps.v6.affinity), (true, &self.loaded.maps.v6.new_affinity)] {
            all.extend(map.iter().map(|element| {
                let (Pod(key), Pod(value)) = element.unwrap();
                (IpAddr::V6(key.client.into()), key.service, is_new, value)
            }));
        }
        all.sort_by_key(|(address, held_for, is_new, _)| (*address, *held_for, *is_new));
        all
    }

    fn write_names(&mut self) {
        let services = [
            (WEB, "default", "web", "http"),
            (BRIEF, "default", "brief", ""),
            (CART_HTTP, "shop", "cart", "http"),
            (CART_HTTPS, "shop", "cart", "https"),
            (PLAIN, "default", "plain", ""),
        ];
        let mut name = |kind: u32, id: u32, name| {
            self.loaded.maps.names.insert(Pod(NameKey { kind, id }), Pod(name), 0).unwrap();
        };
        for (id, namespace, service, port) in services {
            name(name_kind::SERVICE, id, names::service(namespace, service, port, "TCP"));
        }
        for (id, identity, node) in BACKENDS {
            name(name_kind::BACKEND, id, names::backend(identity, node));
        }
        for (id, node) in [(0, "n1"), (1, "n2")] {
            name(name_kind::NODE, id, names::node(node));
        }
    }

    fn write_backends(&mut self) {
        let backends: [(u32, &str, u32, u8, u32); 9] = [
            (1, "10.1.0.10", 0, backend_state::ACTIVE, WEB),
            (2, "10.1.1.10", 1, backend_state::ACTIVE, WEB),
            (3, "10.1.1.11", 1, backend_state::DRAINING, WEB),
            (4, "fd00::10", 0, backend_state::ACTIVE, WEB),
            (5, "fd00::11", 1, backend_state::ACTIVE, WEB),
            (6, "10.1.0.20", 0, backend_state::ACTIVE, BRIEF),
            (7, "10.1.0.30", 0, backend_state::ACTIVE, CART_HTTP),
            (8, "10.1.0.30", 0, backend_state::ACTIVE, CART_HTTPS),
            (9, "10.1.0.40", 0, backend_state::ACTIVE, PLAIN),
        ];
        for (id, address, node, state, service) in backends {
            let address = words(address.parse().unwrap());
            let value = Backend { address, port: 8080, protocol: 6, state, node, generation: 1, service };
            self.loaded.maps.backends.set(id, Pod(value), 0).unwrap();
        }
        for (service, backend, id) in [(CART_HTTPS, 7, 8), (CART_HTTP, 8, 7)] {
            let key = SiblingKey { service, backend };
            self.loaded.maps.siblings.insert(Pod(key), Pod(Sibling::new(&key, id)), 0).unwrap();
        }
    }

    fn write_frontends(&mut self) {
        let held = Frontend {
            kind: frontend_kind::LOAD_BALANCER_IP,
            flags: frontend_flags::CLIENT_AFFINITY,
            affinity_timeout_seconds: TIMEOUT_SECONDS,
            ..Frontend::default()
        };
        let pods = [(1, "default/web-0"), (2, "default/web-1")];
        let of_web = Frontend {
            service: WEB,
            service_hash: hash::service("default", "web"),
            client_prefix: 32,
            affinity: web(),
            ..held
        };
        let mut offset = 0;
        let mut with_table = |frontend: Frontend, members: &[(u32, &str)]| {
            let table = table(members);
            self.loaded.maps.slots.write(offset, &table).unwrap();
            let frontend = Frontend { table_offset: offset, table_length: table.len() as u32, ..frontend };
            offset += frontend.table_length;
            frontend
        };
        let web4 = with_table(of_web, &pods);
        let web6 = with_table(Frontend { client_prefix: 128, ..of_web }, &[(4, pods[0].1), (5, pods[1].1)]);
        let of_brief =
            Frontend { service: BRIEF, affinity_timeout_seconds: 1, affinity: brief(), client_prefix: 32, ..held };
        let brief = with_table(of_brief, &[(6, "default/brief-0")]);
        let flags = frontend_flags::CLIENT_AFFINITY | frontend_flags::SERVICE_KEY;
        let of_cart = Frontend { service: CART_HTTP, flags, affinity: cart(), client_prefix: 24, ..held };
        let http = with_table(of_cart, &[(7, "shop/cart-0")]);
        let https = with_table(Frontend { service: CART_HTTPS, ..of_cart }, &[(8, "shop/cart-0")]);
        let plain = with_table(Frontend { service: PLAIN, flags: 0, ..held }, &[(9, "default/plain-0")]);
        for (port, value) in [(80, web4), (81, brief), (82, http), (83, https), (84, plain)] {
            put(&mut self.loaded.maps.v4, FRONTEND4.into(), port, value);
        }
        put(&mut self.loaded.maps.v6, FRONTEND6.into(), 80, web6);
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let removed = self.pins.remove();
        assert!(std::thread::panicking() || removed.is_ok(), "{removed:?}");
    }
}

/// The key of an IPv4 client.
pub(crate) fn key4(client: &str, held_for: [u32; 2]) -> Pod<AffinityKey4> {
    let client: Ipv4Addr = client.parse().unwrap();
    Pod(AffinityKey4 { client: client.into(), service: held_for })
}

/// A client that was given to this backend a minute ago at most, and began a connection at this time.
pub(crate) fn entry(backend: u32, last_used_seconds: u32) -> Affinity {
    let since_seconds = last_used_seconds.saturating_sub(60);
    Affinity { backend, generation: 1, since_seconds, last_used_seconds, ..Affinity::default() }
}

/// Now, by the clock that dates what is in the maps.
pub(crate) fn now_seconds() -> u32 {
    clock::monotonic().unwrap().as_secs() as u32
}

/// The table that the agent makes of these backends, ids and identities.
pub(crate) fn table(members: &[(u32, &str)]) -> Vec<u32> {
    let identities: Vec<&str> = members.iter().map(|(_, identity)| *identity).collect();
    maglev::table(&identities).into_iter().map(|owner| members[owner as usize].0).collect()
}

fn put<F: Family>(maps: &mut FamilyMaps<F>, address: F::Address, port: u16, value: Frontend) {
    let key = F::frontend_key(address, port, Protocol::TCP);
    maps.frontends.insert(Pod(key), Pod(value.of(&key)), 0).unwrap();
}

fn port(namespace: &str, name: &str, port: &str) -> ServicePortName {
    let [namespace, name, port] = [namespace, name, port].map(str::to_owned);
    ServicePortName { namespace, name, port, protocol: model::Protocol::Tcp }
}

/// The backend of `default/web` that its table names for an IPv4 client that never expired.
pub(crate) fn slot_of(client: &str) -> u32 {
    let ip: IpAddr = client.parse().unwrap();
    let table = table(&[(1, "default/web-0"), (2, "default/web-1")]);
    let address = <V4 as Family>::Address::from_words(words(ip));
    let hash = hash::client(address, hash::service("default", "web"), 0);
    table[hash::slot(hash, table.len() as u32) as usize]
}
