//! From the kernel's tables to the next hop of a packet: pure.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::IpAddr,
};

use super::{
    device::Device,
    neighbour::{Keeper, Neighbour, NeighbourKey, Whereabouts},
    route::Way,
};

/// Another node's end of the tunnel.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    /// The other node's id, as an index into the next hops.
    pub node: u32,
    /// This node's address, as source of the outer header.
    pub source: IpAddr,
    /// The other node's address, of the same family.
    pub address: IpAddr,
}

/// How a packet reaches a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hop {
    /// Index of the device that it leaves by.
    pub device: u32,
    /// What device and route carry in one packet, in bytes of layer 3; larger ones are cut to what fits here.
    pub mtu: u16,
    /// Layer-2 destination, then source.
    pub ethernet: [u8; 12],
}

/// Why it is not known how a packet reaches a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unresolved {
    /// The kernel has no route from the source to the address; also when the source is not on this node.
    #[error("there is no route; `ip route get ADDRESS from SOURCE` says more")]
    NoRoute,
    /// The address is one of this node's own.
    #[error("the address is one of this node's own")]
    OwnAddress,
    /// The route leads to a device without Ethernet header, or puts another header in front.
    #[error("the route leads to a device without Ethernet header, or through an encapsulation")]
    NotEthernet,
    /// The next hop is being looked for.
    #[error("the next hop is being looked for")]
    NeighbourPending,
    /// The next hop does not answer; the kernel asks again every few seconds.
    #[error("the next hop does not answer; `ip neigh` shows it")]
    NeighbourFailed,
    /// The kernel does not take the next hop as a neighbour; with its error number.
    #[error("the kernel does not look for the next hop: {}", io::Error::from_raw_os_error(*.0))]
    NeighbourRefused(i32),
}

/// The next hop on a way. `devices` are those with Ethernet headers; `refused` are the neighbours that the kernel
/// does not take.
pub(super) fn hop(
    way: &Way,
    devices: &HashMap<u32, Device>,
    neighbours: &HashMap<NeighbourKey, Neighbour>,
    refused: &HashMap<NeighbourKey, i32>,
) -> Result<Hop, Unresolved> {
    let device = devices.get(&way.device).ok_or(Unresolved::NotEthernet)?;
    let key = way.neighbour_key();
    let whereabouts = neighbours.get(&key).map_or(Whereabouts::Pending, |neighbour| neighbour.whereabouts);
    match whereabouts {
        Whereabouts::Known(destination) => {
            Ok(Hop { device: device.index, mtu: mtu(device, way), ethernet: ethernet(destination, device.address) })
        }
        Whereabouts::Pending | Whereabouts::Failed if refused.contains_key(&key) => {
            Err(Unresolved::NeighbourRefused(refused[&key]))
        }
        Whereabouts::Pending => Err(Unresolved::NeighbourPending),
        Whereabouts::Failed => Err(Unresolved::NeighbourFailed),
    }
}

/// The neighbours on these ways that the kernel does not keep resolved yet, for Limpet or somebody else.
pub(super) fn to_manage(
    ways: &[Way],
    devices: &HashMap<u32, Device>,
    neighbours: &HashMap<NeighbourKey, Neighbour>,
) -> HashSet<NeighbourKey> {
    let is_kept = |key: &NeighbourKey| neighbours.get(key).is_some_and(|neighbour| neighbour.keeper != Keeper::Nobody);
    ways.iter()
        .filter(|way| devices.contains_key(&way.device))
        .map(Way::neighbour_key)
        .filter(|key| !is_kept(key))
        .collect()
}

fn mtu(device: &Device, way: &Way) -> u16 {
    let mtu = way.mtu.map_or(device.mtu, |mtu| mtu.min(device.mtu));
    u16::try_from(mtu).unwrap_or(u16::MAX)
}

fn ethernet(destination: [u8; 6], source: [u8; 6]) -> [u8; 12] {
    let mut addresses = [0; 12];
    addresses[..6].copy_from_slice(&destination);
    addresses[6..].copy_from_slice(&source);
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Whereabouts = Whereabouts::Known([2, 0, 0, 0, 0, 9]);

    fn way(device: u32, mtu: Option<u32>) -> Way {
        Way { device, neighbour: "192.0.2.9".parse().unwrap(), mtu }
    }

    fn devices(mtu: u32) -> HashMap<u32, Device> {
        let address = [2, 0, 0, 0, 0, 1];
        HashMap::from([(3, Device { index: 3, name: "eth0".to_owned(), mtu, address, is_up: true, xdp: None })])
    }

    fn neighbours(whereabouts: Whereabouts, keeper: Keeper) -> HashMap<NeighbourKey, Neighbour> {
        HashMap::from([(way(3, None).neighbour_key(), Neighbour { whereabouts, keeper })])
    }

    #[test]
    fn hops_follow_from_the_tables() {
        let found = |mtu| Ok(Hop { device: 3, mtu, ethernet: [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1] });
        let cases = [
            ("found", way(3, None), 1500, KNOWN, false, found(1500)),
            ("found, though not to be managed", way(3, None), 1500, KNOWN, true, found(1500)),
            ("the route carries less", way(3, Some(1400)), 1500, KNOWN, false, found(1400)),
            ("the route claims more", way(3, Some(9000)), 1500, KNOWN, false, found(1500)),
            ("more than the map can say", way(3, None), 70_000, KNOWN, false, found(u16::MAX)),
            ("unknown device", way(4, None), 1500, KNOWN, false, Err(Unresolved::NotEthernet)),
            ("asked", way(3, None), 1500, Whereabouts::Pending, false, Err(Unresolved::NeighbourPending)),
            ("silent", way(3, None), 1500, Whereabouts::Failed, false, Err(Unresolved::NeighbourFailed)),
            ("refused", way(3, None), 1500, Whereabouts::Pending, true, Err(Unresolved::NeighbourRefused(libc::EPERM))),
        ];
        for (description, way, mtu, whereabouts, is_refused, expected) in cases {
            let refused = HashMap::from_iter(is_refused.then_some((way.neighbour_key(), libc::EPERM)));
            let result = hop(&way, &devices(mtu), &neighbours(whereabouts, Keeper::Limpet), &refused);
            assert_eq!(result, expected, "{description}");
        }
        let missing = hop(&way(3, None), &devices(1500), &HashMap::new(), &HashMap::new());
        assert_eq!(missing, Err(Unresolved::NeighbourPending), "not in the table yet");
    }

    #[test]
    fn only_neighbours_that_nobody_keeps_are_managed() {
        let key = way(3, None).neighbour_key();
        let cases = [
            ("not in the table", HashMap::new(), HashSet::from([key])),
            ("used by traffic", neighbours(KNOWN, Keeper::Nobody), HashSet::from([key])),
            ("managed already", neighbours(KNOWN, Keeper::Limpet), HashSet::new()),
            ("permanent, or another daemon's", neighbours(KNOWN, Keeper::Other), HashSet::new()),
        ];
        for (description, neighbours, expected) in cases {
            let ways = [way(3, None), way(3, Some(1400)), way(4, None)];
            assert_eq!(to_manage(&ways, &devices(1500), &neighbours), expected, "{description}");
        }
    }
}
