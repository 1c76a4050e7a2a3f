//! What the tunnel runs by: this node's ends of it, the ways to other nodes, and how large a segment fits through.

use lb_common::{
    Family, V4, V6,
    family::{Address4, Address6},
    layout::{Config, Frontend, NextHop4, NextHop6, Way, frontend_kind},
    wire,
};

use super::{
    Error, FamilyMaps, Maps, Pod,
    write::{insert_keyed, remove},
};
use crate::{
    fail_point,
    model::NodeAddresses,
    netlink::{Ends, Hop, Target},
};

/// What this node's ends of the tunnel are found as, of no key yet.
pub const TUNNEL_END: Frontend = Frontend {
    check: 0,
    kind: frontend_kind::TUNNEL,
    flags: 0,
    client_prefix: 0,
    pad: 0,
    service: 0,
    service_hash: 0,
    table_offset: 0,
    table_length: 0,
    affinity_timeout_seconds: 0,
    affinity: [0; 2],
};

/// Sets what both programs must know of the node: the tunnel's port, and how large a segment fits through the tunnel.
///
/// A lower limit on segments that an earlier agent found out stays, until [`fit_mss`] knows better.
///
/// # Errors
/// When the kernel refuses.
pub fn configure(maps: &mut Maps, uplink_mtu: u32, tunnel_port: u16) -> Result<(), Error> {
    fail_point::pass("configure");
    let before = config(maps)?;
    let lower = |found: u16, before: u16| if before == 0 { found } else { found.min(before) };
    let mss4 = lower(largest_mss::<V4>(uplink_mtu), before.mss4);
    let mss6 = lower(largest_mss::<V6>(uplink_mtu), before.mss6);
    set_config(maps, before, Config { mss4, mss6, tunnel_port, pad: 0, ghost_sets: maps.ghosts.len() })
}

/// Sets how large a segment fits through the tunnel, where its ways carry so much in one packet, in bytes of layer 3.
///
/// # Errors
/// When the kernel refuses.
pub fn fit_mss(maps: &mut Maps, mtu4: u32, mtu6: u32) -> Result<(), Error> {
    let before = config(maps)?;
    set_config(maps, before, fitting_mss(before, mtu4, mtu6))
}

/// The same settings with segments that fit through the tunnel.
pub fn fitting_mss(before: Config, mtu4: u32, mtu6: u32) -> Config {
    Config { mss4: largest_mss::<V4>(mtu4), mss6: largest_mss::<V6>(mtu6), ..before }
}

fn largest_mss<F: Family>(mtu: u32) -> u16 {
    let headers = u32::try_from(F::TUNNEL_OVERHEAD + F::IP_HEADER + wire::TCP_HEADER).unwrap_or(u32::MAX);
    u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX)
}

fn config(maps: &Maps) -> Result<Config, Error> {
    Ok(maps.config.get(&0, 0).map_err(|source| Error::map("CONFIG", source))?.0)
}

fn set_config(maps: &mut Maps, before: Config, now: Config) -> Result<(), Error> {
    if now == before {
        return Ok(());
    }
    maps.config.set(0, Pod(now), 0).map_err(|source| Error::map("CONFIG", source))
}

/// Moves this node's ends of the tunnel to another port, when an earlier agent was given another one.
///
/// # Errors
/// When the kernel refuses.
pub fn move_tunnel(maps: &mut Maps, own: NodeAddresses, tunnel_port: u16) -> Result<(), Error> {
    move_tunnel_of::<V4>(&mut maps.v4, own.v4.map(Address4::from), tunnel_port)?;
    move_tunnel_of::<V6>(&mut maps.v6, own.v6.map(Address6::from), tunnel_port)
}

fn move_tunnel_of<F: Family>(maps: &mut FamilyMaps<F>, own: Option<F::Address>, tunnel_port: u16) -> Result<(), Error> {
    let wanted = own.map(|address| F::frontend_key(address, tunnel_port, wire::Protocol::UDP));
    let mut stale = Vec::new();
    for entry in maps.frontends.iter() {
        let (key, frontend) = entry.map_err(|source| Error::map("FRONTENDS", source))?;
        if frontend.0.kind == frontend_kind::TUNNEL && wanted != Some(key.0) {
            stale.push(key);
        }
    }
    if let Some(key) = wanted {
        insert_keyed("FRONTENDS", &mut maps.frontends, Pod(key), TUNNEL_END)?;
    }
    stale.iter().try_for_each(|key| remove("FRONTENDS", &mut maps.frontends, key))
}

/// Sets how a node is reached; `None` while that is not known: packets for it are then dropped and counted.
///
/// # Errors
/// When the kernel refuses, or the node's id is past the map's end.
pub fn set_next_hop(maps: &mut Maps, target: &Target, hop: Option<&Hop>, tunnel_port: u16) -> Result<(), Error> {
    set_way(maps, target, hop.map_or_else(Way::default, |hop| way(hop, tunnel_port)))
}

/// How a way is written.
pub fn way(hop: &Hop, tunnel_port: u16) -> Way {
    Way {
        device: hop.device,
        mtu: hop.mtu,
        tunnel_port,
        ethernet: zerocopy::transmute!(hop.ethernet),
        tags: hop.tags,
        tag_count: hop.tag_count,
    }
}

/// Leaves a way as an earlier agent found it, but for the tunnel's port; returns what it carries in one packet.
/// `None`, and nothing done, when there is none between these ends.
///
/// # Errors
/// When the kernel refuses, or the node's id is past the map's end.
pub fn keep_next_hop(maps: &mut Maps, target: &Target, tunnel_port: u16) -> Result<Option<u16>, Error> {
    let (has_these_ends, way) = match target.ends {
        Ends::V4 { source, address } => {
            let found = hop(&maps.v4, target.node)?;
            ((found.source, found.destination) == (source.into(), address.into()), found.way)
        }
        Ends::V6 { source, address } => {
            let found = hop(&maps.v6, target.node)?;
            ((found.source, found.destination) == (source.into(), address.into()), found.way)
        }
    };
    if !has_these_ends || !way.is_known() {
        return Ok(None);
    }
    if way.tunnel_port != tunnel_port {
        set_way(maps, target, Way { tunnel_port, ..way })?;
    }
    Ok(Some(way.mtu))
}

fn set_way(maps: &mut Maps, target: &Target, way: Way) -> Result<(), Error> {
    match target.ends {
        Ends::V4 { source, address } => {
            let next_hop = NextHop4 { source: source.into(), destination: address.into(), way };
            set_hop(&mut maps.v4, target.node, next_hop)
        }
        Ends::V6 { source, address } => {
            let next_hop = NextHop6 { source: source.into(), destination: address.into(), way };
            set_hop(&mut maps.v6, target.node, next_hop)
        }
    }
}

fn hop<F: Family>(maps: &FamilyMaps<F>, node: u32) -> Result<F::NextHop, Error> {
    Ok(maps.next_hops.get(&node, 0).map_err(|source| Error::map("NEXT_HOPS", source))?.0)
}

pub(super) fn set_hop<F: Family>(maps: &mut FamilyMaps<F>, node: u32, hop: F::NextHop) -> Result<(), Error> {
    maps.next_hops.set(node, Pod(hop), 0).map_err(|source| Error::map("NEXT_HOPS", source))
}
