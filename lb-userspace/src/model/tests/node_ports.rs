//! `nodePortAddresses` (A.8): which of a node's addresses have node ports.

use super::fixture::*;
use crate::model::*;

const NODE_PORT: &str = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: NodePort, ports: [{name: '', port: 80, nodePort: 30080}]}}\n---\n";

/// The addresses that the node port is on, for a node with these devices' addresses.
fn check_addresses(what: &str, node_port_addresses: &str, local: &[&str], expected: &[&str]) {
    let options = Options {
        node_port_addresses: node_port_addresses.parse().expect("addresses"),
        local_addresses: local.iter().map(|address| address.parse().expect("an address")).collect(),
        ..options()
    };
    let (desired, problems) = run_alone(&format!("{NODES}{NODE_PORT}"), &options);
    assert_eq!(problems, [""; 0], "{what}");
    let port = desired.services.values().next().expect("one port");
    let found: Vec<String> = port.frontends.iter().map(|f| format!("{:?} {}:{}", f.kind, f.address, f.port)).collect();
    let expected: Vec<String> = expected.iter().map(|address| format!("NodePort {address}:30080")).collect();
    assert_eq!(found, expected, "{what}");
}

const LOCAL: &[&str] = &["10.0.0.1", "10.5.0.1", "192.168.7.1", "203.0.113.1", "2001:db8:5::1", "fd00::1"];

/// A.8 (util/nodeport_addresses.go:39-82): `primary` is what the Node object lists, whatever else the devices have.
#[test]
fn a8_primary_addresses() {
    let listed = &["10.0.0.1", "203.0.113.1", "fd00::1"];
    check_addresses("primary", "primary", LOCAL, listed);
    check_addresses("no address of a device is asked for", "primary", &[], listed);
}

/// A.8 (util/nodeport_addresses.go:39-82): CIDRs choose among the addresses of the devices; of a family that none of them
/// is of, all count.
#[test]
fn a8_addresses_within() {
    check_addresses("one range of each family", "10.0.0.0/8, fd00::/8", LOCAL, &["10.0.0.1", "10.5.0.1", "fd00::1"]);
    check_addresses("IPv4 alone", "192.168.0.0/16", LOCAL, &["192.168.7.1", "2001:db8:5::1", "fd00::1"]);
    check_addresses(
        "IPv6 alone",
        "2001:db8::/32",
        LOCAL,
        &["10.0.0.1", "10.5.0.1", "192.168.7.1", "203.0.113.1", "2001:db8:5::1"],
    );
    check_addresses("everything", "0.0.0.0/0,::/0", LOCAL, LOCAL);
    check_addresses("two ranges", "10.5.0.0/16,10.0.0.1/32,::/0", &LOCAL[..3], &["10.0.0.1", "10.5.0.1"]);
    check_addresses("none of them", "198.51.100.0/24,2001:db8:9::/48", LOCAL, &[]);
}

/// A.8: an address that a device gets later has node ports from the next round on.
#[test]
fn a8_an_address_added_later() {
    check_addresses("before", "10.0.0.0/8,::/0", &["10.0.0.1"], &["10.0.0.1"]);
    check_addresses("after", "10.0.0.0/8,::/0", &["10.0.0.1", "10.5.0.1"], &["10.0.0.1", "10.5.0.1"]);
}

/// A.3 (types.go:6187-6195): `allocateLoadBalancerNodePorts: false` shows in node ports that are not there; one that is
/// there is served.
#[test]
fn a3_load_balancers_without_node_ports() {
    let balanced = "LoadBalancerIp 192.0.2.7:80";
    check(
        "none",
        &load_balancer("allocateLoadBalancerNodePorts: false, ipFamilies: [IPv4]").replace(", {ip: '2001:db8::7'}", ""),
        &[&format!("default/web:/TCP | {balanced} |  |  | ")],
        &[],
    );
    check(
        "zero",
        &load_balancer("allocateLoadBalancerNodePorts: false, ipFamilies: [IPv4]")
            .replace(", {ip: '2001:db8::7'}", "")
            .replace("port: 80}", "port: 80, nodePort: 0}"),
        &[&format!("default/web:/TCP | {balanced} |  |  | ")],
        &[],
    );
    check(
        "kept",
        &load_balancer("allocateLoadBalancerNodePorts: false, ipFamilies: [IPv4]")
            .replace(", {ip: '2001:db8::7'}", "")
            .replace("port: 80}", "port: 80, nodePort: 30080}"),
        &[&format!("default/web:/TCP | NodePort 10.0.0.1:30080, {balanced}, NodePort 203.0.113.1:30080 |  |  | ")],
        &[],
    );
}
