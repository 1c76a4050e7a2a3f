//! Maps with a little of everything, pinned in a place of their own until the test ends.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

use lb_common::{
    Family, Reason, V4, V6,
    breaks::BreakReason,
    family::{Address, Address4},
    layout::{
        Affinity, AffinityKey4, Backend, BreakCounts, BreakRate, Flow, Frontend, Keyed, Name, NameKey, NextHop4,
        NextHop6, Way, backend_state, frontend_flags, frontend_kind, name_kind,
    },
    wire::Protocol,
};
use lb_userspace::dataplane::{Maps, Pins, Pod, Sizes, Switches, load, names};

/// Room for what is written here, and little more.
const SIZES: Sizes =
    Sizes { flows: 64, clients: 64, slots: 1024, backends: 16, services: 8, frontends: 16, source_ranges: 8, nodes: 8 };
const TABLE: (u32, u32) = (3, 5);

/// The pins; removed when dropped, also after a panic.
pub(crate) struct Pinned(Pins);

impl Pinned {
    /// Maps pinned under a name that is this test's and this process's alone.
    pub(crate) fn new(test: &str) -> Self {
        let pinned = Self(Pins::new(format!("/sys/fs/bpf/limpet-test-{}-{test}", std::process::id())));
        let mut maps = load(&SIZES, Some(&pinned.0), Switches::default()).unwrap().maps;
        write_names(&mut maps);
        write_services(&mut maps);
        write_nodes(&mut maps);
        write_flows(&mut maps);
        write_client(&mut maps);
        write_breaks(&mut maps);
        let cpus = aya::util::nr_cpus().unwrap();
        let packets = (0..cpus).map(|cpu| if cpu == 0 { 7 } else { 0 }).collect::<Vec<_>>();
        maps.counters.set(Reason::LocalNew.index(), packets.try_into().unwrap(), 0).unwrap();
        pinned
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.root()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let removed = self.0.remove();
        assert!(std::thread::panicking() || removed.is_ok(), "{removed:?}");
    }
}

fn write_names(maps: &mut Maps) {
    let mut name = |kind: u32, id: u32, name: Name| {
        maps.names.insert(Pod(NameKey { kind, id }), Pod(name), 0).unwrap();
    };
    name(name_kind::SERVICE, 1, names::service("default", "web", "http", "TCP"));
    name(name_kind::SERVICE, 2, names::service("shop", "dns", "", "UDP"));
    name(name_kind::BACKEND, 1, names::backend("default/web-0", "n1"));
    name(name_kind::BACKEND, 2, names::backend("default/web-1", "n2"));
    name(name_kind::BACKEND, 3, names::backend("default/web-2", "n2"));
    for (id, node) in [(0, "n1"), (1, "n2"), (2, "n3")] {
        name(name_kind::NODE, id, names::node(node));
    }
}

fn write_services(maps: &mut Maps) {
    let mut backend = |id: u32, address: [u8; 4], node: u32, state: u8| {
        let address = Address4::from(Ipv4Addr::from(address)).to_words();
        let value = Backend { address, port: 8080, protocol: 6, state, node, generation: 1, service: 1 };
        maps.backends.set(id, Pod(value), 0).unwrap();
    };
    backend(1, [10, 1, 0, 10], 0, backend_state::ACTIVE);
    backend(2, [10, 1, 1, 10], 1, backend_state::DRAINING);
    backend(3, [10, 1, 1, 11], 1, backend_state::GONE);
    maps.slots.write(TABLE.0, &[1; TABLE.1 as usize]).unwrap();

    let web = Frontend {
        kind: frontend_kind::LOAD_BALANCER_IP,
        flags: frontend_flags::CLIENT_AFFINITY | frontend_flags::STABLE_EXPIRY,
        client_prefix: 24,
        service: 1,
        table_offset: TABLE.0,
        table_length: TABLE.1,
        affinity_timeout_seconds: 10_800,
        ..Frontend::default()
    };
    let mut frontend4 = |address: [u8; 4], port: u16, protocol: Protocol, value: Frontend| {
        let key = V4::frontend_key(Ipv4Addr::from(address).into(), port, protocol);
        maps.v4.frontends.insert(Pod(key), Pod(value.of(&key)), 0).unwrap();
    };
    frontend4([203, 0, 113, 10], 80, Protocol::TCP, web);
    frontend4([10, 0, 0, 1], 30080, Protocol::TCP, Frontend { kind: frontend_kind::NODE_PORT, ..web });
    let tunnel = Frontend { kind: frontend_kind::TUNNEL, ..Frontend::default() };
    frontend4([10, 0, 0, 1], 6181, Protocol::UDP, tunnel);

    let dns = Frontend { kind: frontend_kind::EXTERNAL_IP, service: 2, ..Frontend::default() };
    let address: Ipv6Addr = "2001:db8::53".parse().unwrap();
    let key = V6::frontend_key(address.into(), 53, Protocol::UDP);
    maps.v6.frontends.insert(Pod(key), Pod(dns.of(&key)), 0).unwrap();
}

fn write_nodes(maps: &mut Maps) {
    let ethernet: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    let hop = NextHop4 {
        source: Ipv4Addr::new(10, 0, 0, 1).into(),
        destination: Ipv4Addr::new(10, 0, 0, 2).into(),
        // The loopback device: the one that there is everywhere.
        way: Way {
            device: 1,
            mtu: 1500,
            tunnel_port: 6181,
            ethernet: zerocopy::transmute!(ethernet),
            ..Way::default()
        },
    };
    maps.v4.next_hops.set(1, Pod(hop), 0).unwrap();
    maps.v4.peers.insert(Pod(hop.destination), 1, 0).unwrap();
    let destination: Ipv6Addr = "fd00::3".parse().unwrap();
    let unresolved = NextHop6 { destination: destination.into(), ..NextHop6::default() };
    maps.v6.next_hops.set(2, Pod(unresolved), 0).unwrap();
}

fn write_flows(maps: &mut Maps) {
    let flow_to = |frontend: [u8; 4], client: u8, backend: u32, generation: u32| {
        let client = Ipv4Addr::new(198, 51, 100, client);
        let key = V4::flow_key(client.into(), Ipv4Addr::from(frontend).into(), 4000, 80, Protocol::TCP);
        let flow = Flow { backend, generation, service: 1, ..Flow::default() };
        (Pod(key), Pod(flow.of(&key)))
    };
    let flow = |client, backend, generation| flow_to([203, 0, 113, 10], client, backend, generation);
    // The last one's Service is gone, and its id is another's.
    for (key, flow) in [flow(7, 1, 1), flow(8, 2, 1), flow_to([203, 0, 113, 99], 7, 2, 0)] {
        maps.v4.flows.insert(key, flow, 0).unwrap();
    }
    // The one's backend's id has been given away since; the other is on its way from one map to the other, to be shown once.
    for (key, flow) in [flow(9, 1, 9), flow(7, 1, 1)] {
        maps.v4.new_flows.insert(key, flow, 0).unwrap();
    }
}

fn write_client(maps: &mut Maps) {
    let key = AffinityKey4 { client: Ipv4Addr::new(198, 51, 100, 0).into(), service: [1, 2] };
    let affinity = Affinity { backend: 1, generation: 1, ..Affinity::default() };
    maps.v4.affinity.insert(Pod(key), Pod(affinity.of(&key)), 0).unwrap();
}

/// Two that expired and one whose Pod went, on two CPUs where there are as many; and some that were not told.
fn write_breaks(maps: &mut Maps) {
    let cpus = aya::util::nr_cpus().unwrap();
    let mut counts = vec![BreakCounts::default(); cpus];
    counts[0][BreakReason::Expired.index() as usize] += 1;
    counts[cpus - 1][BreakReason::Expired.index() as usize] += 1;
    counts[cpus - 1][BreakReason::BackendGone.index() as usize] += 1;
    let counts: Vec<_> = counts.into_iter().map(Pod).collect();
    maps.breaks.set(1, counts.try_into().unwrap(), 0).unwrap();
    let rates = vec![Pod(BreakRate { lost: 2, ..BreakRate::default() }); cpus];
    maps.break_rate.set(0, rates.try_into().unwrap(), 0).unwrap();
}
