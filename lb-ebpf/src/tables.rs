//! The datapath's tables, as BPF maps.

use aya_ebpf::{
    bindings::BPF_ANY,
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap},
    helpers::bpf_ktime_get_coarse_ns,
};
use lb_common::{
    Family, FamilyTables, Reason, Stage, Tables, V4, V6,
    affinity::Ask,
    breaks::BreakReason,
    layout::{
        Affinity, Backend, BreakEvent, Config, Flow, Frontend, GHOSTS_PER_SET, Ghost, Keyed, SLOTS_PER_CHUNK, Sibling,
        SiblingKey,
    },
    reject,
};

use crate::{claim, client, element, maps, source};

/// Set by the agent when it loads the programs: 0 leaves the guard against floods out. Read-only data, as what logs drops.
#[unsafe(no_mangle)]
static FLOOD_GUARD: u8 = 1;

/// The pinned maps of this node.
pub struct Maps;

/// The maps of one address family.
pub trait FamilyMaps: Family {
    /// `FRONTENDS4` or `FRONTENDS6`.
    fn frontends() -> &'static HashMap<Self::FrontendKey, Frontend, 1>;
    /// `SOURCE_RANGES4` or `SOURCE_RANGES6`.
    fn source_ranges() -> &'static LpmTrie<Self::SourceRange, u32, 1>;
    /// `LOCALS4` or `LOCALS6`.
    fn locals() -> &'static HashMap<Self::FrontendKey, u32, 1>;
    /// `PEERS4` or `PEERS6`.
    fn peers() -> &'static HashMap<Self::Address, u32, 1>;
    /// `NEXT_HOPS4` or `NEXT_HOPS6`.
    fn next_hops() -> &'static Array<Self::NextHop, 1>;
    /// `FLOWS4` or `FLOWS6`, or the `NEW_` one of them.
    fn flows(stage: Stage) -> &'static LruHashMap<Self::FlowKey, Flow, 1>;
    /// `AFFINITY4` or `AFFINITY6`, or the `NEW_` one of them.
    fn affinity(stage: Stage) -> &'static LruHashMap<Self::AffinityKey, Affinity, 1>;
    /// `ASKED4` or `ASKED6`.
    fn asked() -> &'static client::Asked<Self>;
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
    fn find_sibling(&self, key: &SiblingKey) -> Option<Sibling> {
        // SAFETY: what was just looked up.
        maps::SIBLINGS.get_ptr(key).map(|found| unsafe { element::copy(found) })
    }

    #[inline(always)]
    fn ghost(&self, set: u32, way: u32) -> Option<Ghost> {
        // SAFETY: array elements live as long as the map. Another CPU may write meanwhile: at worst a ghost is not known
        // again, or a break is told with another one's details.
        Some(unsafe { ghost(set, way)?.read_volatile() })
    }

    #[inline(always)]
    fn set_ghost(&self, set: u32, way: u32, value: &Ghost) {
        if let Some(place) = ghost(set, way) {
            // SAFETY: as in `ghost`.
            unsafe { place.write_volatile(*value) };
        }
    }

    #[inline(always)]
    fn report_break(&self, event: &BreakEvent) {
        if let Some(counts) = maps::BREAKS.get_ptr_mut(event.service) {
            let index = event.reason as usize % BreakReason::COUNT;
            // SAFETY: `index` is less than the number of counts.
            let count = unsafe { counts.cast::<u64>().add(index) };
            // SAFETY: the element is this CPU's own, as the counters of packets are.
            unsafe { *count += 1 };
        }
        tell(event);
    }

    #[inline(always)]
    fn is_guarded(&self) -> bool {
        // SAFETY: a static of this program; volatile, because its value is patched in when the program is loaded.
        (unsafe { core::ptr::read_volatile(&raw const FLOOD_GUARD) }) != 0
    }

    #[inline(always)]
    fn may_reject(&self) -> bool {
        let Some(rate) = maps::REJECT_RATE.get_ptr_mut(0) else {
            return false;
        };
        let now_seconds = self.now_seconds();
        // SAFETY: the element is this CPU's own, and nothing interrupts the program, as for the counters of packets.
        reject::admit(unsafe { &mut *rate }, now_seconds)
    }

    #[inline(always)]
    fn count_packet(&self, service: u32, bytes: usize, begins_flow: bool) {
        if let Some(counts) = maps::SERVICE_COUNTS.get_ptr_mut(service) {
            // SAFETY: the element is this CPU's own, as the counters of packets are.
            unsafe { (*counts).add(bytes, begins_flow) };
        }
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

/// Part `way` of set `set` of the ghosts.
#[inline(always)]
fn ghost(set: u32, way: u32) -> Option<*mut Ghost> {
    let set = maps::GHOSTS.get_ptr_mut(set)?.cast::<Ghost>();
    let within = (way % GHOSTS_PER_SET) as usize;
    // SAFETY: `within` is less than the number of ghosts in a set.
    Some(unsafe { set.add(within) })
}

/// Hands a break to user space, unless there are too many of them.
#[inline(always)]
fn tell(event: &BreakEvent) {
    let Some(rate) = maps::BREAK_RATE.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the element is this CPU's own, and nothing interrupts the program, as for the counters of packets.
    let rate = unsafe { &mut *rate };
    if !rate.admit(event.at_seconds) {
        return;
    }
    match maps::BREAK_EVENTS.reserve(0) {
        Some(mut entry) => {
            entry.write(*event);
            entry.submit(0);
        }
        None => rate.lost += 1,
    }
}

impl<F: FamilyMaps> FamilyTables<F> for Maps {
    #[inline(always)]
    fn find_frontend(&self, key: &F::FrontendKey) -> Option<Frontend> {
        // SAFETY: what was just looked up.
        F::frontends().get_ptr(key).map(|found| unsafe { element::copy(found) })
    }

    #[inline(always)]
    fn is_source_in_range(&self, service: u32, source: &F::Address) -> bool {
        source::is_in_range::<F>(service, source)
    }

    #[inline(always)]
    fn is_local_backend(&self, key: &F::FrontendKey) -> bool {
        // Whatever becomes of the element: the key was there.
        F::locals().get_ptr(key).is_some()
    }

    #[inline(always)]
    fn is_peer(&self, address: &F::Address) -> bool {
        F::peers().get_ptr(address).is_some()
    }

    #[inline(always)]
    fn next_hop(&self, node: u32) -> Option<F::NextHop> {
        F::next_hops().get(node).copied()
    }

    #[inline(always)]
    fn find_flow(&self, stage: Stage, key: &F::FlowKey) -> Option<Flow> {
        // SAFETY: what was just looked up.
        F::flows(stage).get_ptr(key).map(|found| unsafe { element::copy(found) })
    }

    #[inline(always)]
    fn put_flow(&self, stage: Stage, key: &F::FlowKey, flow: &Flow) {
        // A failure (no free element on this CPU) means that the next packet is decided anew, the same way.
        let _ = F::flows(stage).insert(key, flow, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn choose_for_client(&self, ask: &Ask<F>) -> Result<u32, Reason> {
        client::choose::<F>(ask)
    }

    #[inline(always)]
    fn promote_client(&self, ask: &Ask<F>) {
        client::promote::<F>(ask);
    }

    #[inline(always)]
    fn find_affinity(&self, stage: Stage, key: &F::AffinityKey) -> Option<Affinity> {
        // SAFETY: what was just looked up.
        F::affinity(stage).get_ptr(key).map(|found| unsafe { element::copy(found) })
    }

    #[inline(always)]
    fn put_affinity(&self, stage: Stage, key: &F::AffinityKey, affinity: &Affinity) {
        // As for `put_flow`: the client's next connection is decided anew, the same way.
        let _ = F::affinity(stage).insert(key, affinity, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn replace_affinity(&self, stage: Stage, key: &F::AffinityKey, before: &Affinity, next: &Affinity) -> bool {
        let Some(known) = client_at::<F>(stage, key) else {
            return false;
        };
        let (old, new) = ([before.backend, before.generation], [next.backend, next.generation]);
        // SAFETY: elements of an LRU map live as long as the map.
        if !claim::compare_and_swap(unsafe { &raw mut (*known).backend }.cast(), old, new) {
            return false;
        }
        // SAFETY: as above. Another CPU may write the same words, each of them whole; an element that was given to another key
        // since it was looked at gets this one's times and expiries: its client may be held for longer or shorter, or
        // choose another slot next time.
        let known = unsafe { &mut *known };
        known.since_seconds = next.since_seconds;
        known.last_used_seconds = next.last_used_seconds;
        known.expiries = next.expiries;
        known.flags = next.flags;
        true
    }

    #[inline(always)]
    fn touch_affinity(&self, stage: Stage, key: &F::AffinityKey, now_seconds: u32) {
        if let Some(known) = client_at::<F>(stage, key) {
            // SAFETY: as in `replace_affinity`.
            unsafe { (*known).last_used_seconds = now_seconds };
        }
    }

    #[inline(always)]
    fn take_new_affinity(&self, key: &F::AffinityKey) -> bool {
        F::affinity(Stage::New).remove(key).is_ok()
    }

    #[inline(always)]
    fn find_reply(&self, stage: Stage, key: &F::FlowKey) -> Option<F::Reply> {
        // SAFETY: what was just looked up.
        F::replies(stage).get_ptr(key).map(|found| unsafe { element::copy(found) })
    }

    #[inline(always)]
    fn put_reply(&self, stage: Stage, key: &F::FlowKey, reply: &F::Reply) {
        // As for `put_flow`: the next packet notes it again.
        let _ = F::replies(stage).insert(key, reply, u64::from(BPF_ANY));
    }
}

/// Where a client is held, to be changed in place: not where the element has been given to another one since.
#[inline(always)]
fn client_at<F: FamilyMaps>(stage: Stage, key: &F::AffinityKey) -> Option<*mut Affinity> {
    let known = F::affinity(stage).get_ptr_mut(key)?;
    // SAFETY: what was just looked up.
    unsafe { element::copy(known) }.fits(key).then_some(known)
}

impl FamilyMaps for V4 {
    #[inline(always)]
    fn frontends() -> &'static HashMap<Self::FrontendKey, Frontend, 1> {
        &maps::FRONTENDS4
    }

    #[inline(always)]
    fn source_ranges() -> &'static LpmTrie<Self::SourceRange, u32, 1> {
        &maps::SOURCE_RANGES4
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
    fn affinity(stage: Stage) -> &'static LruHashMap<Self::AffinityKey, Affinity, 1> {
        match stage {
            Stage::New => &maps::NEW_AFFINITY4,
            Stage::Established => &maps::AFFINITY4,
        }
    }

    #[inline(always)]
    fn asked() -> &'static client::Asked<Self> {
        &maps::ASKED4
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
    fn source_ranges() -> &'static LpmTrie<Self::SourceRange, u32, 1> {
        &maps::SOURCE_RANGES6
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
    fn affinity(stage: Stage) -> &'static LruHashMap<Self::AffinityKey, Affinity, 1> {
        match stage {
            Stage::New => &maps::NEW_AFFINITY6,
            Stage::Established => &maps::AFFINITY6,
        }
    }

    #[inline(always)]
    fn asked() -> &'static client::Asked<Self> {
        &maps::ASKED6
    }

    #[inline(always)]
    fn replies(stage: Stage) -> &'static LruHashMap<Self::FlowKey, Self::Reply, 1> {
        match stage {
            Stage::New => &maps::NEW_REPLIES6,
            Stage::Established => &maps::REPLIES6,
        }
    }
}
