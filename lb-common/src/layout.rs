//! What lies in the BPF maps: keys and values that the kernel side and user space read alike.
//!
//! Integers are in host order, addresses keep their octets in wire order. There is no padding (zerocopy's derive
//! refuses it), so that equal keys are equal bytes. [`VERSION`] names the layout; it is part of the pins' path, so
//! that no program ever reads maps of another layout.

mod access;
mod keyed;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use self::{
    access::{SOURCE_RANGE_SERVICE_BITS, SourceRange4, SourceRange6},
    keyed::{Key, Keyed, fitting},
};
pub use crate::rate::Rate;
use crate::{
    breaks::BreakReason,
    family::{Address, Address4, Address6},
};

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

/// Key of `FRONTENDS4` and `LOCALS4`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrontendKey4 {
    /// Address that is connected to.
    pub address: Address4,
    /// Port, in host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Always 0.
    pub pad: u8,
}

/// Key of `FRONTENDS6` and `LOCALS6`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrontendKey6 {
    /// Address that is connected to.
    pub address: Address6,
    /// Port, in host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Always 0.
    pub pad: u8,
}

/// Kinds of frontends, as [`Frontend::kind`].
pub mod frontend_kind {
    /// `status.loadBalancer.ingress[].ip`.
    pub const LOAD_BALANCER_IP: u8 = 1;
    /// `spec.externalIPs[]`.
    pub const EXTERNAL_IP: u8 = 2;
    /// `spec.ports[].nodePort` on one of the node's addresses.
    pub const NODE_PORT: u8 = 3;
    /// `spec.clusterIPs[]`.
    pub const CLUSTER_IP: u8 = 4;
    /// This node's end of the tunnel: not a Service's, but found by the same look-up.
    pub const TUNNEL: u8 = 255;
}

/// Flags of a frontend, as [`Frontend::flags`].
pub mod frontend_flags {
    /// Choose by client and Service (`sessionAffinity: ClientIP`), not by 5-tuple, and hold the client there.
    pub const CLIENT_AFFINITY: u8 = 1;
    /// A client whose time is over is sent to the same slot again (`limpet.dev/affinity-expiry: stable`).
    pub const STABLE_EXPIRY: u8 = 2;
    /// All ports of the Service share [`Frontend::affinity`] (`limpet.dev/affinity-key: service`). For user space: the
    /// programs see it by the backend's Service port.
    pub const SERVICE_KEY: u8 = 4;
    /// Only sources in the Service port's `SOURCE_RANGES` begin anything (`spec.loadBalancerSourceRanges`).
    pub const SOURCE_RANGES: u8 = 8;
    /// Without a usable backend packets are dropped in silence, not answered: others have one
    /// (`externalTrafficPolicy: Local`, and none on this node).
    pub const DROP_IF_EMPTY: u8 = 16;
}

/// Value of `FRONTENDS4` and `FRONTENDS6`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Frontend {
    /// Of the key and of all that follows, as [`Keyed::of`] makes it.
    pub check: u64,
    /// One of [`frontend_kind`].
    pub kind: u8,
    /// Of [`frontend_flags`].
    pub flags: u8,
    /// Bits of a client's address that say who it is; the whole address unless `limpet.dev/client-prefix` says less.
    pub client_prefix: u8,
    /// Always 0.
    pub pad: u8,
    /// Id of the Service port; its name is in `NAMES`.
    pub service: u32,
    /// Hash of the Service's namespace and name: the same on every node, unlike the id.
    pub service_hash: u32,
    /// First slot of the lookup table.
    pub table_offset: u32,
    /// Slots of the lookup table; 0: no usable backend.
    pub table_length: u32,
    /// `sessionAffinityConfig.clientIP.timeoutSeconds`; 0 without affinity.
    pub affinity_timeout_seconds: u32,
    /// What clients are held for, as [`AffinityKey4::service`].
    pub affinity: [u32; 2],
}

/// States of a backend, as [`Backend::state`]. All but [`GONE`](backend_state::GONE) keep the flows that they have, and
/// only [`ACTIVE`](backend_state::ACTIVE) gets new ones.
pub mod backend_state {
    /// No such backend (any more): flows to it choose again.
    pub const GONE: u8 = 0;
    /// In the lookup table.
    pub const ACTIVE: u8 = 1;
    /// Its Pod is terminating, while others can serve.
    pub const DRAINING: u8 = 2;
    /// Its Pod is not ready.
    pub const NOT_READY: u8 = 3;
    /// Its Pod is ready, but the Service's rules keep it out: `externalTrafficPolicy: Local` on another node, or a second
    /// address of a Pod that has its share already.
    pub const EXCLUDED: u8 = 4;
}

/// Value of `BACKENDS`, at the index that is the backend's id. A backend is one of one Service port: a Pod that two of
/// them have is two backends, each in the state that it is in for that one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Backend {
    /// The Pod's address, as an IPv6 address; one of IPv4 is mapped (RFC 4291, section 2.5.5.2).
    pub address: [u32; 4],
    /// The Pod's port, in host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// One of [`backend_state`].
    pub state: u8,
    /// Node that the Pod is on, as an index into `NEXT_HOPS`.
    pub node: u32,
    /// How often this id has been given away; what remembers the id remembers this too. 0: never.
    pub generation: u32,
    /// Id of the Service port that it belongs to.
    pub service: u32,
}

/// Key of `FLOWS4` and `REPLIES4`: a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowKey4 {
    /// The client.
    pub source: Address4,
    /// The frontend (`FLOWS4`) or the Pod (`REPLIES4`).
    pub destination: Address4,
    /// The client's port, in host order.
    pub source_port: u16,
    /// The frontend's or the Pod's port, in host order.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u32,
}

/// Key of `FLOWS6` and `REPLIES6`: a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowKey6 {
    /// The client.
    pub source: Address6,
    /// The frontend (`FLOWS6`) or the Pod (`REPLIES6`).
    pub destination: Address6,
    /// The client's port, in host order.
    pub source_port: u16,
    /// The frontend's or the Pod's port, in host order.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u32,
}

/// Value of `FLOWS4`, `FLOWS6` and their `NEW_` counterparts: where a flow goes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Flow {
    /// Of the key, as [`Keyed::of`] makes it.
    pub check: u64,
    /// Id of the Service port that it came in by.
    #[cfg(feature = "other-layout")]
    pub service: u32,
    /// When the flow was bound, in seconds of the monotonic clock, which does not count suspend (CLOCK_MONOTONIC).
    #[cfg(feature = "other-layout")]
    pub since_seconds: u32,
    /// The backend's id.
    pub backend: u32,
    /// The backend's generation when the flow was bound to it.
    pub generation: u32,
    /// When the flow was bound, in seconds of the monotonic clock, which does not count suspend (CLOCK_MONOTONIC).
    #[cfg(not(feature = "other-layout"))]
    pub since_seconds: u32,
    /// Id of the Service port that it came in by.
    #[cfg(not(feature = "other-layout"))]
    pub service: u32,
    /// One more field than others have.
    #[cfg(feature = "other-layout")]
    pub spare: u64,
}

/// Key of `AFFINITY4` and `NEW_AFFINITY4`: a client of a Service port.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AffinityKey4 {
    /// The client's address, of which only [`Frontend::client_prefix`] bits are not 0.
    pub client: Address4,
    /// A hash of the name of the Service port, or of the Service where its ports share their clients
    /// ([`hash::affinity`](crate::hash::affinity)). Not an id: those are given to others one day.
    pub service: [u32; 2],
}

/// Key of `AFFINITY6` and `NEW_AFFINITY6`: a client of a Service port.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AffinityKey6 {
    /// The client's address, of which only [`Frontend::client_prefix`] bits are not 0.
    pub client: Address6,
    /// As in [`AffinityKey4`].
    pub service: [u32; 2],
}

/// Flags of a held client, as [`Affinity::flags`].
pub mod affinity_flags {
    /// Somebody wants the client to choose by the table again (`limpet forget`).
    pub const FORGOTTEN: u32 = 1;
}

/// Value of `AFFINITY4`, `AFFINITY6` and their `NEW_` counterparts: where a client is held.
///
/// Backend and generation are compared and swapped as one, so that of several packets that find the client without its
/// backend one alone gives it another.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Affinity {
    /// Of the key, as [`Keyed::of`] makes it.
    pub check: u64,
    /// The backend's id.
    pub backend: u32,
    /// The backend's generation when the client was given to it.
    pub generation: u32,
    /// When the client was given to this backend, in seconds of the monotonic clock.
    #[cfg(not(feature = "other-layout"))]
    pub since_seconds: u32,
    /// When the client last began a connection, in seconds of the monotonic clock.
    pub last_used_seconds: u32,
    /// When the client was given to this backend, in seconds of the monotonic clock.
    #[cfg(feature = "other-layout")]
    pub since_seconds: u32,
    /// How often the client's time was over; goes into the hash.
    pub expiries: u32,
    /// Of [`affinity_flags`].
    pub flags: u32,
}

/// Ghosts in one element of `GHOSTS`: a cache line.
pub const GHOSTS_PER_SET: u32 = 4;

/// Part of an element of `GHOSTS`: the shadow of a client in `AFFINITY4` or `AFFINITY6`, which outlives it when the full
/// map forgets it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ghost {
    /// Whose: half of a hash of the key, of which the other half names the set. 0: nobody's.
    pub fingerprint: u32,
    /// As in [`Affinity`].
    pub backend: u32,
    /// As in [`Affinity`].
    pub generation: u32,
    /// As in [`Affinity`].
    pub last_used_seconds: u32,
}

/// Key of `SIBLINGS`: a backend of one port of a Service, asked for by another port.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SiblingKey {
    /// Id of the Service port that asks.
    pub service: u32,
    /// Id of another Service port's backend.
    pub backend: u32,
}

/// Value of `SIBLINGS`: that Service port's own backend on the same Pod.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sibling {
    /// Of the key, as [`Keyed::of`] makes it.
    pub check: u64,
    /// The backend's id.
    pub backend: u32,
    /// Always 0.
    pub pad: u32,
}

impl Sibling {
    /// The value of a key.
    pub fn new(key: &SiblingKey, backend: u32) -> Self {
        Self { check: 0, backend, pad: 0 }.of(key)
    }
}

/// One element of `BREAKS`, at the index that is the Service port's id: how often a client was given another backend, by
/// [`BreakReason`](crate::breaks::BreakReason).
pub type BreakCounts = [u64; BreakReason::COUNT];

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

/// What `BREAK_EVENTS` carries: a client was given another backend than the one that it had.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BreakEvent {
    /// The client, as [`AffinityKey4::client`], in the form of [`Backend::address`].
    pub client: [u32; 4],
    /// Id of the Service port that it connected to.
    pub service: u32,
    /// Number of the [`BreakReason`](crate::breaks::BreakReason).
    pub reason: u32,
    /// Id of the backend that it had.
    pub from: u32,
    /// That backend's generation then.
    pub from_generation: u32,
    /// Id of the backend that it got.
    pub to: u32,
    /// That backend's generation.
    pub to_generation: u32,
    /// When, in seconds of the monotonic clock.
    pub at_seconds: u32,
    /// Since when it had had the one before, in seconds of the monotonic clock; [`at_seconds`](Self::at_seconds) where that is not
    /// known any more.
    pub since_seconds: u32,
}

/// One CPU's element of `BREAK_RATE`: how many events it may still send.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BreakRate {
    /// Events that were sent.
    pub rate: Rate,
    /// Events that were not sent, ever, because there were too many or nobody fetched them.
    pub lost: u64,
}

/// Value of `REPLIES4` and `NEW_REPLIES4`: the source that a reply must carry.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Reply4 {
    /// Of the key, as [`Keyed::of`] makes it.
    pub check: u64,
    /// The frontend's port, in host order.
    #[cfg(feature = "other-layout")]
    pub port: u32,
    /// The frontend's address.
    pub address: Address4,
    /// The frontend's port, in host order.
    #[cfg(not(feature = "other-layout"))]
    pub port: u32,
}

/// Value of `REPLIES6` and `NEW_REPLIES6`: the source that a reply must carry.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Reply6 {
    /// Of the key, as [`Keyed::of`] makes it.
    pub check: u64,
    /// The frontend's port, in host order.
    #[cfg(feature = "other-layout")]
    pub port: u32,
    /// Always 0.
    #[cfg(feature = "other-layout")]
    pub pad: u32,
    /// The frontend's address.
    pub address: Address6,
    /// The frontend's port, in host order.
    #[cfg(not(feature = "other-layout"))]
    pub port: u32,
    /// Always 0.
    #[cfg(not(feature = "other-layout"))]
    pub pad: u32,
}

/// How a packet reaches another node.
pub trait NextHop<A: Address> {
    /// All of it but the addresses of the tunnel's ends.
    fn way(&self) -> &Way;
}

/// The way that tunnel packets leave by.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Way {
    /// Index of the device that leads there.
    pub device: u32,
    /// What the way carries in one packet, in bytes of layer 3.
    pub mtu: u16,
    /// UDP port of the tunnel, in host order; 0: the way is not known (yet).
    pub tunnel_port: u16,
    /// Layer-2 destination, then source; octets in wire order, in words so that the program copies words.
    pub ethernet: [u32; 3],
    /// VLAN tags of the way, outermost first: TPID and TCI, octets in wire order.
    pub tags: [u32; 2],
    /// How many of them there are.
    pub tag_count: u32,
}

impl Way {
    /// Whether it is known.
    #[inline(always)]
    pub fn is_known(&self) -> bool {
        self.tunnel_port != 0
    }
}

/// Value of `NEXT_HOPS4`, at the index that is the node's id.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NextHop4 {
    /// This node's address, as source of the outer header.
    pub source: Address4,
    /// The other node's address.
    pub destination: Address4,
    /// The way there.
    pub way: Way,
}

/// Value of `NEXT_HOPS6`, at the index that is the node's id.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NextHop6 {
    /// This node's address, as source of the outer header.
    pub source: Address6,
    /// The other node's address.
    pub destination: Address6,
    /// The way there.
    pub way: Way,
}

impl NextHop<Address4> for NextHop4 {
    #[inline(always)]
    fn way(&self) -> &Way {
        &self.way
    }
}

impl NextHop<Address6> for NextHop6 {
    #[inline(always)]
    fn way(&self) -> &Way {
        &self.way
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

// The layouts as the kernel sees them; a change here is a change of `VERSION`.
const _: () = assert!(size_of::<FrontendKey4>() == 8);
const _: () = assert!(size_of::<FrontendKey6>() == 20);
const _: () = assert!(size_of::<Frontend>() == 40);
const _: () = assert!(size_of::<Backend>() == 32);
const _: () = assert!(size_of::<FlowKey4>() == 16);
const _: () = assert!(size_of::<FlowKey6>() == 40);
const _: () = assert!(size_of::<Flow>() == if cfg!(feature = "other-layout") { 32 } else { 24 });
const _: () = assert!(size_of::<Reply4>() == 16);
const _: () = assert!(size_of::<Reply6>() == 32);
const _: () = assert!(size_of::<NextHop4>() == 40);
const _: () = assert!(size_of::<NextHop6>() == 64);
const _: () = assert!(size_of::<Config>() == 12);
const _: () = assert!(size_of::<AffinityKey4>() == 12);
const _: () = assert!(size_of::<AffinityKey6>() == 24);
const _: () = assert!(size_of::<Affinity>() == 32);
const _: () = assert!(size_of::<Ghost>() == 16);
const _: () = assert!(size_of::<SiblingKey>() == 8);
const _: () = assert!(size_of::<Sibling>() == 16);
const _: () = assert!(size_of::<ServiceCounts>() == 24);
const _: () = assert!(size_of::<BreakEvent>() == 48);
const _: () = assert!(size_of::<BreakRate>() == 16);
const _: () = assert!(size_of::<Name>() == 384);
