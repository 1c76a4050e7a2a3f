//! The datapath's tables, as BPF maps.

use aya_ebpf::{
    bindings::BPF_ANY,
    btf_maps::{Array, HashMap, LruHashMap},
    helpers::bpf_ktime_get_coarse_ns,
};
use lb_common::{
    Family, FamilyTables, Stage, Tables, V4, V6,
    layout::{Backend, Config, Flow, Frontend, SLOTS_PER_CHUNK},
};

use crate::maps;

/// The pinned maps of this node.
pub struct Maps;

/// The maps of one address family.
pub trait FamilyMaps: Family {
    /// `FRONTENDS4` or `FRONTENDS6`.
    fn frontends() -> &'static HashMap<Self::FrontendKey, Frontend, 1>;
    /// `LOCALS4` or `LOCALS6`.
    fn locals() -> &'static HashMap<Self::FrontendKey, u32, 1>;
    /// `PEERS4` or `PEERS6`.
    fn peers() -> &'static HashMap<Self::Address, u32, 1>;
    /// `NEXT_HOPS4` or `NEXT_HOPS6`.
    fn next_hops() -> &'static Array<Self::NextHop, 1>;
    /// `FLOWS4` or `FLOWS6`, or the `NEW_` one of them.
    fn flows(stage: Stage) -> &'static LruHashMap<Self::FlowKey, Flow, 1>;
    /// `REPLIES4` or `REPLIES6`, or the `NEW_` one of them.
    fn replies(stage: Stage) -> &'static LruHashMap<Self::FlowKey, Self::Reply, 1>;
}

impl Tables for Maps {
    #[inline(always)]
    fn config(&self) -> Option<Config> {
        maps::CONFIG.get(0).copied()
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<u32> {
        let chunk = maps::SLOTS.get_ptr(index / SLOTS_PER_CHUNK)?.cast::<u32>();
        let within = (index % SLOTS_PER_CHUNK) as usize;
        // SAFETY: `within` is less than the number of slots in a chunk.
        let slot = unsafe { chunk.add(within) };
        // SAFETY: array elements live as long as the map. Volatile, because the agent writes through its mapping.
        Some(unsafe { slot.read_volatile() })
    }

    #[inline(always)]
    fn backend(&self, id: u32) -> Option<Backend> {
        maps::BACKENDS.get(id).copied()
    }

    #[inline(always)]
    fn now_seconds(&self) -> u32 {
        const NANOSECONDS: u64 = 1_000_000_000;
        // Coarse (a jiffy), 21 ns instead of 43; since 5.11. Monotonic: it does not count suspend.
        // SAFETY: takes nothing, returns a number.
        let now = unsafe { bpf_ktime_get_coarse_ns() };
        (now / NANOSECONDS) as u32
    }
}

impl<F: FamilyMaps> FamilyTables<F> for Maps {
    #[inline(always)]
    fn frontend(&self, key: &F::FrontendKey) -> Option<Frontend> {
        // SAFETY: the value is copied at once. An update puts a new element in place of the old one, and the kernel may
        // give that to another key at the next update (kernel/bpf/hashtab.c, preallocated elements): for that moment a
        // packet may see another frontend's value. Every value that was ever there is whole and leads to live slots.
        unsafe { F::frontends().get(key) }.copied()
    }

    #[inline(always)]
    fn local_backend(&self, key: &F::FrontendKey) -> Option<u32> {
        // SAFETY: as for `frontend`.
        unsafe { F::locals().get(key) }.copied()
    }

    #[inline(always)]
    fn peer(&self, address: &F::Address) -> Option<u32> {
        // SAFETY: as for `frontend`.
        unsafe { F::peers().get(address) }.copied()
    }

    #[inline(always)]
    fn next_hop(&self, node: u32) -> Option<F::NextHop> {
        F::next_hops().get(node).copied()
    }

    #[inline(always)]
    fn flow(&self, stage: Stage, key: &F::FlowKey) -> Option<Flow> {
        // SAFETY: copied at once. An LRU may hand the element to another key meanwhile; the generation in the value
        // and the backend's state keep what is read from being harmful: at worst one packet is told a backend that
        // is alive and not its own.
        unsafe { F::flows(stage).get(key) }.copied()
    }

    #[inline(always)]
    fn remember_flow(&self, stage: Stage, key: &F::FlowKey, flow: &Flow) {
        // A failure (no free element on this CPU) means that the next packet is decided anew, the same way.
        let _ = F::flows(stage).insert(key, flow, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn reply(&self, stage: Stage, key: &F::FlowKey) -> Option<F::Reply> {
        // SAFETY: as for `flow`.
        unsafe { F::replies(stage).get(key) }.copied()
    }

    #[inline(always)]
    fn remember_reply(&self, stage: Stage, key: &F::FlowKey, reply: &F::Reply) {
        // As for `remember_flow`: the next packet notes it again.
        let _ = F::replies(stage).insert(key, reply, u64::from(BPF_ANY));
    }
}

impl FamilyMaps for V4 {
    #[inline(always)]
    fn frontends() -> &'static HashMap<Self::FrontendKey, Frontend, 1> {
        &maps::FRONTENDS4
    }

    #[inline(always)]
    fn locals() -> &'static HashMap<Self::FrontendKey, u32, 1> {
        &maps::LOCALS4
    }

    #[inline(always)]
    fn peers() -> &'static HashMap<Self::Address, u32, 1> {
        &maps::PEERS4
    }

    #[inline(always)]
    fn next_hops() -> &'static Array<Self::NextHop, 1> {
        &maps::NEXT_HOPS4
    }

    #[inline(always)]
    fn flows(stage: Stage) -> &'static LruHashMap<Self::FlowKey, Flow, 1> {
        match stage {
            Stage::New => &maps::NEW_FLOWS4,
            Stage::Established => &maps::FLOWS4,
        }
    }

    #[inline(always)]
    fn replies(stage: Stage) -> &'static LruHashMap<Self::FlowKey, Self::Reply, 1> {
        match stage {
            Stage::New => &maps::NEW_REPLIES4,
            Stage::Established => &maps::REPLIES4,
        }
    }
}

impl FamilyMaps for V6 {
    #[inline(always)]
    fn frontends() -> &'static HashMap<Self::FrontendKey, Frontend, 1> {
        &maps::FRONTENDS6
    }

    #[inline(always)]
    fn locals() -> &'static HashMap<Self::FrontendKey, u32, 1> {
        &maps::LOCALS6
    }

    #[inline(always)]
    fn peers() -> &'static HashMap<Self::Address, u32, 1> {
        &maps::PEERS6
    }

    #[inline(always)]
    fn next_hops() -> &'static Array<Self::NextHop, 1> {
        &maps::NEXT_HOPS6
    }

    #[inline(always)]
    fn flows(stage: Stage) -> &'static LruHashMap<Self::FlowKey, Flow, 1> {
        match stage {
            Stage::New => &maps::NEW_FLOWS6,
            Stage::Established => &maps::FLOWS6,
        }
    }

    #[inline(always)]
    fn replies(stage: Stage) -> &'static LruHashMap<Self::FlowKey, Self::Reply, 1> {
        match stage {
            Stage::New => &maps::NEW_REPLIES6,
            Stage::Established => &maps::REPLIES6,
        }
    }
}
