//! The two small traits between the datapath and the world: bytes, and what is known.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    affinity::{self, Ask},
    checksum::Delta,
    family::Family,
    layout::{Affinity, Backend, BreakEvent, Config, Flow, Frontend, Ghost, Sibling, SiblingKey, fitting},
    reason::Reason,
    reject,
};

/// A frame, from its Ethernet header on.
///
/// Access is by value and bounds-checked, never by slice: the verifier loses the range of a slice's pointer.
pub trait Packet {
    /// Length of the frame, in bytes.
    fn length(&self) -> usize;

    /// Index of the device that it came in by or leaves by.
    fn device(&self) -> u32;

    /// The value at `offset`; `None` past the end.
    fn read<T: FromBytes + Copy>(&self, offset: usize) -> Option<T>;

    /// Overwrites the value at `offset`; `None`, and nothing written, past the end.
    fn write<T: IntoBytes + Immutable + Copy>(&mut self, offset: usize, value: &T) -> Option<()>;

    /// Adds `bytes` of room in front; `None` where there is none to be had. All offsets shift.
    fn grow(&mut self, bytes: usize) -> Option<()>;

    /// Takes `bytes` off the front; `None` where the frame is too short for it. All offsets shift.
    fn shrink(&mut self, bytes: usize) -> Option<()>;

    /// Cuts the frame off after `length` bytes; `None` where it is no longer than that, or may not be cut.
    fn truncate(&mut self, length: usize) -> Option<()>;

    /// [`reject::turn_back`], wherever there is room for it.
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    fn turn_back<F: Family>(&mut self, l3: usize) -> Result<(), Reason>
    where
        Self: Sized,
    {
        reject::turn_back::<F, Self>(self, l3)
    }

    /// Updates the TCP or UDP checksum at `offset` for a change of the pseudo-header and one of the header itself.
    ///
    /// The two are apart because a checksum that the sender left to its device covers only the first as yet.
    /// A UDP checksum of zero means none and stays (`zero_means_none`); one that comes out as zero is sent as its
    /// complement (RFC 768).
    #[inline(always)]
    fn update_checksum(
        &mut self,
        offset: usize,
        pseudo_header: Delta,
        header: Delta,
        zero_means_none: bool,
    ) -> Option<()> {
        let before = self.read::<u16>(offset)?;
        if zero_means_none && before == 0 {
            return Some(());
        }
        let after = match pseudo_header.and(header).apply(before) {
            0 if zero_means_none => 0xffff,
            after => after,
        };
        self.write(offset, &after)
    }
}

/// Which of the two maps of a kind remembers something.
///
/// The first packet of a flow is only noted in a small map of its own; the second one moves it. So a flood of lone
/// packets pushes out nobody who is really there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// One packet has been seen.
    New,
    /// More than one packet has been seen.
    Established,
}

/// What is known whatever the address family, and the clock.
pub trait Tables {
    /// The node's settings.
    fn config(&self) -> Option<Config>;

    /// Slot `index` of all lookup tables.
    fn slot(&self, index: u32) -> Option<u32>;

    /// A backend by its id.
    fn backend(&self, id: u32) -> Option<Backend>;

    /// The element of a Service port's backend that is on the same Pod as another port's, as it is found: it may be
    /// another key's by then.
    fn find_sibling(&self, key: &SiblingKey) -> Option<Sibling>;

    /// The backend of a Service port that is on the same Pod as another port's.
    #[inline(always)]
    fn sibling(&self, key: &SiblingKey) -> Option<u32> {
        Some(fitting(key, || self.find_sibling(key))?.backend)
    }

    /// Part `way` of set `set` of the ghosts; `None` past the last set.
    fn ghost(&self, set: u32, way: u32) -> Option<Ghost>;

    /// Overwrites part `way` of set `set` of the ghosts.
    fn set_ghost(&self, set: u32, way: u32, ghost: &Ghost);

    /// Counts that a client was given another backend, and tells user space of it.
    fn report_break(&self, event: &BreakEvent);

    /// Whether what is seen for the first time is only noted, in the `NEW_` maps. Without that guard, which is for measurements
    /// alone, everything goes into the large map at once.
    fn is_guarded(&self) -> bool;

    /// Counts that another packet is answered in place of a Pod; whether it may be.
    fn may_reject(&self) -> bool;

    /// Counts a packet that goes on to a Pod of this Service port: its bytes, and whether it began a flow.
    fn count_packet(&self, service: u32, bytes: usize, begins_flow: bool);

    /// Seconds of a clock that never goes back. Asked for only when something is remembered or may be over.
    fn now_seconds(&self) -> u32;
}

/// What is known of one address family.
///
/// What begins with `find_` gives out a value as it is found, which may be another key's by then: the datapath asks by the
/// methods without it.
pub trait FamilyTables<F: Family>: Tables {
    /// The element of the frontend with this address, port and protocol.
    fn find_frontend(&self, key: &F::FrontendKey) -> Option<Frontend>;

    /// The frontend with this address, port and protocol.
    #[inline(always)]
    fn frontend(&self, key: &F::FrontendKey) -> Option<Frontend> {
        fitting(key, || self.find_frontend(key))
    }

    /// Whether an address is in one of a Service port's ranges, or of the cluster's own ([`INSIDE`](crate::layout::INSIDE)).
    fn is_source_in_range(&self, service: u32, source: &F::Address) -> bool;

    /// Whether there is a backend on this node with this address, port and protocol.
    fn is_local_backend(&self, key: &F::FrontendKey) -> bool;

    /// Whether another node has this address.
    fn is_peer(&self, address: &F::Address) -> bool;

    /// The way to a node.
    fn next_hop(&self, node: u32) -> Option<F::NextHop>;

    /// The element of a flow.
    fn find_flow(&self, stage: Stage, key: &F::FlowKey) -> Option<Flow>;

    /// Where a flow goes.
    #[inline(always)]
    fn flow(&self, stage: Stage, key: &F::FlowKey) -> Option<Flow> {
        if self.has(stage) { fitting(key, || self.find_flow(stage, key)) } else { None }
    }

    /// Remembers where a flow goes in the map of a stage. A full map makes room by forgetting what was not used for longest.
    fn put_flow(&self, stage: Stage, key: &F::FlowKey, flow: &Flow);

    /// Remembers where a flow goes.
    #[inline(always)]
    fn remember_flow(&self, stage: Stage, key: &F::FlowKey, flow: &Flow) {
        self.put_flow(self.place_of(stage), key, flow);
    }

    /// [`affinity::choose`], and [`affinity::promote`] where that is to follow, wherever there is room for them.
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    fn choose_for_client(&self, ask: &Ask<F>) -> Result<u32, Reason>
    where
        Self: Sized,
    {
        let chosen = affinity::choose(self, ask)?;
        if chosen.is_proven {
            affinity::promote(self, ask);
        }
        Ok(chosen.backend)
    }

    /// [`affinity::promote`], wherever there is room for it.
    #[inline(always)]
    fn promote_client(&self, ask: &Ask<F>)
    where
        Self: Sized,
    {
        affinity::promote(self, ask);
    }

    /// The element of a client.
    fn find_affinity(&self, stage: Stage, key: &F::AffinityKey) -> Option<Affinity>;

    /// Where a client is held.
    #[inline(always)]
    fn affinity(&self, stage: Stage, key: &F::AffinityKey) -> Option<Affinity> {
        if self.has(stage) { fitting(key, || self.find_affinity(stage, key)) } else { None }
    }

    /// Remembers where a client is held in the map of a stage. A full map makes room as for flows.
    fn put_affinity(&self, stage: Stage, key: &F::AffinityKey, affinity: &Affinity);

    /// Remembers where a client is held.
    #[inline(always)]
    fn remember_affinity(&self, stage: Stage, key: &F::AffinityKey, affinity: &Affinity) {
        self.put_affinity(self.place_of(stage), key, affinity);
    }

    /// Makes `next` of a client that is held as `before` says. False, and nothing changed, where it has been given to
    /// another backend meanwhile, or its element to another client: of several packets that find it in one state, one
    /// alone succeeds.
    fn replace_affinity(&self, stage: Stage, key: &F::AffinityKey, before: &Affinity, next: &Affinity) -> bool;

    /// Notes that a client that is held has begun a connection.
    fn touch_affinity(&self, stage: Stage, key: &F::AffinityKey, now_seconds: u32);

    /// Takes a client of one packet out of its map; true for one alone of several that try.
    fn take_new_affinity(&self, key: &F::AffinityKey) -> bool;

    /// The element of a connection's replies.
    fn find_reply(&self, stage: Stage, key: &F::FlowKey) -> Option<F::Reply>;

    /// The source that replies of a connection must carry.
    #[inline(always)]
    fn reply(&self, stage: Stage, key: &F::FlowKey) -> Option<F::Reply> {
        if self.has(stage) { fitting(key, || self.find_reply(stage, key)) } else { None }
    }

    /// Remembers the source that replies of a connection must carry, in the map of a stage.
    fn put_reply(&self, stage: Stage, key: &F::FlowKey, reply: &F::Reply);

    /// Remembers the source that replies of a connection must carry.
    #[inline(always)]
    fn remember_reply(&self, stage: Stage, key: &F::FlowKey, reply: &F::Reply) {
        self.put_reply(self.place_of(stage), key, reply);
    }

    /// Whether anything is in the map of a stage.
    #[inline(always)]
    fn has(&self, stage: Stage) -> bool {
        stage == Stage::Established || self.is_guarded()
    }

    /// The stage whose map something of this stage goes into.
    #[inline(always)]
    fn place_of(&self, stage: Stage) -> Stage {
        if self.has(stage) { stage } else { Stage::Established }
    }
}
