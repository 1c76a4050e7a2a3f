//! The maps. Their names, without the family's digit, are those of the design; their layouts are in
//! `lb_common::layout`. Sizes are the least that make sense and are set by the agent when it loads the programs.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    Reason,
    family::{Address4, Address6},
    layout::{
        Backend, Config, Flow, FlowKey4, FlowKey6, Frontend, FrontendKey4, FrontendKey6, Name, NameKey, NextHop4,
        NextHop6, Reply4, Reply6, SLOTS_PER_CHUNK,
    },
};

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
