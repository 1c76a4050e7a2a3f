//! The world of the tests of outside traffic, with a tunnel; and what is checked of each frame.

use std::net::IpAddr;

use lb_common::{
    Action, Family, Reason, V4, V6,
    host::{FrameSpec, Memory, run_and_check},
    layout::{Frontend, frontend_kind},
    reason::Program,
    wire::{Protocol, tcp_flags},
};

pub(crate) use crate::base::{DEVICE, HERE, NOBODY, PORT, client, handle, pod, vip};

/// The port of all Pods.
pub(crate) const POD_PORT: u16 = 8080;
pub(crate) const TUNNEL_PORT: u16 = 6181;

/// This node, and another one.
pub(crate) fn node(number: u32, is_v6: bool) -> IpAddr {
    client(100 + number, is_v6)
}

/// Adds this node's end of the tunnel, another node, and the Pod that is here.
pub(crate) fn world() -> Memory {
    let mut memory = Memory { is_watched: true, ..crate::base::world() };
    let tunnel = Frontend { kind: frontend_kind::TUNNEL, ..Frontend::default() };
    for is_v6 in [false, true] {
        for protocol in [Protocol::TCP, Protocol::UDP] {
            match pod(HERE, is_v6) {
                IpAddr::V4(pod) => memory.v4.locals.insert(V4::frontend_key(pod.into(), POD_PORT, protocol), HERE),
                IpAddr::V6(pod) => memory.v6.locals.insert(V6::frontend_key(pod.into(), POD_PORT, protocol), HERE + 8),
            };
        }
        match (node(0, is_v6), node(1, is_v6)) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                memory.v4.add_frontend(V4::frontend_key(own.into(), TUNNEL_PORT, Protocol::UDP), tunnel);
                memory.v4.peers.insert(other.into(), 1);
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                memory.v6.add_frontend(V6::frontend_key(own.into(), TUNNEL_PORT, Protocol::UDP), tunnel);
                memory.v6.peers.insert(other.into(), 1);
            }
            (own, other) => panic!("{own} and {other} are of one family"),
        }
    }
    memory
}

/// A SYN or a datagram to the Service port that has a Pod here.
pub(crate) fn request(is_v6: bool, protocol: Protocol) -> FrameSpec {
    let (source, destination) = ((client(9, is_v6), 40_000), (vip(HERE, is_v6), PORT));
    let spec = FrameSpec::udp(source, destination, &[1, 2, 3, 4, 5, 6, 7, 8]);
    if protocol == Protocol::TCP { FrameSpec { protocol, flags: tcp_flags::SYN, ..spec } } else { spec }
}

/// What becomes of a frame, with everything checked that holds for every frame.
pub(crate) fn outcome(what: &str, frame: &[u8]) -> lb_common::host::Outcome {
    run_and_check(&world(), Program::Ingress, frame, DEVICE).unwrap_or_else(|wrong| panic!("{what}: {wrong}"))
}

/// That a frame is left alone or thrown away for one of these reasons, answered to nobody, and leaves nothing behind.
pub(crate) fn is_kept_out(what: &str, frame: &[u8], reasons: &[Reason]) {
    let outcome = outcome(what, frame);
    let reason = outcome.verdict.reason;
    assert!(reasons.contains(&reason), "{what}: {}", reason.name());
    assert!([Action::Pass, Action::Drop].contains(&outcome.verdict.action), "{what}: {:?}", outcome.verdict);
    assert_eq!(outcome.written, [], "{what}");
}

/// That a frame is sent on, for this reason: what the others differ from.
pub(crate) fn is_sent_on(what: &str, frame: &[u8], reason: Reason) {
    assert_eq!(outcome(what, frame).verdict.reason, reason, "{what}");
}
