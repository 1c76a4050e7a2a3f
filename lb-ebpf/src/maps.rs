//! The maps. Their names, without the family's digit, are those of the design; their layouts are in
//! `lb_common::layout`. Sizes are the least that make sense and are set by the agent when it loads the programs.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use lb_common::{
    Reason, V4, V6,
    family::{Address4, Address6},
    layout::{
        Affinity, AffinityKey4, AffinityKey6, Backend, BreakCounts, BreakEvent, BreakRate, Config, Flow, FlowKey4,
        FlowKey6, Frontend, FrontendKey4, FrontendKey6, GHOSTS_PER_SET, Ghost, Name, NameKey, NextHop4, NextHop6, Rate,
        Reply4, Reply6, SLOTS_PER_CHUNK, ServiceCounts, Sibling, SiblingKey, SourceRange4, SourceRange6,
    },
};

use crate::client::Asked;

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;

/// What user space calls things, so that the command line has names while no agent runs; no program reads it.
#[btf_map]
pub static NAMES: HashMap<NameKey, Name, 1, NO_PREALLOC> = HashMap::new();

/// The node's settings.
#[btf_map]
pub static CONFIG: Array<Config, 1> = Array::new();

/// Packets by reason.
#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { Reason::COUNT }> = PerCpuArray::new();

/// All lookup tables, mapped into the agent's memory; in chunks, because an array's elements are padded to 8 bytes.
#[btf_map]
pub static SLOTS: Array<[u32; SLOTS_PER_CHUNK as usize], 1, MMAPABLE> = Array::new();

/// Backends by id.
#[btf_map]
pub static BACKENDS: Array<Backend, 1> = Array::new();

/// Backends on one Pod, of several ports of a Service that share their clients.
#[btf_map]
pub static SIBLINGS: HashMap<SiblingKey, Sibling, 1> = HashMap::new();

/// Shadows of held clients, in sets of a cache line.
#[btf_map]
pub static GHOSTS: Array<[Ghost; GHOSTS_PER_SET as usize], 1> = Array::new();

/// How often clients were given another backend, by Service port and reason.
#[btf_map]
pub static BREAKS: PerCpuArray<BreakCounts, 1> = PerCpuArray::new();

/// What each of those was; sized in bytes.
#[btf_map]
pub static BREAK_EVENTS: RingBuf<BreakEvent, 4096> = RingBuf::new();

/// How many of them each CPU may still tell, and what it did not tell.
#[btf_map]
pub static BREAK_RATE: PerCpuArray<BreakRate, 1> = PerCpuArray::new();

/// What Service ports took in, by their ids.
#[btf_map]
pub static SERVICE_COUNTS: PerCpuArray<ServiceCounts, 1> = PerCpuArray::new();

/// How many packets each CPU may still answer in place of a Pod.
#[btf_map]
pub static REJECT_RATE: PerCpuArray<Rate, 1> = PerCpuArray::new();

/// IPv4 addresses that may begin something at a Service port.
#[btf_map]
pub static SOURCE_RANGES4: LpmTrie<SourceRange4, u32, 1> = LpmTrie::new();
/// IPv6 addresses that may begin something at a Service port.
#[btf_map]
pub static SOURCE_RANGES6: LpmTrie<SourceRange6, u32, 1> = LpmTrie::new();

/// IPv4 frontends by address, port and protocol.
#[btf_map]
pub static FRONTENDS4: HashMap<FrontendKey4, Frontend, 1> = HashMap::new();
/// IPv6 frontends by address, port and protocol.
#[btf_map]
pub static FRONTENDS6: HashMap<FrontendKey6, Frontend, 1> = HashMap::new();

/// IPv4 backends of this node by address, port and protocol.
#[btf_map]
pub static LOCALS4: HashMap<FrontendKey4, u32, 1> = HashMap::new();
/// IPv6 backends of this node by address, port and protocol.
#[btf_map]
pub static LOCALS6: HashMap<FrontendKey6, u32, 1> = HashMap::new();

/// Other nodes by IPv4 address.
#[btf_map]
pub static PEERS4: HashMap<Address4, u32, 1> = HashMap::new();
/// Other nodes by IPv6 address.
#[btf_map]
pub static PEERS6: HashMap<Address6, u32, 1> = HashMap::new();

/// The way to each node over IPv4.
#[btf_map]
pub static NEXT_HOPS4: Array<NextHop4, 1> = Array::new();
/// The way to each node over IPv6.
#[btf_map]
pub static NEXT_HOPS6: Array<NextHop6, 1> = Array::new();

/// IPv4 flows of more than one packet.
#[btf_map]
pub static FLOWS4: LruHashMap<FlowKey4, Flow, 1> = LruHashMap::new();
/// IPv4 flows of one packet.
#[btf_map]
pub static NEW_FLOWS4: LruHashMap<FlowKey4, Flow, 1> = LruHashMap::new();
/// IPv6 flows of more than one packet.
#[btf_map]
pub static FLOWS6: LruHashMap<FlowKey6, Flow, 1> = LruHashMap::new();
/// IPv6 flows of one packet.
#[btf_map]
pub static NEW_FLOWS6: LruHashMap<FlowKey6, Flow, 1> = LruHashMap::new();

/// IPv4 clients that are held, once their connection has sent a second packet.
#[btf_map]
pub static AFFINITY4: LruHashMap<AffinityKey4, Affinity, 1> = LruHashMap::new();
/// IPv4 clients whose first connection has sent one packet.
#[btf_map]
pub static NEW_AFFINITY4: LruHashMap<AffinityKey4, Affinity, 1> = LruHashMap::new();
/// IPv6 clients that are held, once their connection has sent a second packet.
#[btf_map]
pub static AFFINITY6: LruHashMap<AffinityKey6, Affinity, 1> = LruHashMap::new();
/// IPv6 clients whose first connection has sent one packet.
#[btf_map]
pub static NEW_AFFINITY6: LruHashMap<AffinityKey6, Affinity, 1> = LruHashMap::new();

/// The question about an IPv4 client that a CPU works on.
#[btf_map]
pub static ASKED4: Asked<V4> = Asked::new();
/// The question about an IPv6 client that a CPU works on.
#[btf_map]
pub static ASKED6: Asked<V6> = Asked::new();

/// What IPv4 replies must carry, connections of more than one packet.
#[btf_map]
pub static REPLIES4: LruHashMap<FlowKey4, Reply4, 1> = LruHashMap::new();
/// What IPv4 replies must carry, connections of one packet.
#[btf_map]
pub static NEW_REPLIES4: LruHashMap<FlowKey4, Reply4, 1> = LruHashMap::new();
/// What IPv6 replies must carry, connections of more than one packet.
#[btf_map]
pub static REPLIES6: LruHashMap<FlowKey6, Reply6, 1> = LruHashMap::new();
/// What IPv6 replies must carry, connections of one packet.
#[btf_map]
pub static NEW_REPLIES6: LruHashMap<FlowKey6, Reply6, 1> = LruHashMap::new();
