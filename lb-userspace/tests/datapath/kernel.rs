//! The kernel's half: the real programs, with the tables of a host world in their maps.

use aya::{
    maps::PerCpuValues,
    programs::{TestRun, TestRunAttrs, TestRunOptions},
};
use lb_common::{
    Action, Family, Reason,
    host::Memory,
    layout::{Affinity, BreakCounts, BreakEvent, Rate},
};
use lb_userspace::dataplane::{FamilyMaps, Loaded, Pod, Sizes, Switches, load};
use zerocopy::FromBytes;

use crate::install::install;

/// Room for what the tunnel adds, in bytes.
const GROWTH: usize = 256;

/// Sizes of maps in which nothing is pushed out.
pub(crate) const SIZES: Sizes = Sizes {
    flows: 65_536,
    clients: 65_536,
    slots: 65_536,
    backends: 256,
    services: 64,
    frontends: 64,
    source_ranges: 64,
    nodes: 16,
};

/// The programs, loaded without pins.
pub(crate) struct Kernel {
    loaded: Loaded,
}

/// What became of a frame.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) action: u32,
    pub(crate) bytes: Vec<u8>,
}

impl Kernel {
    /// Loads the programs and copies `memory` into their maps.
    pub(crate) fn with(memory: &Memory) -> Self {
        let sizes = Sizes { clients: memory.config.ghost_sets, ..SIZES };
        Self::sized(memory, &sizes)
    }

    /// The same, with maps of these sizes.
    pub(crate) fn sized(memory: &Memory, sizes: &Sizes) -> Self {
        let mut loaded = load(sizes, None, Switches::default()).unwrap_or_else(|error| {
            panic!("this test needs root and a kernel that loads the programs: {error:?}");
        });
        install(memory, &mut loaded.maps).unwrap();
        Self { loaded }
    }

    /// Runs the XDP program on a frame.
    pub(crate) fn ingress(&mut self, frame: &[u8]) -> Outcome {
        let mut data_out = vec![0; frame.len() + GROWTH];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut data_out),
            repeat: 1,
            attrs: TestRunAttrs::new(),
            ..TestRunOptions::default()
        };
        let result = self.loaded.ingress().unwrap().test_run(options).unwrap();
        data_out.truncate(result.data_size_out as usize);
        Outcome { action: result.return_value, bytes: data_out }
    }

    /// Runs the XDP program on a frame that has `metadata` bytes of its headroom taken; returns the action.
    pub(crate) fn ingress_with_metadata(&mut self, frame: &[u8], metadata: u32) -> u32 {
        let data: Vec<u8> = std::iter::repeat_n(0, metadata as usize).chain(frame.iter().copied()).collect();
        // struct xdp_md (include/uapi/linux/bpf.h): data, data_end, data_meta, ingress_ifindex, rx_queue, egress_ifindex.
        let context: Vec<u8> =
            [metadata, data.len() as u32, 0, 0, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        let options =
            TestRunOptions { data_in: Some(&data), ctx_in: Some(&context), repeat: 1, ..TestRunOptions::default() };
        self.loaded.ingress().unwrap().test_run(options).unwrap().return_value
    }

    /// Runs the tcx program on a packet.
    pub(crate) fn egress(&mut self, frame: &[u8]) -> Outcome {
        let mut data_out = vec![0; frame.len() + GROWTH];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut data_out),
            repeat: 1,
            ..TestRunOptions::default()
        };
        let result = self.loaded.egress().unwrap().test_run(options).unwrap();
        data_out.truncate(result.data_size_out as usize);
        Outcome { action: result.return_value, bytes: data_out }
    }

    /// Packets counted for a reason.
    pub(crate) fn count(&self, reason: Reason) -> u64 {
        self.loaded.maps.counters.get(&reason.index(), 0).unwrap().iter().sum()
    }

    /// The flows of a family, as in a host world.
    pub(crate) fn flows<F: Family>(maps: &FamilyMaps<F>) -> [Vec<(F::FlowKey, lb_common::layout::Flow)>; 2] {
        [&maps.new_flows, &maps.flows]
            .map(|map| map.iter().map(|entry| entry.map(|(key, flow)| (key.0, flow.0)).unwrap()).collect())
    }

    /// The sources for replies of a family, as in a host world.
    pub(crate) fn replies<F: Family>(maps: &FamilyMaps<F>) -> [Vec<(F::FlowKey, F::Reply)>; 2] {
        [&maps.new_replies, &maps.replies]
            .map(|map| map.iter().map(|entry| entry.map(|(key, reply)| (key.0, reply.0)).unwrap()).collect())
    }

    /// The clients of a family, as in a host world.
    pub(crate) fn clients<F: Family>(maps: &FamilyMaps<F>) -> [Vec<(F::AffinityKey, Affinity)>; 2] {
        [&maps.new_affinity, &maps.affinity]
            .map(|map| map.iter().map(|entry| entry.map(|(key, client)| (key.0, client.0)).unwrap()).collect())
    }

    /// How often clients of a Service port were given another backend, by reason.
    pub(crate) fn breaks(&self, service: u32) -> BreakCounts {
        let mut sums = BreakCounts::default();
        for counts in self.loaded.maps.breaks.get(&service, 0).unwrap().iter() {
            for (sum, count) in sums.iter_mut().zip(counts.0) {
                *sum += count;
            }
        }
        sums
    }

    /// The events that wait in the ring buffer, and how many were not sent. Once.
    pub(crate) fn take_events(&mut self) -> (Vec<BreakEvent>, u64) {
        let mut ring = self.loaded.take_break_events().unwrap();
        let mut events = Vec::new();
        while let Some(item) = ring.next() {
            events.push(BreakEvent::read_from_bytes(&item).unwrap());
        }
        let lost = self.loaded.maps.break_rate.get(&0, 0).unwrap().iter().map(|rate| rate.0.lost).sum();
        (events, lost)
    }

    /// Sets how many packets have been answered, on all CPUs.
    pub(crate) fn set_reject_rate(&mut self, rate: Rate) {
        let rates = PerCpuValues::try_from(vec![Pod(rate); aya::util::nr_cpus().unwrap()]).unwrap();
        self.loaded.maps.reject_rate.set(0, rates, 0).unwrap();
    }

    /// All maps.
    pub(crate) fn maps(&self) -> &lb_userspace::dataplane::Maps {
        &self.loaded.maps
    }

    /// Copies the tables of a changed world into the maps.
    pub(crate) fn update(&mut self, memory: &Memory) {
        install(memory, &mut self.loaded.maps).unwrap();
    }
}

/// What XDP returns for an action (`enum xdp_action`, include/uapi/linux/bpf.h).
pub(crate) fn xdp_action(action: Action) -> u32 {
    match action {
        Action::Drop => 1,
        Action::Pass => 2,
        Action::Transmit => 3,
        Action::Redirect(_) => 4,
    }
}

/// What tcx returns for an action (`enum tcx_action_base`, include/uapi/linux/bpf.h).
pub(crate) fn tcx_action(action: Action) -> u32 {
    match action {
        Action::Pass => u32::MAX,
        Action::Drop | Action::Transmit | Action::Redirect(_) => 2,
    }
}
