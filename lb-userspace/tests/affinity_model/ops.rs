//! The steps that a history may take.

use proptest::prelude::*;

use crate::cluster::PORTS;

/// Pods that there may be.
const PODS: u8 = 6;
/// Clients that there may be.
pub(crate) const CLIENTS: u16 = 8;

/// A step.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A packet of a client to a port of the Service, from one of a few source ports.
    Packet { kind: u8, client: u16, port: usize, vip: u8, source_port: u16 },
    /// The first two packets of a connection.
    Connect { client: u16, port: usize, vip: u8, source_port: u16 },
    /// Seconds pass.
    Pass(u32),
    /// A Pod comes, or comes back.
    Add { pod: u8, slowly: bool },
    /// A Pod goes.
    Remove { pod: u8, slowly: bool },
    /// A Pod is another one under the same name.
    Replace { pod: u8, slowly: bool },
    /// A Pod's state changes.
    State { pod: u8, state: u8, slowly: bool },
    /// A Pod gets or loses the optional port.
    Port { pod: u8, slowly: bool },
    /// Something about the Service changes.
    Set(u8),
    /// An LRU map forgets something.
    Evict { map: u8, nth: u16 },
    /// Lone packets of so many addresses.
    Flood { count: u16, port: usize },
    /// `limpet forget` for one client.
    Forget(u16),
    /// All that packets wrote is lost, or the history goes on at another node.
    Lose,
}

/// Any step: most are packets.
pub(crate) fn ops() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    let port = 0..PORTS.len();
    let pod = 0..PODS;
    prop_oneof![
        20 => (0..3_u8, client.clone(), port.clone(), 0..2_u8, 0..3_u16)
            .prop_map(|(kind, client, port, vip, source_port)| Op::Packet { kind, client, port, vip, source_port }),
        30 => (client.clone(), port.clone(), 0..2_u8, 0..3_u16)
            .prop_map(|(client, port, vip, source_port)| Op::Connect { client, port, vip, source_port }),
        6 => prop::sample::select(vec![1, 2, 3, 10, 20, 49, 50, 51, 61, 99, 100, 101, 300]).prop_map(Op::Pass),
        2 => (pod.clone(), any::<bool>()).prop_map(|(pod, slowly)| Op::Add { pod, slowly }),
        2 => (pod.clone(), any::<bool>()).prop_map(|(pod, slowly)| Op::Remove { pod, slowly }),
        1 => (pod.clone(), any::<bool>()).prop_map(|(pod, slowly)| Op::Replace { pod, slowly }),
        4 => (pod.clone(), 0..4_u8, any::<bool>()).prop_map(|(pod, state, slowly)| Op::State { pod, state, slowly }),
        1 => (pod, any::<bool>()).prop_map(|(pod, slowly)| Op::Port { pod, slowly }),
        2 => (0..7_u8).prop_map(Op::Set),
        6 => (prop::sample::select(vec![0, 1, 2, 3, 3, 3, 3, 4]), any::<u16>()).prop_map(|(map, nth)| Op::Evict { map, nth }),
        1 => (1..20_u16, port).prop_map(|(count, port)| Op::Flood { count, port }),
        1 => client.prop_map(Op::Forget),
        1 => Just(Op::Lose),
    ]
}
