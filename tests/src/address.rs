//! The lab's address plan: every address in it comes from here.
//!
//! All ranges are reserved for documentation, benchmarks or private use, so that a packet that got
//! out by mistake would reach nobody.
//!
//! | what | IPv4 | IPv6 |
//! | --- | --- | --- |
//! | load-balancer IPs | 203.0.113.0/24 | 2001:db8:113::/64 |
//! | external IPs | 198.51.100.0/24 | 2001:db8:51::/64 |
//! | cluster IPs | 10.96.0.0/24 | fd00:96::/64 |
//! | nodes and router | 172.18.0.0/24 | fd00:18::/64 |
//! | Pods of node N | 10.244.N.0/24 | fd00:244:N::/64 |
//! | addresses of client N | 198.18.N.0/24 | 2001:db8:c:N::/64 |
//! | wire from client N to the router | 198.19.N.0/24 | fd00:19:N::/64 |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many nodes the lab has; they are numbered from 1.
pub const NODES: u8 = 3;
/// How many clients the lab has; they are numbered from 1.
pub const CLIENTS: u8 = 2;
/// The port that every Pod's server listens on, for TCP and for UDP.
pub const POD_PORT: u16 = 8080;
/// Another port that it listens on, for Services whose target port differs from Pod to Pod.
pub const OTHER_POD_PORT: u16 = 9090;
/// The gateway that every Pod uses for IPv4: its node's end of the veth pair.
pub const POD_GATEWAY_V4: &str = "169.254.1.1";
/// The gateway that every Pod uses for IPv6: its node's end of the veth pair.
pub const POD_GATEWAY_V6: &str = "fe80::1";

/// The last group or byte of the router's own addresses.
const ROUTER: u16 = 254;
const ROUTER_V6: u16 = 0x254;
/// Node ports start here; each Service has [`NODE_PORTS_PER_SERVICE`] of them.
const FIRST_NODE_PORT: u16 = 30_000;
const NODE_PORTS_PER_SERVICE: u16 = 8;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, IPv4 first.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// As Kubernetes writes it in `ipFamilies` and `addressType`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The length of a host's prefix.
    #[must_use]
    pub fn host_bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// The ranges that clients send to and that the router hands to the chosen node.
#[must_use]
pub fn frontend_ranges() -> [&'static str; 4] {
    ["203.0.113.0/24", "198.51.100.0/24", "2001:db8:113::/64", "2001:db8:51::/64"]
}

/// The load-balancer IP of the Service with this ordinal.
#[must_use]
pub fn load_balancer_ip(family: Family, ordinal: u8) -> IpAddr {
    match family {
        Family::V4 => v4(203, 0, 113, ordinal),
        Family::V6 => v6([0x2001, 0xdb8, 0x113, 0], ordinal.into()),
    }
}

/// The external IP of the Service with this ordinal.
#[must_use]
pub fn external_ip(family: Family, ordinal: u8) -> IpAddr {
    match family {
        Family::V4 => v4(198, 51, 100, ordinal),
        Family::V6 => v6([0x2001, 0xdb8, 0x51, 0], ordinal.into()),
    }
}

/// The cluster IP of the Service with this ordinal.
#[must_use]
pub fn cluster_ip(family: Family, ordinal: u8) -> IpAddr {
    match family {
        Family::V4 => v4(10, 96, 0, ordinal),
        Family::V6 => v6([0xfd00, 0x96, 0, 0], ordinal.into()),
    }
}

/// The node port of the Service with this ordinal for its port number `index`, counted from 0.
#[must_use]
pub fn node_port(ordinal: u8, index: u8) -> u16 {
    FIRST_NODE_PORT + u16::from(ordinal) * NODE_PORTS_PER_SERVICE + u16::from(index)
}

/// The address of a node's uplink.
#[must_use]
pub fn node(family: Family, node: u8) -> IpAddr {
    match family {
        Family::V4 => v4(172, 18, 0, node),
        Family::V6 => v6([0xfd00, 0x18, 0, 0], node.into()),
    }
}

/// The router's address on the wire that the nodes are on.
#[must_use]
pub fn router(family: Family) -> IpAddr {
    match family {
        Family::V4 => v4(172, 18, 0, ROUTER.to_le_bytes()[0]),
        Family::V6 => v6([0xfd00, 0x18, 0, 0], ROUTER_V6),
    }
}

/// The address of the Pod with this index on this node.
#[must_use]
pub fn pod(family: Family, node: u8, index: u8) -> IpAddr {
    match family {
        Family::V4 => v4(10, 244, node, index),
        Family::V6 => v6([0xfd00, 0x244, node.into(), 0], index.into()),
    }
}

/// The range that a node's Pods are in.
#[must_use]
pub fn pod_range(family: Family, node: u8) -> String {
    match family {
        Family::V4 => format!("10.244.{node}.0/24"),
        Family::V6 => format!("fd00:244:{node}::/64"),
    }
}

/// One of the source addresses of a client, `index` from 1 to 254; 1 is the one it uses by itself.
#[must_use]
pub fn client(family: Family, client: u8, index: u8) -> IpAddr {
    match family {
        Family::V4 => v4(198, 18, client, index),
        Family::V6 => v6([0x2001, 0xdb8, 0xc, client.into()], index.into()),
    }
}

/// The range of a client's source addresses.
#[must_use]
pub fn client_range(family: Family, client: u8) -> String {
    match family {
        Family::V4 => format!("198.18.{client}.0/24"),
        Family::V6 => format!("2001:db8:c:{client:x}::/64"),
    }
}

/// A client's own address on its wire to the router.
#[must_use]
pub fn client_wire(family: Family, client: u8) -> IpAddr {
    match family {
        Family::V4 => v4(198, 19, client, 2),
        Family::V6 => v6([0xfd00, 0x19, client.into(), 0], 2),
    }
}

/// The router's address on a client's wire.
#[must_use]
pub fn client_gateway(family: Family, client: u8) -> IpAddr {
    match family {
        Family::V4 => v4(198, 19, client, 1),
        Family::V6 => v6([0xfd00, 0x19, client.into(), 0], 1),
    }
}

fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    Ipv4Addr::new(a, b, c, d).into()
}

fn v6(prefix: [u16; 4], host: u16) -> IpAddr {
    let [a, b, c, d] = prefix;
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, host).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_plan_says() {
        let check = |got: IpAddr, expected: &str| assert_eq!(got.to_string(), expected);
        check(router(Family::V4), "172.18.0.254");
        check(router(Family::V6), "fd00:18::254");
        check(node(Family::V6, 3), "fd00:18::3");
        check(pod(Family::V4, 2, 7), "10.244.2.7");
        check(pod(Family::V6, 2, 7), "fd00:244:2::7");
        check(load_balancer_ip(Family::V6, 1), "2001:db8:113::1");
        check(external_ip(Family::V4, 9), "198.51.100.9");
        check(client(Family::V6, 2, 1), "2001:db8:c:2::1");
        check(client_wire(Family::V4, 2), "198.19.2.2");
        assert_eq!(pod_range(Family::V6, 3), "fd00:244:3::/64");
    }

    #[test]
    fn node_ports_of_two_services_never_meet() {
        assert!(node_port(1, 7) < node_port(2, 0));
        assert_eq!(node_port(255, 7), 32_047);
    }
}
