//! What lies in the BPF maps: keys and values that the kernel side and user space read alike.
//!
//! Integers are in host order, addresses keep their octets in wire order. There is no padding (zerocopy's derive
//! refuses it), so that equal keys are equal bytes. [`VERSION`] names the layout; it is part of the pins' path, so
//! that no program ever reads maps of another layout.

mod access;
mod backend;
mod client;
mod flow;
mod frontend;
mod keyed;
mod next_hop;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use self::{
    access::{SOURCE_RANGE_SERVICE_BITS, SourceRange4, SourceRange6},
    backend::{Backend, Sibling, SiblingKey, backend_state},
    client::{
        Affinity, AffinityKey4, AffinityKey6, BreakCounts, BreakEvent, BreakRate, GHOSTS_PER_SET, Ghost, affinity_flags,
    },
    flow::{Flow, FlowKey4, FlowKey6, MANY_ANSWERS, Reply4, Reply6},
    frontend::{Frontend, FrontendKey4, FrontendKey6, frontend_flags, frontend_kind},
    keyed::{Key, Keyed, fitting},
    next_hop::{NextHop, NextHop4, NextHop6, Way},
};
pub use crate::rate::Rate;

/// Version of all layouts in this file and of the maps' names; to be raised with every change to either.
#[cfg(not(feature = "other-layout"))]
pub const VERSION: u32 = 4;
/// A version that there is for tests alone: fields in another order, and one more, so that a running datapath can be taken over
/// from a layout that is really another one.
#[cfg(feature = "other-layout")]
pub const VERSION: u32 = 1004;

/// Slots of the lookup tables that one element of the `SLOTS` map holds (a memory page).
pub const SLOTS_PER_CHUNK: u32 = 1024;
/// Whose ranges in `SOURCE_RANGES` are the cluster's own networks, of which nobody is outside: no Service port has this id.
pub const INSIDE: u32 = 0;
/// Index in `NEXT_HOPS`, and node of a backend, for the node itself.
pub const THIS_NODE: u32 = 0;
/// Bits of a slot that hold the backend id; the others are flags.
pub const SLOT_BACKEND_MASK: u32 = 0x00ff_ffff;
/// Highest backend id, limited by [`SLOT_BACKEND_MASK`]; 0 is no backend.
pub const MAX_BACKEND_ID: u32 = SLOT_BACKEND_MASK;
/// Bytes of a name in the `NAMES` map: a namespace (63), a Pod's name (253) and what stands between and after them.
pub const NAME_BYTES: usize = 380;

/// One CPU's element of `SERVICE_COUNTS`, at the index that is the Service port's id: what it took in on this node, as the
/// one that the packets arrived at.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ServiceCounts {
    /// Packets that went on to a Pod.
    pub packets: u64,
    /// Their bytes, from the IP header on.
    pub bytes: u64,
    /// Those of them that began a flow: of an unknown one, or a SYN.
    pub new_flows: u64,
}

impl ServiceCounts {
    /// Counts a packet.
    #[inline(always)]
    pub fn add(&mut self, bytes: usize, begins_flow: bool) {
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes as u64);
        self.new_flows = self.new_flows.wrapping_add(begins_flow.into());
    }

    /// The sum of two CPUs' counts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
            new_flows: self.new_flows.wrapping_add(other.new_flows),
        }
    }
}

/// The one element of `CONFIG`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    /// Largest MSS that an IPv4 SYN-ACK may announce, in bytes; 0: leave it alone.
    pub mss4: u16,
    /// Largest MSS that an IPv6 SYN-ACK may announce, in bytes; 0: leave it alone.
    pub mss6: u16,
    /// UDP port of the tunnel, in host order: for people, the programs have it with every way.
    pub tunnel_port: u16,
    /// Always 0.
    pub pad: u16,
    /// Elements of `GHOSTS`.
    pub ghost_sets: u32,
}

/// What an id in `NAMES` is an id of.
pub mod name_kind {
    /// A Service port: `namespace/name:port/PROTOCOL`.
    pub const SERVICE: u32 = 1;
    /// A backend: its identity, a space, the name of its node.
    pub const BACKEND: u32 = 2;
    /// A node: its name.
    pub const NODE: u32 = 3;
}

/// Key of `NAMES`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NameKey {
    /// One of [`name_kind`].
    pub kind: u32,
    /// The id within its kind.
    pub id: u32,
}

/// Value of `NAMES`: what user space calls the thing; the programs never read it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Name {
    /// Bytes of `text` that count.
    pub length: u32,
    /// UTF-8.
    pub text: [u8; NAME_BYTES],
}

// The layouts as the kernel sees them; a change here, or in the files below, is a change of `VERSION`.
const _: () = assert!(size_of::<Config>() == 12);
const _: () = assert!(size_of::<ServiceCounts>() == 24);
const _: () = assert!(size_of::<Name>() == 384);
