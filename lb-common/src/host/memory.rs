//! Tables in std collections. Maps here have no limit and forget nothing.

use core::cell::RefCell;
use std::{collections::HashMap, vec::Vec};

use crate::{
    family::{Address, Family, V4, V6},
    layout::{
        Affinity, Backend, BreakEvent, Config, Flow, Frontend, GHOSTS_PER_SET, Ghost, Rate, ServiceCounts, SiblingKey,
    },
    packet::{FamilyTables, Stage, Tables},
    reject,
};

/// What is known of one family.
#[derive(Clone, Debug)]
pub struct FamilyMemory<F: Family> {
    /// `FRONTENDS`.
    pub frontends: HashMap<F::FrontendKey, Frontend>,
    /// `SOURCE_RANGES`: Service port, first address, bits of the address that count.
    pub source_ranges: Vec<(u32, F::Address, u32)>,
    /// `LOCALS`.
    pub locals: HashMap<F::FrontendKey, u32>,
    /// `PEERS`.
    pub peers: HashMap<F::Address, u32>,
    /// `NEXT_HOPS`.
    pub next_hops: HashMap<u32, F::NextHop>,
    /// `NEW_FLOWS`, `FLOWS`.
    pub flows: [RefCell<HashMap<F::FlowKey, Flow>>; 2],
    /// `NEW_AFFINITY`, `AFFINITY`.
    pub affinity: [RefCell<HashMap<F::AffinityKey, Affinity>>; 2],
    /// `NEW_REPLIES`, `REPLIES`.
    pub replies: [RefCell<HashMap<F::FlowKey, F::Reply>>; 2],
}

impl<F: Family> Default for FamilyMemory<F> {
    fn default() -> Self {
        Self {
            frontends: HashMap::new(),
            source_ranges: Vec::new(),
            locals: HashMap::new(),
            peers: HashMap::new(),
            next_hops: HashMap::new(),
            flows: Default::default(),
            affinity: Default::default(),
            replies: Default::default(),
        }
    }
}

/// All that is known, in std collections.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// `CONFIG`.
    pub config: Config,
    /// `SLOTS`.
    pub slots: Vec<u32>,
    /// `BACKENDS`.
    pub backends: Vec<Backend>,
    /// `SIBLINGS`.
    pub siblings: HashMap<SiblingKey, u32>,
    /// `GHOSTS`.
    pub ghosts: RefCell<Vec<[Ghost; GHOSTS_PER_SET as usize]>>,
    /// What went into `BREAKS` and `BREAK_EVENTS`.
    pub breaks: RefCell<Vec<BreakEvent>>,
    /// `REJECT_RATE`, of the one CPU that there is.
    pub rejects: RefCell<Rate>,
    /// `SERVICE_COUNTS`.
    pub counts: RefCell<HashMap<u32, ServiceCounts>>,
    /// What the clock shows, in seconds.
    pub now_seconds: u32,
    /// IPv4.
    pub v4: FamilyMemory<V4>,
    /// IPv6.
    pub v6: FamilyMemory<V6>,
}

impl Memory {
    /// Nothing, with room for so many sets of ghosts.
    pub fn with_ghosts(sets: u32) -> Self {
        let config = Config { ghost_sets: sets, ..Config::default() };
        let ghosts = RefCell::new(std::vec![Default::default(); sets as usize]);
        Self { config, ghosts, ..Self::default() }
    }
}

/// The half of [`Memory`] that belongs to a family.
pub trait MemoryOf<F: Family> {
    /// That half.
    fn of(&self) -> &FamilyMemory<F>;
}

impl MemoryOf<V4> for Memory {
    fn of(&self) -> &FamilyMemory<V4> {
        &self.v4
    }
}

impl MemoryOf<V6> for Memory {
    fn of(&self) -> &FamilyMemory<V6> {
        &self.v6
    }
}

impl Tables for Memory {
    fn config(&self) -> Option<Config> {
        Some(self.config)
    }

    fn slot(&self, index: u32) -> Option<u32> {
        self.slots.get(index as usize).copied()
    }

    fn backend(&self, id: u32) -> Option<Backend> {
        self.backends.get(id as usize).copied()
    }

    fn sibling(&self, key: &SiblingKey) -> Option<u32> {
        self.siblings.get(key).copied()
    }

    fn ghost(&self, set: u32, way: u32) -> Option<Ghost> {
        self.ghosts.borrow().get(set as usize)?.get(way as usize).copied()
    }

    fn set_ghost(&self, set: u32, way: u32, ghost: &Ghost) {
        let mut ghosts = self.ghosts.borrow_mut();
        if let Some(place) = ghosts.get_mut(set as usize).and_then(|set| set.get_mut(way as usize)) {
            *place = *ghost;
        }
    }

    fn report_break(&self, event: &BreakEvent) {
        self.breaks.borrow_mut().push(*event);
    }

    fn may_reject(&self) -> bool {
        reject::admit(&mut self.rejects.borrow_mut(), self.now_seconds)
    }

    fn count_packet(&self, service: u32, bytes: usize, begins_flow: bool) {
        self.counts.borrow_mut().entry(service).or_default().add(bytes, begins_flow);
    }

    fn now_seconds(&self) -> u32 {
        self.now_seconds
    }
}

impl<F: Family> FamilyTables<F> for Memory
where
    Self: MemoryOf<F>,
{
    fn frontend(&self, key: &F::FrontendKey) -> Option<Frontend> {
        self.of().frontends.get(key).copied()
    }

    fn is_source_in_range(&self, service: u32, source: &F::Address) -> bool {
        let ranges = &self.of().source_ranges;
        ranges.iter().any(|(of, first, bits)| *of == service && source.masked(*bits) == first.masked(*bits))
    }

    fn local_backend(&self, key: &F::FrontendKey) -> Option<u32> {
        self.of().locals.get(key).copied()
    }

    fn peer(&self, address: &F::Address) -> Option<u32> {
        self.of().peers.get(address).copied()
    }

    fn next_hop(&self, node: u32) -> Option<F::NextHop> {
        self.of().next_hops.get(&node).copied()
    }

    fn flow(&self, stage: Stage, key: &F::FlowKey) -> Option<Flow> {
        self.of().flows[stage as usize].borrow().get(key).copied()
    }

    fn remember_flow(&self, stage: Stage, key: &F::FlowKey, flow: &Flow) {
        self.of().flows[stage as usize].borrow_mut().insert(*key, *flow);
    }

    fn affinity(&self, stage: Stage, key: &F::AffinityKey) -> Option<Affinity> {
        self.of().affinity[stage as usize].borrow().get(key).copied()
    }

    fn remember_affinity(&self, stage: Stage, key: &F::AffinityKey, affinity: &Affinity) {
        self.of().affinity[stage as usize].borrow_mut().insert(*key, *affinity);
    }

    fn replace_affinity(&self, stage: Stage, key: &F::AffinityKey, before: &Affinity, next: &Affinity) -> bool {
        let mut held = self.of().affinity[stage as usize].borrow_mut();
        let known =
            held.get_mut(key).filter(|known| (known.backend, known.generation) == (before.backend, before.generation));
        known.map(|known| *known = *next).is_some()
    }

    fn touch_affinity(&self, stage: Stage, key: &F::AffinityKey, now_seconds: u32) {
        if let Some(known) = self.of().affinity[stage as usize].borrow_mut().get_mut(key) {
            known.last_used_seconds = now_seconds;
        }
    }

    fn take_new_affinity(&self, key: &F::AffinityKey) -> bool {
        self.of().affinity[Stage::New as usize].borrow_mut().remove(key).is_some()
    }

    fn reply(&self, stage: Stage, key: &F::FlowKey) -> Option<F::Reply> {
        self.of().replies[stage as usize].borrow().get(key).copied()
    }

    fn remember_reply(&self, stage: Stage, key: &F::FlowKey, reply: &F::Reply) {
        self.of().replies[stage as usize].borrow_mut().insert(*key, *reply);
    }
}
