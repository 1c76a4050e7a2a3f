//! One Service port of each family with a Pod here, one with a Pod elsewhere, and one with none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::{
    Family, V4, V6, Verdict,
    family::{Address, Address4, Address6},
    host::{Frame, Memory},
    layout::{Backend, Frontend, NextHop4, NextHop6, THIS_NODE, Way, backend_state, frontend_kind},
    wire::Protocol,
};

pub(crate) const DEVICE: u32 = 1;
pub(crate) const PORT: u16 = 80;
/// What a backend, its slot and its Service port have as their number, and the last octet of the frontend's address.
pub(crate) const HERE: u32 = 1;
pub(crate) const ELSEWHERE: u32 = 2;
pub(crate) const NOBODY: u32 = 3;
/// The node that the Pod elsewhere is on.
const NODE: u32 = 7;

pub(crate) fn vip(service: u32, is_v6: bool) -> IpAddr {
    address(203, service, is_v6)
}

pub(crate) fn client(number: u32, is_v6: bool) -> IpAddr {
    address(198, number, is_v6)
}

/// The address of the Pod of a Service port.
pub(crate) fn pod(service: u32, is_v6: bool) -> IpAddr {
    address(10, service, is_v6)
}

fn address(first: u8, last: u32, is_v6: bool) -> IpAddr {
    if is_v6 {
        Ipv6Addr::new(0x2001, 0xdb8, first.into(), 0, 0, 0, 0, last as u16).into()
    } else {
        Ipv4Addr::new(first, 0, 113, last as u8).into()
    }
}

pub(crate) fn world() -> Memory {
    let mut memory = Memory { slots: vec![0, HERE, ELSEWHERE, 0], now_seconds: 100, ..Memory::default() };
    memory.backends = vec![Backend::default(); 16];
    for is_v6 in [false, true] {
        for service in [HERE, ELSEWHERE] {
            let id = service + if is_v6 { 8 } else { 0 };
            memory.backends[id as usize] = Backend {
                address: words(pod(service, is_v6)),
                port: 8080,
                protocol: 0,
                state: backend_state::ACTIVE,
                node: if service == HERE { THIS_NODE } else { NODE },
                generation: 1,
                service,
            };
        }
        for service in [HERE, ELSEWHERE, NOBODY] {
            change(&mut memory, service, is_v6, |_| {});
        }
    }
    memory.slots.extend([0; 4]);
    memory.slots.extend([0, HERE + 8, ELSEWHERE + 8]);
    let way = Way { device: DEVICE, mtu: 1500, tunnel_port: 6181, ..Way::default() };
    memory.v4.next_hops.insert(NODE, NextHop4 { source: Address4(1), destination: Address4(2), way });
    memory.v6.next_hops.insert(NODE, NextHop6 { source: Address6([1; 4]), destination: Address6([2; 4]), way });
    memory
}

/// Writes a Service port's frontend, changed.
pub(crate) fn change(memory: &mut Memory, service: u32, is_v6: bool, change: impl Fn(&mut Frontend)) {
    let mut frontend = Frontend {
        kind: frontend_kind::LOAD_BALANCER_IP,
        service,
        service_hash: 5,
        table_offset: service + if is_v6 { 8 } else { 0 },
        table_length: u32::from(service != NOBODY),
        ..Frontend::default()
    };
    change(&mut frontend);
    for protocol in [Protocol::TCP, Protocol::UDP] {
        match vip(service, is_v6) {
            IpAddr::V4(vip) => {
                memory.v4.add_frontend(V4::frontend_key(vip.into(), PORT, protocol), frontend);
            }
            IpAddr::V6(vip) => {
                memory.v6.add_frontend(V6::frontend_key(vip.into(), PORT, protocol), frontend);
            }
        }
    }
}

pub(crate) fn handle(memory: &Memory, bytes: &[u8]) -> (Verdict, Vec<u8>) {
    let mut frame = Frame::new(bytes, DEVICE);
    let verdict = lb_common::handle(&mut frame, memory);
    (verdict, frame.bytes().to_vec())
}

fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => Address4::from(address).to_words(),
        IpAddr::V6(address) => Address6::from(address).to_words(),
    }
}
