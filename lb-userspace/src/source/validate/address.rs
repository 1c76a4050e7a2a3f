//! Addresses: what is none, and those that nothing can be sent to from outside.

use std::net::IpAddr;

use super::Findings;
use crate::source::problem::{Severity, quoted};

/// What the API server refuses of a field that holds an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Refuses {
    /// What is no address, and addresses that are never a destination.
    Special,
    /// What is no address.
    Text,
    /// Nothing.
    Nothing,
}

/// An address that packets can be sent to; whatever else there is, is reported.
pub(super) fn check(field: &str, text: &str, refuses: Refuses, findings: &mut Findings) -> Option<IpAddr> {
    let mut tell = |refused: bool, message: String| {
        if refused {
            findings.refuse(field, message);
        } else {
            findings.note(Severity::Error, field, message);
        }
    };
    let Ok(address) = text.parse::<IpAddr>() else {
        tell(refuses != Refuses::Nothing, format!("{} is not an IP address; it is ignored", quoted(text)));
        return None;
    };
    let Some((kind, special)) = kind(address) else {
        return Some(address);
    };
    tell(special && refuses == Refuses::Special, format!("{text} is {kind}; it is ignored"));
    None
}

/// What is wrong with an address as a destination, and whether the API server thinks so, too.
fn kind(address: IpAddr) -> Option<(&'static str, bool)> {
    match address {
        _ if address.is_unspecified() => Some(("the unspecified address", true)),
        _ if address.is_loopback() => Some(("a loopback address", true)),
        IpAddr::V4(v4) if v4.is_multicast() => Some(("a multicast address", v4.octets()[..3] == [224, 0, 0])),
        IpAddr::V6(v6) if v6.is_multicast() => Some(("a multicast address", v6.segments()[0] & 0x000f == 2)),
        IpAddr::V4(v4) if v4.is_link_local() => Some(("a link-local address", true)),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(("a link-local address", true)),
        IpAddr::V4(v4) if v4.is_broadcast() => Some(("the broadcast address", false)),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some(("an IPv4 address in IPv6 form", false)),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}
