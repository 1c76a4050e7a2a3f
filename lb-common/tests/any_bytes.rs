//! Whatever arrives: no panic, and nothing that is not ours is touched.

use std::net::Ipv4Addr;

use lb_common::{
    Action, Family, V4,
    host::{Frame, Memory, checksums_are_valid},
    icmp::Icmp,
    layout::{Frontend, frontend_kind},
    reason::Class,
    wire::Protocol,
};
use proptest::prelude::*;

const DEVICE: u32 = 1;
const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const PORT: u16 = 80;

/// One Service without backends, and one end of the tunnel.
fn memory() -> Memory {
    let mut memory = Memory::default();
    for (port, kind) in [(PORT, frontend_kind::LOAD_BALANCER_IP), (PORT + 1, frontend_kind::TUNNEL)] {
        for protocol in [Protocol::TCP, Protocol::UDP] {
            let frontend = Frontend { kind, ..Frontend::default() };
            memory.v4.add_frontend(V4::frontend_key(ADDRESS.into(), port, protocol), frontend);
        }
    }
    memory
}

/// Any bytes; half of them made to look like a packet to the Service or into the tunnel, so that more of them get far.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let content = prop::collection::vec(any::<u8>(), 0..256);
    (content, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(mut bytes, dressed, is_udp, is_tunnel)| {
        if dressed && bytes.len() > 38 {
            bytes[12..14].copy_from_slice(&[0x08, 0x00]);
            bytes[14] = 0x45;
            bytes[20..22].copy_from_slice(&[0, 0]);
            bytes[23] = if is_udp { 17 } else { 6 };
            bytes[30..34].copy_from_slice(&ADDRESS.octets());
            bytes[36..38].copy_from_slice(&(PORT + u16::from(is_tunnel)).to_be_bytes());
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_bytes_are_survived_and_what_is_not_ours_is_left_alone(bytes in bytes()) {
        let memory = memory();
        let mut arriving = Frame::new(&bytes, DEVICE);
        let mut leaving = Frame::new(&bytes, DEVICE);
        let ingress = lb_common::handle(&mut arriving, &memory);
        let egress = lb_common::restore(&mut leaving, &memory);
        for (verdict, frame) in [(ingress, &arriving), (egress, &leaving)] {
            match verdict.reason.class() {
                Class::Pass => {
                    prop_assert_eq!(verdict.action, Action::Pass);
                    prop_assert_eq!(frame.bytes(), &bytes[..]);
                }
                Class::Drop => prop_assert_eq!(verdict.action, Action::Drop),
                Class::Answer => {
                    prop_assert_eq!(verdict.action, Action::Transmit);
                    prop_assert_eq!(frame.bytes()[23], Icmp::PROTOCOL_V4);
                    prop_assert!(checksums_are_valid(frame.bytes()));
                }
                Class::Forward => prop_assert!(false, "nothing can be forwarded to: {}", verdict.reason.name()),
            }
        }
    }
}
