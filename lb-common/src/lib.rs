//! Limpet's datapath, and everything that the kernel side and user space must agree on.
//!
//! What happens to a packet is decided here and nowhere else, by two pure functions over two small traits:
//! [`handle`] for what arrives at an uplink and [`restore`] for what leaves it. `lb-ebpf` implements the traits with
//! the frame and BPF maps, [`host`] with bytes and std collections, so that the same decision is unit-tested,
//! fuzzed and explained on the host and run in the kernel.
//!
//! | to change | look in |
//! | --- | --- |
//! | how a header is read, which packets are ours to look at | [`wire`], [`parse`] |
//! | the hash that picks a slot | [`hash`] |
//! | which backend a packet goes to, and what is remembered of it | [`choose`], [`affinity`], [`reply`] |
//! | why a client was given another backend | [`breaks`], [`ghost`] |
//! | what is answered where no backend is there | [`reject`], [`icmp`] |
//! | the tunnel between nodes | [`tunnel`], [`geneve`] |
//! | why a packet was passed, dropped or forwarded | [`reason`] |
//! | what lies in the maps | [`layout`] |
//!
//! This crate never depends on aya, on a kernel or on Kubernetes.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(not(target_arch = "bpf"))]
extern crate std;

pub mod affinity;
pub mod bench;
pub mod breaks;
pub mod checksum;
pub mod choose;
pub mod egress;
pub mod family;
pub mod geneve;
pub mod ghost;
pub mod hash;
#[cfg(not(target_arch = "bpf"))]
pub mod host;
pub mod icmp;
pub mod ingress;
mod layer2;
pub mod layout;
pub mod packet;
pub mod parse;
pub mod rate;
pub mod reason;
pub mod reject;
pub mod reply;
pub mod rewrite;
pub mod tunnel;
pub mod wire;

pub use breaks::BreakReason;
pub use egress::restore;
pub use family::{Family, V4, V6};
pub use ingress::handle;
pub use packet::{FamilyTables, Packet, Stage, Tables};
pub use reason::{Action, Reason, Verdict};
