//! Connections: where their packets go, and whom replies come from.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::family::{Address4, Address6};

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
    /// Of the key, as [`Keyed::of`](super::Keyed::of) makes it.
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

/// So many datagrams from a Pod say that what a single one asked for is more than that: the note of it moves to `REPLIES`.
/// A flood of datagrams from forged addresses is answered once each at most.
pub const MANY_ANSWERS: u16 = 2;

/// Value of `REPLIES4` and `NEW_REPLIES4`: the source that a reply must carry.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Reply4 {
    /// Of the key, as [`Keyed::of`](super::Keyed::of) makes it.
    pub check: u64,
    /// The frontend's port, in host order.
    #[cfg(feature = "other-layout")]
    pub port: u16,
    /// How many datagrams the Pod has answered with, as far as is counted: see [`MANY_ANSWERS`].
    #[cfg(feature = "other-layout")]
    pub answers: u16,
    /// The frontend's address.
    pub address: Address4,
    /// The frontend's port, in host order.
    #[cfg(not(feature = "other-layout"))]
    pub port: u16,
    /// How many datagrams the Pod has answered with, as far as is counted: see [`MANY_ANSWERS`].
    #[cfg(not(feature = "other-layout"))]
    pub answers: u16,
}

/// Value of `REPLIES6` and `NEW_REPLIES6`: the source that a reply must carry.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Reply6 {
    /// Of the key, as [`Keyed::of`](super::Keyed::of) makes it.
    pub check: u64,
    /// The frontend's port, in host order.
    #[cfg(feature = "other-layout")]
    pub port: u16,
    /// As in [`Reply4`].
    #[cfg(feature = "other-layout")]
    pub answers: u16,
    /// Always 0.
    #[cfg(feature = "other-layout")]
    pub pad: u32,
    /// The frontend's address.
    pub address: Address6,
    /// The frontend's port, in host order.
    #[cfg(not(feature = "other-layout"))]
    pub port: u16,
    /// As in [`Reply4`].
    #[cfg(not(feature = "other-layout"))]
    pub answers: u16,
    /// Always 0.
    #[cfg(not(feature = "other-layout"))]
    pub pad: u32,
}

const _: () = assert!(size_of::<FlowKey4>() == 16);
const _: () = assert!(size_of::<FlowKey6>() == 40);
const _: () = assert!(size_of::<Flow>() == if cfg!(feature = "other-layout") { 32 } else { 24 });
const _: () = assert!(size_of::<Reply4>() == 16);
const _: () = assert!(size_of::<Reply6>() == 32);
