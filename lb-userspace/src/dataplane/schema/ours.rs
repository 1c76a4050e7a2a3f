//! The schema of this build: taken from the very structures that programs and user space read.

use core::mem::offset_of;

use lb_common::{
    breaks::BreakReason,
    family::{Address4, Address6},
    layout::{
        Affinity, AffinityKey4, AffinityKey6, Backend, BreakCounts, BreakEvent, BreakRate, Config, Flow, FlowKey4,
        FlowKey6, Frontend, FrontendKey4, FrontendKey6, GHOSTS_PER_SET, Ghost, Name, NameKey, NextHop4, NextHop6, Rate,
        Reply4, Reply6, SLOTS_PER_CHUNK, ServiceCounts, Sibling, SiblingKey, SourceRange4, SourceRange6, Way,
    },
};

use super::{Field, MapSchema, Record};
use crate::dataplane::{Sizes, raw::kind};

/// The field of a value that says whose it is. It is made of the key, so it is not carried over but made anew.
pub const CHECKED: &str = "check";
/// Flags of maps (linux/bpf.h).
const NO_PREALLOC: u32 = 1;
const MMAPABLE: u32 = 1 << 10;

/// What the maps of this build are, with room for so much.
pub fn ours(sizes: &Sizes) -> Vec<MapSchema> {
    let index = || Record::plain("index", 4);
    let map = |name: &str, kind, flags, key, value| MapSchema {
        name: name.to_owned(),
        kind,
        flags,
        entries: sizes.elements(name),
        key,
        value,
    };
    let array = |name: &str, value| map(name, kind::ARRAY, 0, index(), value);
    let counts = |name: &str, value| map(name, kind::PER_CPU_ARRAY, 0, index(), value);
    let mut maps = vec![
        map("NAMES", kind::HASH, NO_PREALLOC, name_key(), name()),
        array("CONFIG", config()),
        counts("COUNTERS", Record::plain("packets", 8)),
        map("SLOTS", kind::ARRAY, MMAPABLE, index(), Record::plain("slots", 4 * SLOTS_PER_CHUNK)),
        array("BACKENDS", backend()),
        map("SIBLINGS", kind::HASH, 0, sibling_key(), sibling()),
        array("GHOSTS", ghosts()),
        counts("BREAKS", break_counts()),
        map("BREAK_EVENTS", kind::RING_BUFFER, 0, Record::default(), break_event()),
        counts("BREAK_RATE", break_rate()),
        counts("SERVICE_COUNTS", service_counts()),
        counts("REJECT_RATE", rate()),
    ];
    for family in [of_v4(), of_v6()] {
        let named = |name: &str| format!("{name}{}", family.digit);
        let hash = |name: &str, key: &Record, value| map(&named(name), kind::HASH, 0, key.clone(), value);
        let lru =
            |name: &str, key: &Record, value: &Record| map(&named(name), kind::LRU_HASH, 0, key.clone(), value.clone());
        maps.extend([
            hash("FRONTENDS", &family.frontend, frontend()),
            map(&named("SOURCE_RANGES"), kind::LPM_TRIE, NO_PREALLOC, family.range.clone(), Record::plain("one", 4)),
            hash("LOCALS", &family.frontend, Record::plain("backend", 4)),
            hash("PEERS", &family.address, Record::plain("node", 4)),
            array(&named("NEXT_HOPS"), family.next_hop.clone()),
            lru("FLOWS", &family.flow, &flow()),
            lru("NEW_FLOWS", &family.flow, &flow()),
            lru("AFFINITY", &family.affinity, &affinity()),
            lru("NEW_AFFINITY", &family.affinity, &affinity()),
            lru("REPLIES", &family.flow, &family.reply),
            lru("NEW_REPLIES", &family.flow, &family.reply),
        ]);
    }
    maps
}

impl Record {
    /// One that is not made of parts.
    pub fn plain(name: &str, bytes: u32) -> Self {
        Self { bytes, fields: vec![Field { name: name.to_owned(), offset: 0, width: bytes }] }
    }

    /// That of a structure.
    fn of<T>(fields: impl IntoIterator<Item = Field>) -> Self {
        Self { bytes: bytes_of::<T>(), fields: fields.into_iter().collect() }
    }
}

fn bytes_of<T>() -> u32 {
    // The largest of them has some hundred bytes.
    size_of::<T>() as u32
}

/// A field, as wide as the type of what the structure has there.
fn field<T, F>(name: &str, offset: usize, _of: impl Fn(&T) -> &F) -> Field {
    Field { name: name.to_owned(), offset: offset as u32, width: bytes_of::<F>() }
}

/// What the families have each of their own.
struct OfFamily {
    digit: u8,
    address: Record,
    frontend: Record,
    range: Record,
    next_hop: Record,
    flow: Record,
    affinity: Record,
    reply: Record,
}

fn of_v4() -> OfFamily {
    type Range = SourceRange4;
    OfFamily {
        digit: 4,
        address: Record::plain("address", bytes_of::<Address4>()),
        frontend: Record::of::<FrontendKey4>([
            field("address", offset_of!(FrontendKey4, address), |it: &FrontendKey4| &it.address),
            field("port", offset_of!(FrontendKey4, port), |it: &FrontendKey4| &it.port),
            field("protocol", offset_of!(FrontendKey4, protocol), |it: &FrontendKey4| &it.protocol),
            field("pad", offset_of!(FrontendKey4, pad), |it: &FrontendKey4| &it.pad),
        ]),
        range: behind_prefix::<Range>([
            field("service", offset_of!(Range, service), |it: &Range| &it.service),
            field("address", offset_of!(Range, address), |it: &Range| &it.address),
        ]),
        next_hop: Record::of::<NextHop4>(
            [
                field("source", offset_of!(NextHop4, source), |it: &NextHop4| &it.source),
                field("destination", offset_of!(NextHop4, destination), |it: &NextHop4| &it.destination),
            ]
            .into_iter()
            .chain(way(offset_of!(NextHop4, way))),
        ),
        flow: Record::of::<FlowKey4>([
            field("source", offset_of!(FlowKey4, source), |it: &FlowKey4| &it.source),
            field("destination", offset_of!(FlowKey4, destination), |it: &FlowKey4| &it.destination),
            field("source_port", offset_of!(FlowKey4, source_port), |it: &FlowKey4| &it.source_port),
            field("destination_port", offset_of!(FlowKey4, destination_port), |it: &FlowKey4| &it.destination_port),
            field("protocol", offset_of!(FlowKey4, protocol), |it: &FlowKey4| &it.protocol),
        ]),
        affinity: Record::of::<AffinityKey4>([
            field("client", offset_of!(AffinityKey4, client), |it: &AffinityKey4| &it.client),
            field("service", offset_of!(AffinityKey4, service), |it: &AffinityKey4| &it.service),
        ]),
        reply: Record::of::<Reply4>([
            field(CHECKED, offset_of!(Reply4, check), |it: &Reply4| &it.check),
            field("address", offset_of!(Reply4, address), |it: &Reply4| &it.address),
            field("port", offset_of!(Reply4, port), |it: &Reply4| &it.port),
            field("answers", offset_of!(Reply4, answers), |it: &Reply4| &it.answers),
        ]),
    }
}

fn of_v6() -> OfFamily {
    type Range = SourceRange6;
    OfFamily {
        digit: 6,
        address: Record::plain("address", bytes_of::<Address6>()),
        frontend: Record::of::<FrontendKey6>([
            field("address", offset_of!(FrontendKey6, address), |it: &FrontendKey6| &it.address),
            field("port", offset_of!(FrontendKey6, port), |it: &FrontendKey6| &it.port),
            field("protocol", offset_of!(FrontendKey6, protocol), |it: &FrontendKey6| &it.protocol),
            field("pad", offset_of!(FrontendKey6, pad), |it: &FrontendKey6| &it.pad),
        ]),
        range: behind_prefix::<Range>([
            field("service", offset_of!(Range, service), |it: &Range| &it.service),
            field("address", offset_of!(Range, address), |it: &Range| &it.address),
        ]),
        next_hop: Record::of::<NextHop6>(
            [
                field("source", offset_of!(NextHop6, source), |it: &NextHop6| &it.source),
                field("destination", offset_of!(NextHop6, destination), |it: &NextHop6| &it.destination),
            ]
            .into_iter()
            .chain(way(offset_of!(NextHop6, way))),
        ),
        flow: Record::of::<FlowKey6>([
            field("source", offset_of!(FlowKey6, source), |it: &FlowKey6| &it.source),
            field("destination", offset_of!(FlowKey6, destination), |it: &FlowKey6| &it.destination),
            field("source_port", offset_of!(FlowKey6, source_port), |it: &FlowKey6| &it.source_port),
            field("destination_port", offset_of!(FlowKey6, destination_port), |it: &FlowKey6| &it.destination_port),
            field("protocol", offset_of!(FlowKey6, protocol), |it: &FlowKey6| &it.protocol),
        ]),
        affinity: Record::of::<AffinityKey6>([
            field("client", offset_of!(AffinityKey6, client), |it: &AffinityKey6| &it.client),
            field("service", offset_of!(AffinityKey6, service), |it: &AffinityKey6| &it.service),
        ]),
        reply: Record::of::<Reply6>([
            field(CHECKED, offset_of!(Reply6, check), |it: &Reply6| &it.check),
            field("address", offset_of!(Reply6, address), |it: &Reply6| &it.address),
            field("port", offset_of!(Reply6, port), |it: &Reply6| &it.port),
            field("answers", offset_of!(Reply6, answers), |it: &Reply6| &it.answers),
            field("pad", offset_of!(Reply6, pad), |it: &Reply6| &it.pad),
        ]),
    }
}

/// A key of a trie: the length of the prefix, and what it is a prefix of.
fn behind_prefix<T>(fields: impl IntoIterator<Item = Field>) -> Record {
    let prefix = Field { name: "prefix".to_owned(), offset: 0, width: 4 };
    let moved = fields.into_iter().map(|field| Field { offset: prefix.width + field.offset, ..field });
    let fields = std::iter::once(prefix.clone()).chain(moved).collect();
    Record { bytes: prefix.width + bytes_of::<T>(), fields }
}

fn way(at: usize) -> impl Iterator<Item = Field> {
    [
        field("way.device", offset_of!(Way, device), |it: &Way| &it.device),
        field("way.mtu", offset_of!(Way, mtu), |it: &Way| &it.mtu),
        field("way.tunnel_port", offset_of!(Way, tunnel_port), |it: &Way| &it.tunnel_port),
        field("way.ethernet", offset_of!(Way, ethernet), |it: &Way| &it.ethernet),
        field("way.tags", offset_of!(Way, tags), |it: &Way| &it.tags),
        field("way.tag_count", offset_of!(Way, tag_count), |it: &Way| &it.tag_count),
    ]
    .into_iter()
    .map(move |field| Field { offset: field.offset + at as u32, ..field })
}

fn frontend() -> Record {
    Record::of::<Frontend>([
        field(CHECKED, offset_of!(Frontend, check), |it: &Frontend| &it.check),
        field("kind", offset_of!(Frontend, kind), |it: &Frontend| &it.kind),
        field("flags", offset_of!(Frontend, flags), |it: &Frontend| &it.flags),
        field("client_prefix", offset_of!(Frontend, client_prefix), |it: &Frontend| &it.client_prefix),
        field("pad", offset_of!(Frontend, pad), |it: &Frontend| &it.pad),
        field("service", offset_of!(Frontend, service), |it: &Frontend| &it.service),
        field("service_hash", offset_of!(Frontend, service_hash), |it: &Frontend| &it.service_hash),
        field("table_offset", offset_of!(Frontend, table_offset), |it: &Frontend| &it.table_offset),
        field("table_length", offset_of!(Frontend, table_length), |it: &Frontend| &it.table_length),
        field("affinity_timeout_seconds", offset_of!(Frontend, affinity_timeout_seconds), |it: &Frontend| {
            &it.affinity_timeout_seconds
        }),
        field("affinity", offset_of!(Frontend, affinity), |it: &Frontend| &it.affinity),
    ])
}

fn backend() -> Record {
    Record::of::<Backend>([
        field("address", offset_of!(Backend, address), |it: &Backend| &it.address),
        field("port", offset_of!(Backend, port), |it: &Backend| &it.port),
        field("protocol", offset_of!(Backend, protocol), |it: &Backend| &it.protocol),
        field("state", offset_of!(Backend, state), |it: &Backend| &it.state),
        field("node", offset_of!(Backend, node), |it: &Backend| &it.node),
        field("generation", offset_of!(Backend, generation), |it: &Backend| &it.generation),
        field("service", offset_of!(Backend, service), |it: &Backend| &it.service),
    ])
}

fn flow() -> Record {
    Record::of::<Flow>([
        field(CHECKED, offset_of!(Flow, check), |it: &Flow| &it.check),
        field("backend", offset_of!(Flow, backend), |it: &Flow| &it.backend),
        field("generation", offset_of!(Flow, generation), |it: &Flow| &it.generation),
        field("since_seconds", offset_of!(Flow, since_seconds), |it: &Flow| &it.since_seconds),
        field("service", offset_of!(Flow, service), |it: &Flow| &it.service),
        #[cfg(feature = "other-layout")]
        field("spare", offset_of!(Flow, spare), |it: &Flow| &it.spare),
    ])
}

fn affinity() -> Record {
    Record::of::<Affinity>([
        field(CHECKED, offset_of!(Affinity, check), |it: &Affinity| &it.check),
        field("backend", offset_of!(Affinity, backend), |it: &Affinity| &it.backend),
        field("generation", offset_of!(Affinity, generation), |it: &Affinity| &it.generation),
        field("since_seconds", offset_of!(Affinity, since_seconds), |it: &Affinity| &it.since_seconds),
        field("last_used_seconds", offset_of!(Affinity, last_used_seconds), |it: &Affinity| &it.last_used_seconds),
        field("expiries", offset_of!(Affinity, expiries), |it: &Affinity| &it.expiries),
        field("flags", offset_of!(Affinity, flags), |it: &Affinity| &it.flags),
    ])
}

fn ghosts() -> Record {
    let one = |number: u32| {
        let at = move |field: Field| Field {
            name: format!("{number}.{}", field.name),
            offset: number * bytes_of::<Ghost>() + field.offset,
            ..field
        };
        [
            field("fingerprint", offset_of!(Ghost, fingerprint), |it: &Ghost| &it.fingerprint),
            field("backend", offset_of!(Ghost, backend), |it: &Ghost| &it.backend),
            field("generation", offset_of!(Ghost, generation), |it: &Ghost| &it.generation),
            field("last_used_seconds", offset_of!(Ghost, last_used_seconds), |it: &Ghost| &it.last_used_seconds),
        ]
        .map(at)
    };
    Record::of::<[Ghost; GHOSTS_PER_SET as usize]>((0..GHOSTS_PER_SET).flat_map(one))
}

fn sibling_key() -> Record {
    Record::of::<SiblingKey>([
        field("service", offset_of!(SiblingKey, service), |it: &SiblingKey| &it.service),
        field("backend", offset_of!(SiblingKey, backend), |it: &SiblingKey| &it.backend),
    ])
}

fn sibling() -> Record {
    Record::of::<Sibling>([
        field(CHECKED, offset_of!(Sibling, check), |it: &Sibling| &it.check),
        field("backend", offset_of!(Sibling, backend), |it: &Sibling| &it.backend),
        field("pad", offset_of!(Sibling, pad), |it: &Sibling| &it.pad),
    ])
}

/// A word for each reason, by its name; those without one are kept for reasons to come.
fn break_counts() -> Record {
    let word = |index: usize| {
        let reason = u32::try_from(index).ok().and_then(BreakReason::from_index);
        let name = reason.map_or_else(|| format!("free-{index}"), |reason| reason.name().to_owned());
        Field { name, offset: bytes_of::<u64>() * index as u32, width: bytes_of::<u64>() }
    };
    Record::of::<BreakCounts>((0..BreakReason::COUNT).map(word))
}

fn break_event() -> Record {
    Record::of::<BreakEvent>([
        field("client", offset_of!(BreakEvent, client), |it: &BreakEvent| &it.client),
        field("service", offset_of!(BreakEvent, service), |it: &BreakEvent| &it.service),
        field("reason", offset_of!(BreakEvent, reason), |it: &BreakEvent| &it.reason),
        field("from", offset_of!(BreakEvent, from), |it: &BreakEvent| &it.from),
        field("from_generation", offset_of!(BreakEvent, from_generation), |it: &BreakEvent| &it.from_generation),
        field("to", offset_of!(BreakEvent, to), |it: &BreakEvent| &it.to),
        field("to_generation", offset_of!(BreakEvent, to_generation), |it: &BreakEvent| &it.to_generation),
        field("at_seconds", offset_of!(BreakEvent, at_seconds), |it: &BreakEvent| &it.at_seconds),
        field("since_seconds", offset_of!(BreakEvent, since_seconds), |it: &BreakEvent| &it.since_seconds),
    ])
}

fn break_rate() -> Record {
    let at = offset_of!(BreakRate, rate) as u32;
    let rate = rate().fields.into_iter().map(move |field| Field { offset: at + field.offset, ..field });
    let lost = field("lost", offset_of!(BreakRate, lost), |it: &BreakRate| &it.lost);
    Record::of::<BreakRate>(rate.chain([lost]))
}

fn rate() -> Record {
    Record::of::<Rate>([
        field("second", offset_of!(Rate, second), |it: &Rate| &it.second),
        field("sent", offset_of!(Rate, sent), |it: &Rate| &it.sent),
    ])
}

fn service_counts() -> Record {
    Record::of::<ServiceCounts>([
        field("packets", offset_of!(ServiceCounts, packets), |it: &ServiceCounts| &it.packets),
        field("bytes", offset_of!(ServiceCounts, bytes), |it: &ServiceCounts| &it.bytes),
        field("new_flows", offset_of!(ServiceCounts, new_flows), |it: &ServiceCounts| &it.new_flows),
    ])
}

fn config() -> Record {
    Record::of::<Config>([
        field("mss4", offset_of!(Config, mss4), |it: &Config| &it.mss4),
        field("mss6", offset_of!(Config, mss6), |it: &Config| &it.mss6),
        field("tunnel_port", offset_of!(Config, tunnel_port), |it: &Config| &it.tunnel_port),
        field("pad", offset_of!(Config, pad), |it: &Config| &it.pad),
        field("ghost_sets", offset_of!(Config, ghost_sets), |it: &Config| &it.ghost_sets),
    ])
}

fn name_key() -> Record {
    Record::of::<NameKey>([
        field("kind", offset_of!(NameKey, kind), |it: &NameKey| &it.kind),
        field("id", offset_of!(NameKey, id), |it: &NameKey| &it.id),
    ])
}

fn name() -> Record {
    Record::of::<Name>([
        field("length", offset_of!(Name, length), |it: &Name| &it.length),
        field("text", offset_of!(Name, text), |it: &Name| &it.text),
    ])
}
