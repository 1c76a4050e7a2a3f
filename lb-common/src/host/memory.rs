//! Tables in std collections. Maps here have no limit and forget nothing, and hand on elements only when told to.

use core::{cell::RefCell, net::IpAddr};
use std::{collections::HashMap, vec::Vec};

use crate::{
    family::{Address, Family, V4, V6},
    layout::{
        Affinity, Backend, BreakEvent, Config, Flow, Frontend, GHOSTS_PER_SET, Ghost, Keyed, NextHop4, NextHop6, Rate,
        ServiceCounts, Sibling, SiblingKey, Way,
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
    /// What the next look-ups find instead, where they find anything.
    pub recycled: Recycled<F>,
}

/// Something that the datapath wrote for a packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Written {
    /// Where a flow goes.
    Flow(Flow),
    /// Where a client is held.
    Client(Affinity),
    /// Which frontend replies must carry.
    Reply,
    /// A break that was told.
    Break(BreakEvent),
    /// A packet that was counted.
    Count {
        /// Of which Service port.
        service: u32,
        /// Its bytes.
        bytes: usize,
        /// Whether it began a flow.
        begins_flow: bool,
    },
}

/// Values of others, each to be found once, in the place of one that is there: as when the kernel gives an element to
/// another key between a program's look-up and its copy.
#[derive(Clone, Debug)]
pub struct Recycled<F: Family> {
    /// In `FRONTENDS`.
    pub frontends: RefCell<Vec<Frontend>>,
    /// In `NEW_FLOWS` and `FLOWS`.
    pub flows: RefCell<Vec<Flow>>,
    /// In `NEW_AFFINITY` and `AFFINITY`.
    pub affinity: RefCell<Vec<Affinity>>,
    /// In `NEW_REPLIES` and `REPLIES`.
    pub replies: RefCell<Vec<F::Reply>>,
}

impl<F: Family> Default for Recycled<F> {
    fn default() -> Self {
        Self {
            frontends: RefCell::default(),
            flows: RefCell::default(),
            affinity: RefCell::default(),
            replies: RefCell::default(),
        }
    }
}

/// The value that was found, or another one that is there by now.
fn handed_on<V: Copy>(found: Option<&V>, recycled: &RefCell<Vec<V>>) -> Option<V> {
    let found = *found?;
    Some(recycled.borrow_mut().pop().unwrap_or(found))
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
            recycled: Recycled::default(),
        }
    }
}

impl<F: Family> FamilyMemory<F> {
    /// Adds a frontend, whosever it was.
    pub fn add_frontend(&mut self, key: F::FrontendKey, frontend: Frontend) {
        self.frontends.insert(key, frontend.of(&key));
    }

    /// Adds a flow, whosever it was.
    pub fn add_flow(&self, stage: Stage, key: F::FlowKey, flow: Flow) {
        self.flows[stage as usize].borrow_mut().insert(key, flow.of(&key));
    }

    /// Adds a client that is held, whosever it was.
    pub fn add_affinity(&self, stage: Stage, key: F::AffinityKey, affinity: Affinity) {
        self.affinity[stage as usize].borrow_mut().insert(key, affinity.of(&key));
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
    pub siblings: HashMap<SiblingKey, Sibling>,
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
    /// Whether what is written is noted, for [`Memory::take_written`].
    pub is_watched: bool,
    /// That.
    pub written: RefCell<Vec<Written>>,
    /// Whether the guard against floods is off.
    pub is_unguarded: bool,
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

    /// What was written since this was last asked, where it is noted.
    pub fn take_written(&self) -> Vec<Written> {
        self.written.take()
    }

    fn note(&self, written: Written) {
        if self.is_watched {
            self.written.borrow_mut().push(written);
        }
    }

    /// Adds another node, and the way there from this node's address; both addresses are of one family, or nothing is added.
    pub fn add_way(&mut self, number: u32, source: IpAddr, destination: IpAddr, way: Way) {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (source, destination) = (source.into(), destination.into());
                self.v4.peers.insert(destination, number);
                self.v4.next_hops.insert(number, NextHop4 { source, destination, way });
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (source, destination) = (source.into(), destination.into());
                self.v6.peers.insert(destination, number);
                self.v6.next_hops.insert(number, NextHop6 { source, destination, way });
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
        }
    }

    /// Adds a pair of backends on one Pod.
    pub fn add_sibling(&mut self, key: SiblingKey, backend: u32) {
        self.siblings.insert(key, Sibling::new(&key, backend));
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

    fn find_sibling(&self, key: &SiblingKey) -> Option<Sibling> {
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
        self.note(Written::Break(*event));
        self.breaks.borrow_mut().push(*event);
    }

    fn is_guarded(&self) -> bool {
        !self.is_unguarded
    }

    fn may_reject(&self) -> bool {
        reject::admit(&mut self.rejects.borrow_mut(), self.now_seconds)
    }

    fn count_packet(&self, service: u32, bytes: usize, begins_flow: bool) {
        self.note(Written::Count { service, bytes, begins_flow });
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
    fn find_frontend(&self, key: &F::FrontendKey) -> Option<Frontend> {
        handed_on(self.of().frontends.get(key), &self.of().recycled.frontends)
    }

    fn is_source_in_range(&self, service: u32, source: &F::Address) -> bool {
        let ranges = &self.of().source_ranges;
        ranges.iter().any(|(of, first, bits)| *of == service && source.masked(*bits) == first.masked(*bits))
    }

    fn is_local_backend(&self, key: &F::FrontendKey) -> bool {
        self.of().locals.contains_key(key)
    }

    fn is_peer(&self, address: &F::Address) -> bool {
        self.of().peers.contains_key(address)
    }

    fn next_hop(&self, node: u32) -> Option<F::NextHop> {
        self.of().next_hops.get(&node).copied()
    }

    fn find_flow(&self, stage: Stage, key: &F::FlowKey) -> Option<Flow> {
        handed_on(self.of().flows[stage as usize].borrow().get(key), &self.of().recycled.flows)
    }

    fn put_flow(&self, stage: Stage, key: &F::FlowKey, flow: &Flow) {
        self.note(Written::Flow(*flow));
        self.of().flows[stage as usize].borrow_mut().insert(*key, *flow);
    }

    fn find_affinity(&self, stage: Stage, key: &F::AffinityKey) -> Option<Affinity> {
        handed_on(self.of().affinity[stage as usize].borrow().get(key), &self.of().recycled.affinity)
    }

    fn put_affinity(&self, stage: Stage, key: &F::AffinityKey, affinity: &Affinity) {
        self.note(Written::Client(*affinity));
        self.of().affinity[stage as usize].borrow_mut().insert(*key, *affinity);
    }

    fn replace_affinity(&self, stage: Stage, key: &F::AffinityKey, before: &Affinity, next: &Affinity) -> bool {
        let mut held = self.of().affinity[stage as usize].borrow_mut();
        let is_as_before =
            |known: &&mut Affinity| (known.backend, known.generation) == (before.backend, before.generation);
        let known = held.get_mut(key).filter(|known| known.fits(key)).filter(is_as_before);
        let is_replaced = known.map(|known| *known = *next).is_some();
        if is_replaced {
            self.note(Written::Client(*next));
        }
        is_replaced
    }

    fn touch_affinity(&self, stage: Stage, key: &F::AffinityKey, now_seconds: u32) {
        if let Some(known) = self.of().affinity[stage as usize].borrow_mut().get_mut(key) {
            known.last_used_seconds = now_seconds;
        }
    }

    fn take_new_affinity(&self, key: &F::AffinityKey) -> bool {
        self.of().affinity[Stage::New as usize].borrow_mut().remove(key).is_some()
    }

    fn find_reply(&self, stage: Stage, key: &F::FlowKey) -> Option<F::Reply> {
        handed_on(self.of().replies[stage as usize].borrow().get(key), &self.of().recycled.replies)
    }

    fn put_reply(&self, stage: Stage, key: &F::FlowKey, reply: &F::Reply) {
        self.note(Written::Reply);
        self.of().replies[stage as usize].borrow_mut().insert(*key, *reply);
    }
}
