//! The kernel's neighbours: what they say, and how Limpet asks for them to be kept resolved.
//!
//! A neighbour that no packet of the kernel's own uses would go stale, be forgotten, and be wrong once it moves.
//! The flag NTF_EXT_MANAGED (kernel 5.16; tcx asks for a newer one anyway) makes the kernel look for it now and
//! again every few seconds; NTF_EXT_LEARNED keeps garbage collection away from it. The routing protocol number on
//! it tells whose it is, so that any later process can give back what is Limpet's and nothing else.

use std::{collections::HashMap, net::IpAddr};

use rtnetlink::packet_route::{
    AddressFamily,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
    route::RouteProtocol,
};

/// Marks what is Limpet's: an L, a number that no routing daemon has (see the kernel's rtnetlink.h).
pub(super) const LIMPET: RouteProtocol = RouteProtocol::Other(b'L');

/// What names a neighbour.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct NeighbourKey {
    /// Index of the device.
    pub(super) device: u32,
    /// Its address.
    pub(super) address: IpAddr,
}

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Neighbour {
    /// Where it is.
    pub(super) whereabouts: Whereabouts,
    /// Who keeps it.
    pub(super) keeper: Keeper,
}

/// Where a neighbour is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Whereabouts {
    /// At this layer-2 address.
    Known([u8; 6]),
    /// Being looked for.
    Pending,
    /// Has not answered.
    Failed,
}

/// Who sees to it that a neighbour is resolved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keeper {
    /// Only the traffic.
    Nobody,
    /// The kernel, because Limpet asked.
    Limpet,
    /// An administrator, or another daemon.
    Other,
}

/// Reads the kernel's description; none for what is no IP neighbour (a bridge's forwarding entry).
pub(super) fn parse(message: &NeighbourMessage) -> Option<(NeighbourKey, Neighbour)> {
    let mut address = None;
    let mut layer2 = None;
    let mut is_managed = false;
    let mut protocol = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::from(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::from(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => layer2 = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            NeighbourAttribute::ExtFlags(flags) => is_managed = flags.contains(NeighbourExtFlags::Managed),
            NeighbourAttribute::Protocol(value) => protocol = Some(*value),
            _ => {}
        }
    }
    let whereabouts = match (message.header.state, layer2) {
        (NeighbourState::Failed, _) => Whereabouts::Failed,
        (NeighbourState::None | NeighbourState::Incomplete, _) | (_, None) => Whereabouts::Pending,
        (_, Some(layer2)) => Whereabouts::Known(layer2),
    };
    let is_fixed = matches!(message.header.state, NeighbourState::Permanent | NeighbourState::Noarp);
    let is_learned = message.header.flags.contains(NeighbourFlags::ExtLearned);
    let keeper = match (is_fixed, is_managed) {
        (false, true) if protocol == Some(LIMPET) => Keeper::Limpet,
        (false, false) if !is_learned => Keeper::Nobody,
        (true, _) | (false, _) => Keeper::Other,
    };
    let key = NeighbourKey { device: message.header.ifindex, address: address? };
    Some((key, Neighbour { whereabouts, keeper }))
}

/// Those that Limpet manages.
pub(super) fn kept_by_limpet(neighbours: &HashMap<NeighbourKey, Neighbour>) -> impl Iterator<Item = NeighbourKey> {
    neighbours.iter().filter(|(_, neighbour)| neighbour.keeper == Keeper::Limpet).map(|(key, _)| *key)
}

/// What makes the kernel look for a neighbour and keep it resolved. Only for those that nobody keeps: the kernel
/// would take the permanence from a permanent one.
pub(super) fn managed(key: NeighbourKey) -> NeighbourMessage {
    let mut message = message(key, NeighbourFlags::ExtLearned, LIMPET);
    message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
    message
}

/// What gives a neighbour back: the flags go, state and address stay (which is what NTF_USE means here).
pub(super) fn released(key: NeighbourKey) -> NeighbourMessage {
    message(key, NeighbourFlags::Use, RouteProtocol::Kernel)
}

fn message(key: NeighbourKey, flags: NeighbourFlags, protocol: RouteProtocol) -> NeighbourMessage {
    let (family, address) = match key.address {
        IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
    };
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    message.header.ifindex = key.device;
    message.header.state = NeighbourState::None;
    message.header.flags = flags;
    message.attributes = vec![NeighbourAttribute::Destination(address), NeighbourAttribute::Protocol(protocol)];
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER2: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn key() -> NeighbourKey {
        NeighbourKey { device: 3, address: "192.0.2.9".parse().unwrap() }
    }

    fn with(
        mut message: NeighbourMessage,
        state: NeighbourState,
        attributes: &[NeighbourAttribute],
    ) -> NeighbourMessage {
        message.header.state = state;
        message.attributes.extend_from_slice(attributes);
        message
    }

    #[test]
    fn neighbours_are_read() {
        let plain = || message(key(), NeighbourFlags::empty(), RouteProtocol::Unspec);
        let learned = || message(key(), NeighbourFlags::ExtLearned, RouteProtocol::Zebra);
        let at = [NeighbourAttribute::LinkLayerAddress(LAYER2.to_vec())];
        let managed_by_other = [at[0].clone(), NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed)];
        let known = Whereabouts::Known(LAYER2);
        let cases = [
            ("used by traffic", with(plain(), NeighbourState::Reachable, &at), known, Keeper::Nobody),
            ("not used for a while", with(plain(), NeighbourState::Stale, &at), known, Keeper::Nobody),
            ("given back", with(released(key()), NeighbourState::Delay, &at), known, Keeper::Nobody),
            ("managed, new", managed(key()), Whereabouts::Pending, Keeper::Limpet),
            (
                "managed, asked for",
                with(managed(key()), NeighbourState::Incomplete, &[]),
                Whereabouts::Pending,
                Keeper::Limpet,
            ),
            ("managed, found", with(managed(key()), NeighbourState::Probe, &at), known, Keeper::Limpet),
            ("managed, silent", with(managed(key()), NeighbourState::Failed, &[]), Whereabouts::Failed, Keeper::Limpet),
            ("permanent", with(plain(), NeighbourState::Permanent, &at), known, Keeper::Other),
            ("made permanent after all", with(managed(key()), NeighbourState::Permanent, &at), known, Keeper::Other),
            ("a routing daemon's", with(learned(), NeighbourState::Reachable, &at), known, Keeper::Other),
            (
                "managed for somebody else",
                with(plain(), NeighbourState::Reachable, &managed_by_other),
                known,
                Keeper::Other,
            ),
        ];
        for (description, message, whereabouts, keeper) in cases {
            assert_eq!(parse(&message), Some((key(), Neighbour { whereabouts, keeper })), "{description}");
        }
    }

    #[test]
    fn forwarding_entries_of_bridges_are_no_neighbours() {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.attributes = vec![NeighbourAttribute::LinkLayerAddress(LAYER2.to_vec())];
        assert_eq!(parse(&message), None);
    }
}
