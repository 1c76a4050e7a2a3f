//! The BPF object: its maps created or found again, its programs loaded.

use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, MapInfo, RingBuf},
    programs::{Program, SchedClassifier, Xdp},
};
use lb_common::layout::{BreakEvent, MAX_BACKEND_ID, SLOTS_PER_CHUNK};

use super::{Error, Maps, Pins, maps};
use crate::fail_point;

/// The object that the build made of `lb-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("LIMPET_BPF_OBJECT"));
/// Name of the XDP program.
const INGRESS: &str = "limpet_ingress";
/// Name of the tcx program.
const EGRESS: &str = "limpet_egress";
/// A flow of one packet needs its place for a round trip only: one for every this many established ones.
const FLOWS_PER_NEW_FLOW: u32 = 8;
/// Elements of an LRU map that the kernel may hold back per CPU, twice (kernel/bpf/bpf_lru_list.c: LOCAL_FREE_TARGET).
const LRU_RESERVE_PER_CPU: u32 = 256;

/// Most bytes of breaks that wait for the agent, some 16,000 of them.
const MAX_BREAK_EVENT_BYTES: u32 = 1 << 20;
/// Bytes of one of them, with the kernel's header.
const BREAK_EVENT_BYTES: u32 = size_of::<BreakEvent>() as u32 + 8;
/// Pairs of backends on one Pod, for each backend: a Service of five ports needs four.
const SIBLINGS_PER_BACKEND: u32 = 4;

/// This node's own end of the tunnel is found among the frontends; while its address changes, there are two.
const TUNNEL_ENDS: u32 = 2;

/// How much the maps have room for. What happens when one is full stands beside it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Sizes {
    /// Flows of each address family; the one unused for longest is forgotten.
    pub flows: u32,
    /// Clients that are held, of each address family; the one unused for longest is forgotten.
    pub clients: u32,
    /// Slots of all lookup tables together; a Service that finds no room keeps the table that it had.
    pub slots: u32,
    /// Backends; a Service that finds no room keeps those that it had.
    pub backends: u32,
    /// Service ports; one that finds no room is not served.
    pub services: u32,
    /// Frontends of both address families together; one that finds no room is not served.
    pub frontends: u32,
    /// Source ranges of both address families together; a Service port that finds no room keeps those that it had.
    pub source_ranges: u32,
    /// Nodes; backends on one that finds no room are not used.
    pub nodes: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            flows: 524_288,
            clients: 524_288,
            slots: 16_777_216,
            backends: 65_536,
            services: 16_384,
            frontends: 65_536,
            source_ranges: 65_536,
            nodes: 8_192,
        }
    }
}

impl Sizes {
    /// Pairs of backends on one Pod.
    pub fn siblings(&self) -> u32 {
        self.backends.saturating_mul(SIBLINGS_PER_BACKEND)
    }

    /// How many elements the map with this name has.
    pub(super) fn elements(&self, name: &str) -> u32 {
        let reserve = u32::try_from(aya::util::nr_cpus().unwrap_or(1)).unwrap_or(1).saturating_mul(LRU_RESERVE_PER_CPU);
        match name.trim_end_matches(['4', '6']) {
            "SLOTS" => self.slots.div_ceil(SLOTS_PER_CHUNK),
            "BACKENDS" => self.backends.min(MAX_BACKEND_ID),
            "FRONTENDS" => self.frontends.saturating_add(TUNNEL_ENDS),
            "SOURCE_RANGES" => self.source_ranges,
            "LOCALS" => self.backends,
            "PEERS" | "NEXT_HOPS" => self.nodes,
            "NAMES" => self.services.saturating_add(self.backends).saturating_add(self.nodes),
            "FLOWS" | "REPLIES" => self.flows.saturating_add(reserve),
            "NEW_FLOWS" | "NEW_REPLIES" => (self.flows / FLOWS_PER_NEW_FLOW).saturating_add(reserve),
            "AFFINITY" => self.clients.saturating_add(reserve),
            "NEW_AFFINITY" => (self.clients / FLOWS_PER_NEW_FLOW).saturating_add(reserve),
            // Four ghosts in each, for the clients of both families: twice as many as there can be clients.
            "GHOSTS" => self.clients,
            "SIBLINGS" => self.siblings(),
            "BREAKS" | "SERVICE_COUNTS" => self.services,
            maps::BREAK_EVENTS => break_event_bytes(self.clients),
            "COUNTERS" => lb_common::Reason::COUNT as u32,
            _ => 1,
        }
        .max(1)
    }
}

/// Room for a break of every client, as far as the most bytes go. The kernel takes powers of two, and whole pages.
fn break_event_bytes(clients: u32) -> u32 {
    // SAFETY: takes a number and returns one; -1, for what the system does not know, is no page's size.
    let page = u32::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(MAX_BREAK_EVENT_BYTES);
    clients.saturating_mul(BREAK_EVENT_BYTES).min(MAX_BREAK_EVENT_BYTES).max(page).next_power_of_two()
}

/// The programs, loaded, and their maps.
pub struct Loaded {
    /// The maps.
    pub maps: Maps,
    ebpf: Ebpf,
}

/// What the programs are built to do, while they are loaded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Switches {
    /// Whether every dropped packet is logged.
    pub log_drops: bool,
    /// Whether flows, replies and clients of one packet are kept apart from the others. For measurements.
    pub flood_guard: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self { log_drops: false, flood_guard: true }
    }
}

/// Loads the programs of this build; with `pins`, their maps are found again or created there.
///
/// # Errors
/// When the kernel refuses, or pinned maps are of another size or layout.
pub fn load(sizes: &Sizes, pins: Option<&Pins>, switches: Switches) -> Result<Loaded, Error> {
    load_object(OBJECT, sizes, pins, switches)
}

/// Loads another object with the same maps, such as the bench's.
///
/// # Errors
/// As [`load`].
pub fn load_object(object: &[u8], sizes: &Sizes, pins: Option<&Pins>, switches: Switches) -> Result<Loaded, Error> {
    let names: Vec<String> = maps::names().collect();
    let mut loader = EbpfLoader::new();
    for name in &names {
        loader.map_max_entries(name, sizes.elements(name));
    }
    if let Some(pins) = pins {
        pins.create()?;
        for name in &names {
            check_size(pins, name, sizes.elements(name))?;
            loader.map_pin_path(name, pins.maps().join(name));
        }
    }
    let (log_drops, flood_guard) = (u8::from(switches.log_drops), u8::from(switches.flood_guard));
    loader.override_global("LOG_DROPS", &log_drops, false);
    loader.override_global("FLOOD_GUARD", &flood_guard, false);
    fail_point::pass("load");
    let mut ebpf = loader.load(object).map_err(|source| Error::Load { source: Box::new(source) })?;
    fail_point::pass("load");
    let maps = Maps::from_source(|name| ebpf.take_map(name).ok_or_else(|| Error::Layout { name: name.to_owned() }))?;
    Ok(Loaded { maps, ebpf })
}

fn check_size(pins: &Pins, name: &str, wanted: u32) -> Result<(), Error> {
    let path = pins.maps().join(name);
    if !path.exists() {
        return Ok(());
    }
    let pinned = MapInfo::from_pin(&path).map_err(|source| Error::map(name, source))?.max_entries();
    if pinned == wanted { Ok(()) } else { Err(Error::Size { name: name.to_owned(), pinned, wanted }) }
}

impl Loaded {
    /// The XDP program, in the kernel.
    ///
    /// # Errors
    /// When the verifier refuses it.
    pub fn ingress(&mut self) -> Result<&mut Xdp, Error> {
        self.xdp(INGRESS)
    }

    /// An XDP program by its name, in the kernel.
    ///
    /// # Errors
    /// When the object has none of that name, or the verifier refuses it.
    pub fn xdp(&mut self, name: &'static str) -> Result<&mut Xdp, Error> {
        let program_error = |source| Error::Program { name, source: Box::new(source) };
        let program: &mut Xdp = self.program(name)?.try_into().map_err(program_error)?;
        if program.fd().is_err() {
            program.load().map_err(program_error)?;
        }
        Ok(program)
    }

    /// The tcx program, in the kernel.
    ///
    /// # Errors
    /// When the verifier refuses it.
    pub fn egress(&mut self) -> Result<&mut SchedClassifier, Error> {
        self.classifier(EGRESS)
    }

    /// A tcx program by its name, in the kernel.
    ///
    /// # Errors
    /// When the object has none of that name, or the verifier refuses it.
    pub fn classifier(&mut self, name: &'static str) -> Result<&mut SchedClassifier, Error> {
        let program_error = |source| Error::Program { name, source: Box::new(source) };
        let program: &mut SchedClassifier = self.program(name)?.try_into().map_err(program_error)?;
        if program.fd().is_err() {
            program.load().map_err(program_error)?;
        }
        Ok(program)
    }

    /// The ring buffer of breaks. It can be taken once.
    ///
    /// # Errors
    /// When it was taken, or the kernel refuses.
    pub fn take_break_events(&mut self) -> Result<RingBuf<MapData>, Error> {
        let name = maps::BREAK_EVENTS;
        let map = self.ebpf.take_map(name).ok_or(Error::Layout { name: name.to_owned() })?;
        RingBuf::try_from(map).map_err(|source| Error::map(name, source))
    }

    /// The whole object, for what is in it beside the datapath: the log, a bench's own maps.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    fn program(&mut self, name: &'static str) -> Result<&mut Program, Error> {
        self.ebpf.program_mut(name).ok_or(Error::Layout { name: name.to_owned() })
    }
}
