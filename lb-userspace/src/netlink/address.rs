//! An address of a network device, as the kernel describes it.

use std::net::IpAddr;

use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

/// The address, if others can reach the node under it.
pub(super) fn reachable(message: &AddressMessage) -> Option<IpAddr> {
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            // Between two points, the other attribute is the other end.
            AddressAttribute::Local(local) => return Some(*local).filter(is_reachable),
            AddressAttribute::Address(other) => address = Some(*other),
            _ => {}
        }
    }
    address.filter(is_reachable)
}

fn is_reachable(address: &IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(is_link_local || address.is_loopback() || address.is_unspecified() || address.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_others_reach_count() {
        let local = |text: &str| AddressAttribute::Local(text.parse().unwrap());
        let address = |text: &str| AddressAttribute::Address(text.parse().unwrap());
        let cases = [
            ("IPv4", vec![address("192.0.2.1"), local("192.0.2.1")], Some("192.0.2.1")),
            ("IPv6", vec![address("2001:db8::1")], Some("2001:db8::1")),
            ("the other end comes first", vec![address("192.0.2.2"), local("192.0.2.1")], Some("192.0.2.1")),
            ("loopback", vec![address("127.0.0.1"), local("127.0.0.1")], None),
            ("IPv6 loopback", vec![address("::1")], None),
            ("link-local", vec![address("fe80::1")], None),
            ("IPv4 link-local", vec![local("169.254.0.1")], None),
            ("none", vec![AddressAttribute::Label("eth0".to_owned())], None),
        ];
        for (description, attributes, expected) in cases {
            let mut message = AddressMessage::default();
            message.attributes = attributes;
            assert_eq!(reachable(&message), expected.map(|text| text.parse().unwrap()), "{description}");
        }
    }
}
