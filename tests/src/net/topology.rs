//! The lab's namespaces and wires: clients, router, nodes, Pods.
//!
//! Every veth pair is made by the outer namespace with both its ends already elsewhere: nothing is
//! ever created in the machine's own namespace, and nothing in the lab has a way to it.

use std::net::IpAddr;
use std::path::Path;
use std::slice;

use anyhow::Result;

use super::ip;
use super::namespace::Namespace;
use super::xdp;
use crate::address::{self, CLIENTS, Family, NODES, POD_GATEWAY_V4, POD_GATEWAY_V6};
use crate::record::{Made, Record};
use crate::world::Pod;

/// The device of a node that outside traffic arrives on.
pub(crate) const UPLINK: &str = "eth0";
/// The router's device on the wire that the nodes are on.
pub(crate) const BRIDGE: &str = "br0";

/// Whether Pods leave checksums and segments to their veth device, as real Pods do. A program at
/// the uplink's egress then sees half-made checksums and packets larger than the MTU; the uplink
/// finishes both before they are on the wire.
const POD_OFFLOADS: bool = true;

/// Parameters of every namespace, named as below `/proc/sys/net`. They are set before there are
/// devices, because a device takes its own from `default`.
const EVERYWHERE: &[(&str, &str)] = &[
    // Answers come back another way than questions went, so the source says nothing.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // The router sends packets out where they came in when one node hands them to another.
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    // Both switches: an address can be used at once only if neither asks for duplicates.
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    // Whoever is refused is told each time: which of many attempts is told would be chance.
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
];

const FORWARDING: &[(&str, &str)] = &[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")];

/// The router's table for everybody (`RT_TABLE_MAIN`).
const MAIN_TABLE: u16 = 254;
/// The router's tables for single clients follow this number.
const FIRST_CLIENT_TABLE: u16 = 100;

/// The router's tables for ranges of sources follow this number, one for each node.
const FIRST_SOURCE_TABLE: u16 = 200;
/// The preference of the rules for them: before those for single clients.
const SOURCE_RULES: u16 = 90;

/// The MAC address of the router's bridge.
const ROUTER_MAC: &str = "02:00:00:00:18:fe";
/// How the MAC addresses of the nodes' uplinks begin; the node's number follows.
const NODE_MACS: &str = "02:00:00:00:18";

/// A client answers for a whole range of addresses and may speak from each of them.
const MANY_ADDRESSES: &[(&str, &str)] = &[("ipv4/ip_nonlocal_bind", "1"), ("ipv6/ip_nonlocal_bind", "1")];

/// The names of a lab's namespaces.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    id: String,
}

impl Names {
    pub(crate) fn new(id: &str) -> Self {
        Self { id: id.to_owned() }
    }

    /// The namespace that all wires are made in.
    pub(crate) fn outer(&self) -> Namespace {
        Namespace::named(format!("limpet-lab-{}", self.id))
    }

    pub(crate) fn router(&self) -> Namespace {
        self.inner("router")
    }

    pub(crate) fn client(&self, client: u8) -> Namespace {
        self.inner(&format!("c{client}"))
    }

    pub(crate) fn node(&self, node: u8) -> Namespace {
        self.inner(&format!("n{node}"))
    }

    pub(crate) fn pod(&self, name: &str) -> Namespace {
        self.inner(&format!("pod-{name}"))
    }

    fn inner(&self, name: &str) -> Namespace {
        Namespace::named(format!("limpet-lab-{}-{name}", self.id))
    }
}

/// Makes everything but Pods.
pub(crate) fn build(names: &Names, record: &Record) -> Result<()> {
    let (outer, router) = (names.outer(), names.router());
    let clients: Vec<Namespace> = (1..=CLIENTS).map(|c| names.client(c)).collect();
    let nodes: Vec<Namespace> = (1..=NODES).map(|n| names.node(n)).collect();

    let inner = || clients.iter().chain(&nodes).chain([&router]);
    make_namespaces(record, inner().chain([&outer]))?;
    for namespace in inner() {
        namespace.set(EVERYWHERE)?;
    }
    router.set(FORWARDING)?;
    for client in &clients {
        client.set(MANY_ADDRESSES)?;
    }
    for node in &nodes {
        node.set(FORWARDING)?;
    }

    let wires: Vec<String> = clients
        .iter()
        .zip((1..=CLIENTS).map(router_port_to_client))
        .chain(nodes.iter().zip((1..=NODES).map(router_port_to_node)))
        .map(|(end, port)| wire(end, UPLINK, &router, &port))
        .collect();
    ip::batch(&outer, &wires)?;

    ip::batch(&router, &router_lines())?;
    for family in Family::BOTH {
        ip::batch_in(family, &router, &routing_rules(family))?;
    }
    let ports: Vec<String> =
        (1..=CLIENTS).map(router_port_to_client).chain((1..=NODES).map(router_port_to_node)).collect();
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    ip::make_wire(&router, &ports)?;
    for (client, number) in clients.iter().zip(1..) {
        ip::batch(client, &client_lines(number))?;
        ip::make_wire(client, &[UPLINK])?;
    }
    for (node, number) in nodes.iter().zip(1..) {
        ip::batch(node, &node_lines(number))?;
        ip::make_wire(node, &[UPLINK])?;
    }
    Ok(())
}

/// Lets the router's ports to the nodes take what the nodes' XDP programs send. `pins` is a directory on a BPF file
/// system.
pub(crate) fn wake_router(names: &Names, pins: &Path) -> Result<()> {
    let ports: Vec<String> = (1..=NODES).map(router_port_to_node).collect();
    xdp::pass_everything(&names.router(), &ports, pins)
}

/// Makes Pods' namespaces and joins them to their nodes.
pub(crate) fn add_pods(names: &Names, record: &Record, pods: &[Pod]) -> Result<()> {
    let namespaces: Vec<Namespace> = pods.iter().map(|pod| names.pod(pod.name())).collect();
    make_namespaces(record, namespaces.iter())?;
    for namespace in &namespaces {
        namespace.set(EVERYWHERE)?;
    }
    let wires: Vec<String> = pods
        .iter()
        .zip(&namespaces)
        .map(|(pod, end)| wire(end, UPLINK, &names.node(pod.node()), &pod_device(pod)))
        .collect();
    ip::batch(&names.outer(), &wires)?;
    for (pod, namespace) in pods.iter().zip(&namespaces) {
        // The node's end first: the Pod must find its gateway when it comes up.
        ip::batch(&names.node(pod.node()), &pod_lines_on_node(pod))?;
        ip::batch(namespace, &pod_lines(pod))?;
        if !POD_OFFLOADS {
            ip::make_wire(namespace, &[UPLINK])?;
        }
    }
    Ok(())
}

/// Takes a Pod off its node. Its namespace is removed with it.
pub(crate) fn remove_pod(names: &Names, pod: &Pod) -> Result<()> {
    let lines = [format!("link del {}", pod_device(pod))];
    ip::batch(&names.node(pod.node()), &lines)?;
    names.pod(pod.name()).remove()
}

/// Lets the router hand load-balancer IPs and external IPs to this node.
pub(crate) fn route_frontends_via(names: &Names, node: u8) -> Result<()> {
    ip::batch(&names.router(), &routes_of_frontends(node, MAIN_TABLE))
}

/// Lets the router hand what this client sends to load-balancer IPs and external IPs to a node of its own; with none,
/// to the node that everybody else's goes to.
pub(crate) fn route_client_via(names: &Names, client: u8, node: Option<u8>) -> Result<()> {
    let router = names.router();
    let table = table_of_client(client);
    match node {
        Some(node) => ip::batch(&router, &routes_of_frontends(node, table)),
        None => Family::BOTH
            .into_iter()
            .try_for_each(|family| ip::batch_in(family, &router, &[format!("route flush table {table}")])),
    }
}

/// Lets the router hand what comes from these ranges and goes to load-balancer IPs and external IPs to a node of their
/// own, whatever their client's way is.
pub(crate) fn route_sources_via(names: &Names, ranges: &[String], node: u8) -> Result<()> {
    let router = names.router();
    let table = FIRST_SOURCE_TABLE + u16::from(node);
    ip::batch(&router, &routes_of_frontends(node, table))?;
    Family::BOTH.into_iter().try_for_each(|family| {
        let own = ranges.iter().filter(|range| family_of(range) == family);
        let rules: Vec<String> =
            own.map(|range| format!("rule add from {range} lookup {table} pref {SOURCE_RULES}")).collect();
        ip::batch_in(family, &router, &rules)
    })
}

/// Gives a node's uplink another address, to which the router knows the way, or takes it back.
pub(crate) fn set_node_address(names: &Names, node: u8, added: IpAddr, is_there: bool) -> Result<()> {
    let family = Family::of(added);
    let (bits, own) = (family.host_bits(), address::node(family, node));
    let (verb, route) = if is_there { ("add", "replace") } else { ("del", "del") };
    let nodad = if is_there && family == Family::V6 { " nodad" } else { "" };
    ip::batch(&names.node(node), &[format!("addr {verb} {added}/{bits} dev {UPLINK}{nodad}")])?;
    ip::batch(&names.router(), &[format!("route {route} {added}/{bits} via {own}")])
}

/// Connects a node to the router, or cuts it off as if its cable were pulled.
///
/// A bridge that no longer knows where a node is sends the frames for it to all others. Their programs would take them
/// for their own, and nobody would miss the node; so while one is cut off, the bridge keeps such frames.
pub(crate) fn connect_node(names: &Names, node: u8, connected: bool) -> Result<()> {
    let (link, flood) = if connected { ("up", "on") } else { ("down", "off") };
    let mut lines: Vec<String> = (1..=NODES)
        .filter(|other| *other != node)
        .map(|other| format!("link set {} type bridge_slave flood {flood}", router_port_to_node(other)))
        .collect();
    lines.push(format!("link set {} {link}", router_port_to_node(node)));
    ip::batch(&names.router(), &lines)
}

/// Takes a node's uplink away, the device itself, and with it its wire, its addresses and all routes over it.
pub(crate) fn remove_uplink(names: &Names, node: u8) -> Result<()> {
    ip::batch(&names.node(node), &[format!("link del {UPLINK}")])
}

/// Makes a node's uplink anew, another device of the same name, after [`remove_uplink`]. `pins` is as for
/// [`wake_router`].
pub(crate) fn make_uplink(names: &Names, node: u8, pins: &Path) -> Result<()> {
    let (router, end, port) = (names.router(), names.node(node), router_port_to_node(node));
    ip::batch(&names.outer(), &[wire(&end, UPLINK, &router, &port)])?;
    ip::make_wire(&end, &[UPLINK])?;
    ip::make_wire(&router, &[&port])?;
    xdp::pass_everything(&router, slice::from_ref(&port), pins)?;
    ip::batch(&router, &[format!("link set {port} master br0 up")])?;
    restore_uplink(names, node)
}

/// Brings a node's uplink up and gives it back what the kernel takes off devices that go down. The router is told, as by
/// what configures a real node's network.
pub(crate) fn restore_uplink(names: &Names, node: u8) -> Result<()> {
    let own = Family::BOTH.map(|family| address::node(family, node));
    ip::batch(&names.node(node), &uplink_lines(node, own))?;
    ip::batch(&names.router(), &own.map(|own| format!("neigh flush to {own} dev br0")))
}

/// Gives a node's uplink other addresses in place of its own, which all others know as the way to its Pods from then on.
pub(crate) fn renumber_node(names: &Names, node: u8, from: [IpAddr; 2], to: [IpAddr; 2]) -> Result<()> {
    let old = from.map(|old| format!("addr del {old}/{} dev {UPLINK}", on_wire_bits(Family::of(old))));
    ip::batch(&names.node(node), &[old.to_vec(), uplink_lines(node, to)].concat())?;
    let ways = to.map(|to| route_to_pods_via(node, to));
    let others = (1..=NODES).filter(|other| *other != node).map(|other| names.node(other));
    others.chain([names.router()]).try_for_each(|other| ip::batch(&other, &ways))
}

/// Lets the router throw away what is sent to these ranges.
pub(crate) fn discard(names: &Names, ranges: &[String]) -> Result<()> {
    let lines: Vec<String> = ranges.iter().map(|range| format!("route replace blackhole {range}")).collect();
    ip::batch(&names.router(), &lines)
}

/// The router's end of the wire to a node: namespace and device.
pub(crate) fn port_to_node(names: &Names, node: u8) -> (Namespace, String) {
    (names.router(), router_port_to_node(node))
}

fn make_namespaces<'a>(record: &Record, mut namespaces: impl Iterator<Item = &'a Namespace>) -> Result<()> {
    namespaces.try_for_each(|namespace| {
        record.add(&Made::Namespace { name: namespace.name().to_owned() })?;
        namespace.create()
    })
}

fn wire(a: &Namespace, device_a: &str, b: &Namespace, device_b: &str) -> String {
    format!(
        "link add {device_a} netns {} mtu 1500 type veth peer name {device_b} netns {} mtu 1500",
        a.name(),
        b.name()
    )
}

fn router_lines() -> Vec<String> {
    let mut lines = vec![
        "link set lo up".to_owned(),
        // Snooping would keep neighbour discovery, which is multicast, from nodes that joined
        // before the bridge listened. Without a MAC address of its own the bridge would take another one whenever a port comes or goes, and tell nobody.
        format!("link add br0 address {ROUTER_MAC} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"),
    ];
    for family in Family::BOTH {
        let bits = on_wire_bits(family);
        lines.push(address_line(address::router(family), bits, "br0"));
    }
    lines.push("link set br0 up".to_owned());
    for node in 1..=NODES {
        let port = router_port_to_node(node);
        lines.push(format!("link set {port} master br0 up"));
    }
    for client in 1..=CLIENTS {
        let port = router_port_to_client(client);
        lines.push(format!("link set {port} up"));
        for family in Family::BOTH {
            let gateway = address::client_gateway(family, client);
            lines.push(address_line(gateway, on_wire_bits(family), &port));
            lines.push(format!(
                "route add {} via {}",
                address::client_range(family, client),
                address::client_wire(family, client)
            ));
        }
    }
    for node in 1..=NODES {
        for family in Family::BOTH {
            lines.push(route_to_pods_of(family, node));
        }
    }
    lines
}

/// What a client sends is looked up in a table of its own first. It is empty, so that the main one decides, until the
/// client is given a way of its own.
fn routing_rules(family: Family) -> Vec<String> {
    let rule = |client| {
        let (range, table) = (address::client_range(family, client), table_of_client(client));
        format!("rule add from {range} lookup {table} pref {table}")
    };
    (1..=CLIENTS).map(rule).collect()
}

fn routes_of_frontends(node: u8, table: u16) -> Vec<String> {
    let route = |range| format!("route replace {range} via {} table {table}", address::node(family_of(range), node));
    address::frontend_ranges().into_iter().map(route).collect()
}

fn table_of_client(client: u8) -> u16 {
    FIRST_CLIENT_TABLE + u16::from(client)
}

fn client_lines(client: u8) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned(), format!("link set {UPLINK} up")];
    for family in Family::BOTH {
        let bits = family.host_bits();
        let own = address::client(family, client, 1);
        let wire = address::client_wire(family, client);
        let range = address::client_range(family, client);
        let gateway = address::client_gateway(family, client);
        let everything = everything(family);
        lines.push(address_line(wire, on_wire_bits(family), UPLINK));
        lines.push(address_line(own, bits, "lo"));
        lines.push(format!("route add local {range} dev lo"));
        lines.push(format!("route add {everything} via {gateway} src {own}"));
    }
    lines
}

fn node_lines(node: u8) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    lines.extend(uplink_lines(node, Family::BOTH.map(|family| address::node(family, node))));
    // A frontend that nobody balances would go back to the router and round in circles. This way
    // the client is told at once.
    for range in address::frontend_ranges() {
        lines.push(format!("route add unreachable {range}"));
    }
    lines
}

/// Brings a node's uplink up with these addresses, and with all routes over it. What is there already stays.
fn uplink_lines(node: u8, own: [IpAddr; 2]) -> Vec<String> {
    // As of a real network card: the same one when it comes back.
    let mut lines = vec![format!("link set {UPLINK} address {NODE_MACS}:{node:02x} up")];
    for own in own {
        let family = Family::of(own);
        lines.push(address_line(own, on_wire_bits(family), UPLINK));
        let everything = everything(family);
        let router = address::router(family);
        lines.push(format!("route replace {everything} via {router}"));
        for other in (1..=NODES).filter(|other| *other != node) {
            lines.push(route_to_pods_of(family, other));
        }
    }
    lines
}

fn pod_lines_on_node(pod: &Pod) -> Vec<String> {
    let device = pod_device(pod);
    let mut lines = vec![
        format!("link set {device} up"),
        format!("addr add {POD_GATEWAY_V4}/32 dev {device}"),
        format!("addr add {POD_GATEWAY_V6}/64 dev {device} nodad"),
    ];
    for family in Family::BOTH {
        let (own, bits) = (pod.address(family), family.host_bits());
        lines.push(format!("route add {own}/{bits} dev {device}"));
    }
    lines
}

fn pod_lines(pod: &Pod) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned(), format!("link set {UPLINK} up")];
    for family in Family::BOTH {
        lines.push(address_line(pod.address(family), family.host_bits(), UPLINK));
    }
    lines.push(format!("route add {POD_GATEWAY_V4} dev {UPLINK} scope link"));
    lines.push(format!("route add 0.0.0.0/0 via {POD_GATEWAY_V4}"));
    lines.push(format!("route add ::/0 via {POD_GATEWAY_V6} dev {UPLINK}"));
    lines
}

fn route_to_pods_of(family: Family, node: u8) -> String {
    route_to_pods_via(node, address::node(family, node))
}

/// The way to a node's Pods, which leads through one of its addresses.
fn route_to_pods_via(node: u8, via: IpAddr) -> String {
    format!("route replace {} via {via}", address::pod_range(Family::of(via), node))
}

fn address_line(address: IpAddr, bits: u8, device: &str) -> String {
    let nodad = if address.is_ipv6() { " nodad" } else { "" };
    format!("addr replace {address}/{bits} dev {device}{nodad}")
}

fn pod_device(pod: &Pod) -> String {
    format!("pod-{}", pod.index())
}

fn router_port_to_client(client: u8) -> String {
    format!("c{client}")
}

fn router_port_to_node(node: u8) -> String {
    format!("n{node}")
}

fn on_wire_bits(family: Family) -> u8 {
    match family {
        Family::V4 => 24,
        Family::V6 => 64,
    }
}

fn everything(family: Family) -> &'static str {
    match family {
        Family::V4 => "0.0.0.0/0",
        Family::V6 => "::/0",
    }
}

fn family_of(range: &str) -> Family {
    if range.contains(':') { Family::V6 } else { Family::V4 }
}
