//! The hashes that choose a slot. Every node must compute the same: a change here moves every client of a cluster
//! that runs two versions at once.
//!
//! A multiply-xorshift mix over 64-bit words with the finaliser of MurmurHash3, because BPF has 64-bit
//! multiplication and little else. It is not keyed: who may pick source ports can pick a backend, which is also true
//! of every balancer whose nodes agree without sharing a secret.

use crate::{family::Address, wire::Protocol};

const FLOW_SEED: u64 = 0x6c69_6d70_6574_0001;
const CLIENT_SEED: u64 = 0x6c69_6d70_6574_0002;
const GHOST_SEED: u64 = 0x6c69_6d70_6574_0003;
/// 2^64 divided by the golden ratio, odd: spreads neighbouring inputs apart (Knuth, TAOCP 3, 6.4).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hash of a connection, for choosing by 5-tuple and for spreading tunnel packets over paths.
#[inline(always)]
pub fn flow<A: Address>(source: A, destination: A, source_port: u16, destination_port: u16, protocol: Protocol) -> u32 {
    let ports = u64::from(source_port) << 24 | u64::from(destination_port) << 8 | u64::from(protocol.0);
    let state = address(mix(FLOW_SEED, ports), source);
    finish(address(state, destination))
}

/// Hash of a client for one Service, for choosing by `sessionAffinity: ClientIP`.
///
/// It has no ports, so that two ports of a Service on the same Pods agree. `expiries` is how often the client's time was over on
/// this node: after that another slot must be possible. Clients that never expired agree on all nodes.
#[inline(always)]
pub fn client<A: Address>(source: A, service_hash: u32, expiries: u32) -> u32 {
    finish(address(mix(CLIENT_SEED, u64::from(expiries) << 32 | u64::from(service_hash)), source))
}

/// Where the ghost of a client is: its set, of so many, and its fingerprint there, which is never 0.
#[inline(always)]
pub fn ghost<A: Address>(client: A, service: [u32; 2], sets: u32) -> (u32, u32) {
    let state = address(mix(GHOST_SEED, u64::from(service[0]) << 32 | u64::from(service[1])), client);
    (slot(finish(state), sets), finish(state ^ MULTIPLIER) | 1)
}

/// The slot of a table with `length` slots that a hash stands for: a multiplication instead of a division, which
/// BPF cannot do without a branch for zero.
#[inline(always)]
pub fn slot(hash: u32, length: u32) -> u32 {
    ((u64::from(hash) * u64::from(length)) >> 32) as u32
}

/// Hash of a Service's namespace and name (FNV-1a, 32 bits), as it goes into [`client`].
pub fn service(namespace: &str, name: &str) -> u32 {
    let bytes = namespace.bytes().chain([b'/']).chain(name.bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Hash of what clients are held for (FNV-1a, 64 bits): the Service port, as `namespace/name:port/PROTOCOL`, or the
/// Service, as `namespace/name`, where its ports share their clients.
pub fn affinity(name: &str) -> [u32; 2] {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    [(hash >> 32) as u32, hash as u32]
}

#[inline(always)]
fn address<A: Address>(state: u64, address: A) -> u64 {
    let high = u64::from(u32::from_be(address.word(0)));
    if A::WORDS == 1 {
        return mix(state, high);
    }
    let state = mix(state, high << 32 | u64::from(u32::from_be(address.word(1))));
    mix(state, u64::from(u32::from_be(address.word(2))) << 32 | u64::from(u32::from_be(address.word(3))))
}

#[inline(always)]
fn mix(state: u64, word: u64) -> u64 {
    let product = (state ^ word).wrapping_mul(MULTIPLIER);
    product ^ (product >> 29)
}

#[inline(always)]
fn finish(state: u64) -> u32 {
    let state = (state ^ (state >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let state = (state ^ (state >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (state ^ (state >> 33)) as u32
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, net::Ipv6Addr, vec, vec::Vec};

    use super::*;
    use crate::family::{Address4, Address6};

    fn v4(last: u32) -> Address4 {
        Ipv4Addr::from(0xc000_0200 + last).into()
    }

    fn v6(last: u128) -> Address6 {
        Ipv6Addr::from(0x2001_0db8_000c_0000_0000_0000_0000_0000 + last).into()
    }

    /// Chi-squared over 64 slots, 63 degrees of freedom: above 120 has a probability below 1e-5.
    fn check_spread(what: &str, hashes: impl Iterator<Item = u32>) {
        let mut slots = vec![0u32; 64];
        let mut total = 0;
        for hash in hashes {
            slots[slot(hash, 64) as usize] += 1;
            total += 1;
        }
        let mean = f64::from(total) / 64.0;
        let chi2: f64 = slots.iter().map(|n| (f64::from(*n) - mean).powi(2) / mean).sum();
        assert!(chi2 < 120.0, "{what}: chi-squared {chi2:.0}");
    }

    #[test]
    fn neighbouring_inputs_spread() {
        check_spread("source ports", (32768..61000).map(|port| flow(v4(1), v4(200), port, 80, Protocol::TCP)));
        check_spread("source addresses", (0..20_000).map(|n| flow(v4(n), v4(70_000), 40_000, 80, Protocol::UDP)));
        check_spread("clients", (0..20_000).map(|n| client(v4(n), service("default", "web"), 0)));
        check_spread("clients, IPv6", (0..20_000).map(|n| client(v6(n), service("default", "web"), 0)));
        check_spread("prefixes, IPv6", (0..20_000u128).map(|n| client(v6(n << 64), service("default", "web"), 0)));
        check_spread("expiries", (0..20_000).map(|n: u32| client(v4(7), service("default", "web"), n)));
        check_spread("Services", (0..20_000).map(|n: u32| client(v4(7), n, 0)));
    }

    #[test]
    fn values_are_pinned() {
        let seen: Vec<u32> = vec![
            flow(v4(1), v4(2), 1024, 80, Protocol::TCP),
            flow(v6(1), v6(2), 1024, 80, Protocol::UDP),
            client(v4(1), service("default", "web"), 0),
            client(v6(1), service("default", "web"), 0),
            service("default", "web"),
        ];
        assert_eq!(seen, PINNED);
    }

    /// A change of these moves every client of a cluster while two versions run side by side.
    const PINNED: [u32; 5] = [1_658_277_996, 2_140_604_835, 3_242_063_130, 1_442_594_890, 1_104_579_003];

    #[test]
    fn slots_are_in_range() {
        for length in [1, 2, 251, 65_537] {
            assert_eq!(slot(0, length), 0);
            assert_eq!(slot(u32::MAX, length), length - 1);
        }
    }
}
