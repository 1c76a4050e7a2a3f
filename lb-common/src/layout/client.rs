//! Clients that are held, and what is told of those that were given another backend.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    breaks::BreakReason,
    family::{Address4, Address6},
    rate::Rate,
};

/// Key of `AFFINITY4` and `NEW_AFFINITY4`: a client of a Service port.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AffinityKey4 {
    /// The client's address, of which only [`Frontend::client_prefix`](super::Frontend::client_prefix) bits are not 0.
    pub client: Address4,
    /// A hash of the name of the Service port, or of the Service where its ports share their clients
    /// ([`hash::affinity`](crate::hash::affinity)). Not an id: those are given to others one day.
    pub service: [u32; 2],
}

/// Key of `AFFINITY6` and `NEW_AFFINITY6`: a client of a Service port.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AffinityKey6 {
    /// The client's address, of which only [`Frontend::client_prefix`](super::Frontend::client_prefix) bits are not 0.
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
    /// Of the key, as [`Keyed::of`](super::Keyed::of) makes it.
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

/// One element of `BREAKS`, at the index that is the Service port's id: how often a client was given another backend, by
/// [`BreakReason`](crate::breaks::BreakReason).
pub type BreakCounts = [u64; BreakReason::COUNT];

/// What `BREAK_EVENTS` carries: a client was given another backend than the one that it had.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BreakEvent {
    /// The client, as [`AffinityKey4::client`], in the form of [`Backend::address`](super::Backend::address).
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

const _: () = assert!(size_of::<AffinityKey4>() == 12);
const _: () = assert!(size_of::<AffinityKey6>() == 24);
const _: () = assert!(size_of::<Affinity>() == 32);
const _: () = assert!(size_of::<Ghost>() == 16);
const _: () = assert!(size_of::<BreakEvent>() == 48);
const _: () = assert!(size_of::<BreakRate>() == 16);
