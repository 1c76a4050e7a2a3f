//! Where clients ask from: each node has a block of every client machine's addresses, and no 5-tuple is used twice.
//!
//! The router sends what comes from a block to its node, whatever the frontend. That no port is used again from the same
//! address matters for UDP: a flow that is remembered goes to its Pod also when that is not ready any more.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::address::{self, CLIENTS, Family};
use crate::client::Client;

/// Addresses in each node's block.
const BLOCK: u8 = 64;
/// The place in a block from which a fence asks. Clients have those before it.
pub(in super::super) const FENCE: u8 = BLOCK - 1;
/// The first port; those below are for servers.
const FIRST_PORT: u16 = 1_024;

/// A client's addresses, one of each family for each node, and the ports that they have not used yet.
#[derive(Debug)]
pub(in super::super) struct Source {
    client: Client,
    place: u8,
    ports: BTreeMap<IpAddr, u16>,
}

impl Source {
    /// The addresses at this place, counted from 1, of each node's block of a client machine.
    pub(in super::super) fn new(client: Client, place: u8) -> Self {
        Self { client, place, ports: BTreeMap::new() }
    }

    /// The address whose packets arrive at this node, with a port that it has not used before. After some 64,000
    /// requests they begin anew.
    pub(in super::super) fn next(&mut self, family: Family, node: u8) -> SocketAddr {
        let address = self.client.address(family, (node - 1) * BLOCK + self.place);
        let port = self.ports.entry(address).or_insert(FIRST_PORT);
        let next = SocketAddr::new(address, *port);
        *port = port.checked_add(1).unwrap_or(FIRST_PORT);
        next
    }
}

/// The ranges of all addresses whose packets arrive at this node.
pub(in super::super) fn ranges_of(node: u8) -> Vec<String> {
    let lengths = [(Family::V4, 26), (Family::V6, 122)];
    let of_client = |client| {
        lengths.map(|(family, length)| {
            let first = address::client(family, client, (node - 1) * BLOCK);
            format!("{first}/{length}")
        })
    };
    (1..=CLIENTS).flat_map(of_client).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::namespace::Namespace;

    #[test]
    fn no_port_is_used_twice_and_every_node_has_its_block() {
        let mut source = Source::new(Client::new(Namespace::named("c2"), 2), 5);
        let first = source.next(Family::V4, 3);
        assert_eq!(first.to_string(), "198.18.2.133:1024");
        assert_eq!(source.next(Family::V4, 3).port(), 1_025);
        assert_eq!(source.next(Family::V6, 2).to_string(), "[2001:db8:c:2::45]:1024");
        assert_eq!(
            ranges_of(3),
            ["198.18.1.128/26", "2001:db8:c:1::80/122", "198.18.2.128/26", "2001:db8:c:2::80/122"]
        );
    }
}
