//! Pods, as one Service port's each.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Keyed as _;

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
    /// Of the key, as [`Keyed::of`](super::Keyed::of) makes it.
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

const _: () = assert!(size_of::<Backend>() == 32);
const _: () = assert!(size_of::<SiblingKey>() == 8);
const _: () = assert!(size_of::<Sibling>() == 16);
