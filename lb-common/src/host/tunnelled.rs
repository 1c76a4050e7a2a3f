//! What holds for every packet that goes into the tunnel.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::{format, string::String};

use super::{
    check::{Case, that},
    dissect::{Dissected, UDP, dissect, header_error, u16_at},
};
use crate::{layout::Way, reason::Action};

/// Checks a packet that was put into the tunnel; gives back where the option sends it.
pub(super) fn check_tunnelled(case: &Case<'_>, asked: &Dissected, action: Action) -> Result<(IpAddr, u16), String> {
    let outer = dissect(case.after).ok_or("what went into the tunnel is no whole packet")?;
    that(outer.protocol == UDP && outer.is_v6() == asked.is_v6(), || format!("outer protocol {}", outer.protocol))?;
    let (overhead, address_length) = if outer.is_v6() { (80, 16) } else { (48, 4) };
    let packet = case.after.get(outer.l3 + overhead..).ok_or("without a packet inside")?;
    that(packet == &case.before[asked.l3..], || "the packet inside is not the one that came".into())?;
    that(outer.total_length() == asked.total_length() + overhead, || "lengths do not add up".into())?;
    that(header_error(case.after, &outer) == 0, || "the outer header's checksum is wrong".into())?;
    let udp_length = u16_at(case.after, outer.l4 + 4).map(usize::from);
    that(udp_length == Some(outer.end - outer.l4), || "the outer UDP length is wrong".into())?;

    let way = way_to(case, outer.source, outer.destination)
        .ok_or_else(|| format!("from {} to {}, which is no way", outer.source, outer.destination))?;
    that(way.is_known(), || "by a way that is not known".into())?;
    that(outer.ports.is_some_and(|(_, port)| port == way.tunnel_port), || format!("to {:?}", outer.ports))?;
    that(outer.total_length() <= way.mtu.into(), || format!("{} bytes", outer.total_length()))?;
    let leaves_by = if way.device == case.device { Action::Transmit } else { Action::Redirect(way.device) };
    that(action == leaves_by, || format!("{action:?} instead of {leaves_by:?}"))?;
    that(outer.l3 == 14 + 4 * way.tag_count as usize, || "with other tags than the way's".into())?;

    let geneve = outer.l4 + 8;
    let ether_type = if outer.is_v6() { [0x86, 0xdd] } else { [0x08, 0x00] };
    let words = (address_length / 4 + 1) as u8;
    let header = [1 + words, 0x40, ether_type[0], ether_type[1], 0, 0, 0, 0, 0xff, 0x4c, 0x81, words];
    that(case.after[geneve..geneve + 12] == header, || "with another Geneve header".into())?;
    let data = &case.after[geneve + 12..geneve + 12 + address_length + 4];
    that(data[address_length + 2..] == [0, 0], || "with something behind the port".into())?;
    let address = match <[u8; 16]>::try_from(&data[..address_length]) {
        Ok(octets) => IpAddr::V6(Ipv6Addr::from(octets)),
        Err(_) => IpAddr::V4(Ipv4Addr::new(data[0], data[1], data[2], data[3])),
    };
    Ok((address, u16_at(data, address_length).unwrap_or_default()))
}

/// The way between two nodes' addresses.
fn way_to(case: &Case<'_>, source: IpAddr, destination: IpAddr) -> Option<Way> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let ends = (source.into(), destination.into());
            case.memory.v4.next_hops.values().find(|hop| (hop.source, hop.destination) == ends).map(|hop| hop.way)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let ends = (source.into(), destination.into());
            case.memory.v6.next_hops.values().find(|hop| (hop.source, hop.destination) == ends).map(|hop| hop.way)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}
