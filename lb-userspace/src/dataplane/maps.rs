//! The datapath's maps, typed, as the agent writes them and the command line reads them.

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, lpm_trie::LpmTrie};
use lb_common::{
    Family, Reason, V4, V6,
    layout::{
        Affinity, Backend, BreakCounts, BreakRate, Config, Flow, Frontend, GHOSTS_PER_SET, Ghost, Name, NameKey, Rate,
        ServiceCounts, Sibling, SiblingKey,
    },
};

use super::{Error, Pins, Pod, Slots};

/// All maps that user space reads or writes.
pub struct Maps {
    /// The node's settings.
    pub config: Array<MapData, Pod<Config>>,
    /// Packets by reason, per CPU.
    pub counters: PerCpuArray<MapData, u64>,
    /// All lookup tables.
    pub slots: Slots,
    /// Backends by id.
    pub backends: Array<MapData, Pod<Backend>>,
    /// Names by kind and id.
    pub names: HashMap<MapData, Pod<NameKey>, Pod<Name>>,
    /// For a Service port and another port's backend, its own on the same Pod.
    pub siblings: HashMap<MapData, Pod<SiblingKey>, Pod<Sibling>>,
    /// Shadows of held clients.
    pub ghosts: Array<MapData, Pod<[Ghost; GHOSTS_PER_SET as usize]>>,
    /// How often clients were given another backend, by Service port and reason, per CPU.
    pub breaks: PerCpuArray<MapData, Pod<BreakCounts>>,
    /// What was not told of that, per CPU.
    pub break_rate: PerCpuArray<MapData, Pod<BreakRate>>,
    /// What Service ports took in, by id, per CPU.
    pub service_counts: PerCpuArray<MapData, Pod<ServiceCounts>>,
    /// How many packets may still be answered in place of a Pod, per CPU.
    pub reject_rate: PerCpuArray<MapData, Pod<Rate>>,
    /// The IPv4 maps.
    pub v4: FamilyMaps<V4>,
    /// The IPv6 maps.
    pub v6: FamilyMaps<V6>,
}

/// The maps of one address family.
pub struct FamilyMaps<F: Family> {
    /// Frontends by address, port and protocol.
    pub frontends: HashMap<MapData, Pod<F::FrontendKey>, Pod<Frontend>>,
    /// Who may begin something at a Service port; behind its id, which counts as part of the prefix.
    pub source_ranges: LpmTrie<MapData, Pod<F::SourceRange>, u32>,
    /// Ids of this node's backends by address, port and protocol.
    pub locals: HashMap<MapData, Pod<F::FrontendKey>, u32>,
    /// Ids of other nodes by address.
    pub peers: HashMap<MapData, Pod<F::Address>, u32>,
    /// The way to each node.
    pub next_hops: Array<MapData, Pod<F::NextHop>>,
    /// Flows of more than one packet.
    pub flows: HashMap<MapData, Pod<F::FlowKey>, Pod<Flow>>,
    /// Flows of one packet.
    pub new_flows: HashMap<MapData, Pod<F::FlowKey>, Pod<Flow>>,
    /// Clients that are held.
    pub affinity: HashMap<MapData, Pod<F::AffinityKey>, Pod<Affinity>>,
    /// Clients of which one packet has been seen.
    pub new_affinity: HashMap<MapData, Pod<F::AffinityKey>, Pod<Affinity>>,
    /// What replies must carry, connections of more than one packet.
    pub replies: HashMap<MapData, Pod<F::FlowKey>, Pod<F::Reply>>,
    /// What replies must carry, connections of one packet.
    pub new_replies: HashMap<MapData, Pod<F::FlowKey>, Pod<F::Reply>>,
}

/// Names of the maps that there is one of.
pub const COMMON_NAMES: [&str; 12] = [
    "CONFIG",
    "COUNTERS",
    "SLOTS",
    "BACKENDS",
    "NAMES",
    "SIBLINGS",
    "GHOSTS",
    "BREAKS",
    "BREAK_RATE",
    BREAK_EVENTS,
    "SERVICE_COUNTS",
    "REJECT_RATE",
];
/// The ring buffer of breaks, which the agent alone opens: it has one reader.
pub const BREAK_EVENTS: &str = "BREAK_EVENTS";
/// Names, without the family's digit, of the maps that there are two of.
pub const FAMILY_NAMES: [&str; 11] = [
    "FRONTENDS",
    "SOURCE_RANGES",
    "LOCALS",
    "PEERS",
    "NEXT_HOPS",
    "FLOWS",
    "NEW_FLOWS",
    "AFFINITY",
    "NEW_AFFINITY",
    "REPLIES",
    "NEW_REPLIES",
];

/// The names of all maps.
pub fn names() -> impl Iterator<Item = String> {
    let family = FAMILY_NAMES.iter().flat_map(|name| [format!("{name}4"), format!("{name}6")]);
    COMMON_NAMES.iter().map(|name| (*name).to_owned()).chain(family)
}

impl Maps {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// When there are none, they may not be opened, or they are not of the layout that this build knows.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        if !pins.exist()? {
            return Err(Error::NothingPinned { path: pins.root().to_owned() });
        }
        let directory = pins.maps();
        Self::from_source(|name| {
            let map_error = |source| Error::map(name, source);
            Map::from_map_data(MapData::from_pin(directory.join(name)).map_err(map_error)?).map_err(map_error)
        })
    }

    /// The maps that `source` gives out by name.
    ///
    /// # Errors
    /// Those of `source`, and when a map is not of the layout that this build knows.
    pub fn from_source(mut source: impl FnMut(&str) -> Result<Map, Error>) -> Result<Self, Error> {
        let counters: PerCpuArray<MapData, u64> = typed("COUNTERS", &mut source)?;
        if (counters.len() as usize) < Reason::COUNT {
            return Err(Error::Layout { name: "COUNTERS".to_owned() });
        }
        Ok(Self {
            config: typed("CONFIG", &mut source)?,
            counters,
            slots: Slots::map(source("SLOTS")?)?,
            backends: typed("BACKENDS", &mut source)?,
            names: typed("NAMES", &mut source)?,
            siblings: typed("SIBLINGS", &mut source)?,
            ghosts: typed("GHOSTS", &mut source)?,
            breaks: typed("BREAKS", &mut source)?,
            break_rate: typed("BREAK_RATE", &mut source)?,
            service_counts: typed("SERVICE_COUNTS", &mut source)?,
            reject_rate: typed("REJECT_RATE", &mut source)?,
            v4: FamilyMaps::from_source(4, &mut source)?,
            v6: FamilyMaps::from_source(6, &mut source)?,
        })
    }

    /// What a Service port took in on this node, since its id was given to it; nothing for an id that nobody can have.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn service_counts(&self, service: u32) -> Result<ServiceCounts, Error> {
        if service >= self.service_counts.len() {
            return Ok(ServiceCounts::default());
        }
        let cpus = self.service_counts.get(&service, 0).map_err(|source| Error::map("SERVICE_COUNTS", source))?;
        Ok(cpus.iter().fold(ServiceCounts::default(), |sum, counts| sum.and(counts.0)))
    }
}

impl<F: Family> FamilyMaps<F> {
    fn from_source(digit: u8, source: &mut impl FnMut(&str) -> Result<Map, Error>) -> Result<Self, Error> {
        let name = |name: &str| format!("{name}{digit}");
        Ok(Self {
            frontends: typed(&name("FRONTENDS"), source)?,
            source_ranges: typed(&name("SOURCE_RANGES"), source)?,
            locals: typed(&name("LOCALS"), source)?,
            peers: typed(&name("PEERS"), source)?,
            next_hops: typed(&name("NEXT_HOPS"), source)?,
            flows: typed(&name("FLOWS"), source)?,
            new_flows: typed(&name("NEW_FLOWS"), source)?,
            affinity: typed(&name("AFFINITY"), source)?,
            new_affinity: typed(&name("NEW_AFFINITY"), source)?,
            replies: typed(&name("REPLIES"), source)?,
            new_replies: typed(&name("NEW_REPLIES"), source)?,
        })
    }
}

fn typed<M>(name: &str, source: &mut impl FnMut(&str) -> Result<Map, Error>) -> Result<M, Error>
where
    M: TryFrom<Map, Error = aya::maps::MapError>,
{
    M::try_from(source(name)?).map_err(|source| Error::map(name, source))
}
