//! From the kernel's tables to the next hop of a packet: pure.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    device::Device,
    neighbour::{Keeper, Neighbour, NeighbourKey, Whereabouts},
    route::Way,
};

/// VLAN tags that the datapath writes (`lb_common::wire::MAX_VLAN_TAGS`).
const MAX_TAGS: usize = 2;

/// Another node's end of the tunnel.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Target {
    /// The other node's id, as an index into the next hops.
    pub node: u32,
    /// Both ends of the tunnel.
    pub ends: Ends,
}

/// The addresses between which the tunnel runs, of one family.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Ends {
    /// Over IPv4.
    V4 {
        /// This node's address, as source of the outer header.
        source: Ipv4Addr,
        /// The other node's address.
        address: Ipv4Addr,
    },
    /// Over IPv6.
    V6 {
        /// This node's address, as source of the outer header.
        source: Ipv6Addr,
        /// The other node's address.
        address: Ipv6Addr,
    },
}

impl Target {
    /// This node's address.
    pub fn source(&self) -> IpAddr {
        match self.ends {
            Ends::V4 { source, .. } => source.into(),
            Ends::V6 { source, .. } => source.into(),
        }
    }

    /// The other node's address.
    pub fn address(&self) -> IpAddr {
        match self.ends {
            Ends::V4 { address, .. } => address.into(),
            Ends::V6 { address, .. } => address.into(),
        }
    }
}

/// How a packet reaches a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hop {
    /// Index of the device that it leaves by: below all VLAN devices.
    pub device: u32,
    /// Index of the device that the route names: `device`, or a VLAN device over it.
    pub route_device: u32,
    /// What device and route carry in one packet, in bytes of layer 3; larger ones are cut to what fits here.
    pub mtu: u16,
    /// Layer-2 destination, then source.
    pub ethernet: [u8; 12],
    /// VLAN tags, outermost first, as the datapath writes them: TPID and TCI, octets in wire order.
    pub tags: [u32; MAX_TAGS],
    /// How many of them there are.
    pub tag_count: u32,
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
    /// The route leads over VLAN devices that the datapath cannot do the work of.
    #[error(
        "the route leads over more than two VLAN devices, or over one whose lower device is not an Ethernet device of \
         this network namespace"
    )]
    VlanBelow,
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
    let (lowest, tags, tag_count) = below(device, devices).ok_or(Unresolved::VlanBelow)?;
    let key = way.neighbour_key();
    let whereabouts = neighbours.get(&key).map_or(Whereabouts::Pending, |neighbour| neighbour.whereabouts);
    match whereabouts {
        Whereabouts::Known(destination) => Ok(Hop {
            device: lowest,
            route_device: device.index,
            mtu: mtu(device, way),
            ethernet: ethernet(destination, device.address),
            tags,
            tag_count,
        }),
        Whereabouts::Pending | Whereabouts::Failed if refused.contains_key(&key) => {
            Err(Unresolved::NeighbourRefused(refused[&key]))
        }
        Whereabouts::Pending => Err(Unresolved::NeighbourPending),
        Whereabouts::Failed => Err(Unresolved::NeighbourFailed),
    }
}

/// The neighbours on these ways that the kernel is to be asked for: those that it does not keep resolved yet, for Limpet
/// or somebody else; and those of Limpet's that did not answer. By itself the kernel would look for these again only after
/// some seconds (`interval_probe_time_ms`), which is long for a node whose cable is in again. Asked, it looks for a few
/// seconds, and says so when it gives up, which is when it is asked again.
pub(super) fn to_manage(
    ways: &[Way],
    devices: &HashMap<u32, Device>,
    neighbours: &HashMap<NeighbourKey, Neighbour>,
) -> HashSet<NeighbourKey> {
    let is_kept = |key: &NeighbourKey| {
        neighbours.get(key).is_some_and(|neighbour| match neighbour.keeper {
            Keeper::Nobody => false,
            Keeper::Limpet => neighbour.whereabouts != Whereabouts::Failed,
            Keeper::Other => true,
        })
    };
    ways.iter()
        .filter(|way| devices.contains_key(&way.device))
        .map(Way::neighbour_key)
        .filter(|key| !is_kept(key))
        .collect()
}

/// The device below all VLAN devices, with the tags that they add, outermost first.
fn below(device: &Device, devices: &HashMap<u32, Device>) -> Option<(u32, [u32; MAX_TAGS], u32)> {
    let mut lowest = device;
    let mut tags = [0; MAX_TAGS];
    let mut tag_count = 0;
    while let Some(vlan) = lowest.vlan {
        if tag_count == MAX_TAGS {
            return None;
        }
        // A tag further down is further out.
        tags.rotate_right(1);
        tags[0] = u32::from_ne_bytes(vlan.tag);
        tag_count += 1;
        lowest = devices.get(&vlan.below?)?;
    }
    Some((lowest.index, tags, tag_count as u32))
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
    use super::{super::device::Vlan, *};

    const KNOWN: Whereabouts = Whereabouts::Known([2, 0, 0, 0, 0, 9]);

    fn way(device: u32, mtu: Option<u32>) -> Way {
        Way { device, neighbour: "192.0.2.9".parse().unwrap(), mtu }
    }

    fn devices(mtu: u32) -> HashMap<u32, Device> {
        let address = [2, 0, 0, 0, 0, 1];
        let plain = Device { index: 3, name: "eth0".to_owned(), mtu, address, is_up: true, xdp: None, vlan: None };
        HashMap::from([(3, plain)])
    }

    /// A VLAN device of this index over another, with an MTU and a last octet of the address that are its own.
    fn vlan(index: u32, below: Option<u32>, tag: [u8; 4]) -> (u32, Device) {
        let address = [2, 0, 0, 0, 0, index as u8];
        let vlan = Some(Vlan { below, tag });
        let name = format!("vlan{index}");
        (index, Device { index, name, mtu: 1400 + index, address, is_up: true, xdp: None, vlan })
    }

    fn neighbours(whereabouts: Whereabouts, keeper: Keeper) -> HashMap<NeighbourKey, Neighbour> {
        HashMap::from([(way(3, None).neighbour_key(), Neighbour { whereabouts, keeper })])
    }

    #[test]
    fn hops_follow_from_the_tables() {
        let ethernet = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1];
        let found = |mtu| Ok(Hop { device: 3, route_device: 3, mtu, ethernet, tags: [0; 2], tag_count: 0 });
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
    fn ways_over_vlan_devices_carry_their_tags() {
        let (service, customer) = ([0x88, 0xa8, 0, 100], [0x81, 0, 0, 5]);
        let mut devices = devices(1500);
        devices.extend([
            vlan(11, Some(3), service),
            vlan(12, Some(11), customer),
            vlan(13, Some(12), customer),
            vlan(14, None, customer),
            vlan(15, Some(99), customer),
            vlan(16, Some(16), customer),
        ]);
        let [service, customer] = [service, customer].map(u32::from_ne_bytes);
        let cases = [
            ("no VLAN", 3, Ok((1500, 1, [0, 0], 0))),
            ("one VLAN: its address and MTU", 11, Ok((1411, 11, [service, 0], 1))),
            ("a VLAN in a VLAN: the lower one's tag is outermost", 12, Ok((1412, 12, [service, customer], 2))),
            ("three VLANs", 13, Err(Unresolved::VlanBelow)),
            ("below it another namespace", 14, Err(Unresolved::VlanBelow)),
            ("below it no Ethernet device", 15, Err(Unresolved::VlanBelow)),
            ("below it itself, as no kernel makes it", 16, Err(Unresolved::VlanBelow)),
        ];
        for (description, index, expected) in cases {
            let way = way(index, None);
            let whereabouts = Neighbour { whereabouts: KNOWN, keeper: Keeper::Limpet };
            let neighbours = HashMap::from([(way.neighbour_key(), whereabouts)]);
            let expected = expected.map(|(mtu, source, tags, tag_count)| Hop {
                device: 3,
                route_device: index,
                mtu,
                ethernet: [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, source],
                tags,
                tag_count,
            });
            assert_eq!(hop(&way, &devices, &neighbours, &HashMap::new()), expected, "{description}");
        }
    }

    #[test]
    fn neighbours_that_nobody_keeps_or_that_fell_silent_are_asked_for() {
        let key = way(3, None).neighbour_key();
        let cases = [
            ("not in the table", HashMap::new(), HashSet::from([key])),
            ("used by traffic", neighbours(KNOWN, Keeper::Nobody), HashSet::from([key])),
            ("managed already", neighbours(KNOWN, Keeper::Limpet), HashSet::new()),
            ("being looked for", neighbours(Whereabouts::Pending, Keeper::Limpet), HashSet::new()),
            ("managed, and silent", neighbours(Whereabouts::Failed, Keeper::Limpet), HashSet::from([key])),
            ("another daemon's, and silent", neighbours(Whereabouts::Failed, Keeper::Other), HashSet::new()),
            ("permanent, or another daemon's", neighbours(KNOWN, Keeper::Other), HashSet::new()),
        ];
        for (description, neighbours, expected) in cases {
            let ways = [way(3, None), way(3, Some(1400)), way(4, None)];
            assert_eq!(to_manage(&ways, &devices(1500), &neighbours), expected, "{description}");
        }
    }
}
