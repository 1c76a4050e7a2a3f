//! Running a program many times on one frame, and making sure that it did what it should.

use std::{env, path::PathBuf};

use aya::{
    maps::{Array, MapData},
    programs::{TestRun, TestRunOptions, TestRunResult},
};
use lb_common::{
    Action, Verdict,
    bench::{Bench, HEADER_BYTES},
    host::{Frame, Memory},
};
use lb_userspace::dataplane::{Loaded, Pod, Sizes, Switches, load_object};

use crate::{
    install::install,
    report::{Floors, Measured},
    rows::{CLIENTS, Path, Row},
    world::{DEVICE, Shot, introduction, memory, shot},
};

/// Repeats that one measurement takes: enough that setting up a test run, some microseconds, does not show.
const REPEATS: u32 = 1_000_000;
/// Repeats by which caches and branch predictors have settled.
const WARM_UP: u32 = 20_000;
/// Flows differ by this factor: odd, so that all of them come, and large, so that neighbours are far apart.
const STRIDE: u32 = 0x9e37_79b1;
/// Flows that never come twice: more than any row has repeats. They leave alone the highest bits of the client's
/// address: by the first they differ from known ones, and with all three each is a host's.
const NEWCOMERS: u32 = 1 << 29;
/// Room in the flow maps: all flows that are measured with.
const FLOWS: u32 = 1 << 21;

/// The programs of the bench, with the tables of one row.
pub(crate) struct Rig {
    loaded: Loaded,
    bench: Array<MapData, Pod<Bench>>,
    frame: Vec<u8>,
}

/// A program of the bench.
#[derive(Clone, Copy)]
enum Program {
    Xdp(&'static str),
    Classifier(&'static str),
}

impl Rig {
    /// What the programs around nothing cost.
    pub(crate) fn floors(runs: u16) -> Floors {
        let row = crate::rows::all().next().unwrap_or_else(|| unreachable!("there are rows"));
        let mut rig = Self::with(&memory(&row));
        let mut floor = |program: Program, path: Path| {
            rig.aim(&shot(&Row { path, ..row }), 1, 0);
            rig.median(program, runs)
        };
        Floors {
            floor: floor(Program::Xdp("bench_floor"), Path::NotOurs),
            restored: floor(Program::Xdp("bench_restore"), Path::FlowLocal),
            grown: floor(Program::Xdp("bench_restore_grown"), Path::FlowRemote),
            shrunk: floor(Program::Xdp("bench_restore_shrunk"), Path::Decapsulate),
            egress: floor(Program::Classifier("bench_restore_egress"), Path::Reply),
        }
    }

    /// What one row costs.
    pub(crate) fn measure(row: &Row, runs: u16) -> Measured {
        let memory = memory(row);
        let mut rig = Self::with(&memory);
        if let Some(introduction) = introduction(row) {
            rig.aim(&introduction, row.flows, 1);
            rig.run(Program::Xdp("bench_ingress"), 2 * row.flows);
        }
        let shot = shot(row);
        let program = match row.path {
            Path::NotOurs => Program::Xdp("bench_ingress_bare"),
            Path::Reply => Program::Classifier("bench_egress"),
            Path::FlowLocal
            | Path::FlowRemote
            | Path::NewFlow
            | Path::HeldClient
            | Path::SynFlood
            | Path::SourceRange
            | Path::Decapsulate => Program::Xdp("bench_ingress"),
        };
        rig.aim(&shot, 1, 0);
        rig.check_against_host(row, program, &shot, memory);
        let flows =
            if matches!(row.path, Path::NewFlow | Path::SynFlood | Path::SourceRange) { NEWCOMERS } else { row.flows };
        rig.aim(&shot, flows, 0);
        rig.run(program, WARM_UP.max(row.flows));
        let before = rig.count(row);
        let ns = rig.median(program, runs);
        let counted = rig.count(row) - before;
        let repeats = u64::from(runs) * u64::from(REPEATS) + u64::from(WARM_UP);
        assert_eq!(counted, repeats, "{} {}: repeats that ended with {:?}", row.name(), row.family(), row.reason());
        Measured { row: *row, ns }
    }

    fn with(memory: &Memory) -> Self {
        let path = env::var_os("LIMPET_BENCH_BPF_OBJECT").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/limpet-bench-bpf.o"),
            PathBuf::from,
        );
        let object = std::fs::read(&path).unwrap_or_else(|error| {
            panic!("cannot read {}: {error}; run `cargo xtask bench datapath`", path.display())
        });
        let sizes = Sizes {
            flows: FLOWS,
            clients: CLIENTS,
            slots: memory.slots.len() as u32,
            backends: memory.backends.len() as u32,
            services: 16,
            frontends: 16_384,
            source_ranges: 1_024,
            nodes: 16,
        };
        let mut loaded = load_object(&object, &sizes, None, Switches::default())
            .unwrap_or_else(|error| panic!("the bench needs root: {:#}", anyhow::Error::from(error)));
        install(memory, &mut loaded.maps).unwrap();
        let bench = loaded.ebpf().take_map("BENCH").unwrap();
        Self { loaded, bench: Array::try_from(bench).unwrap(), frame: Vec::new() }
    }

    /// Puts a frame in place, to be varied over a number of flows (a power of two), each of which comes 2^`turns` times
    /// in a row.
    fn aim(&mut self, shot: &Shot, flows: u32, turns: u32) {
        let (header, _) = shot.frame.split_at(HEADER_BYTES);
        let mut words = [0; HEADER_BYTES / 8];
        for (word, bytes) in words.iter_mut().zip(header.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().unwrap());
        }
        let at = shot.client_offset as usize;
        let client = u32::from_ne_bytes(shot.frame[at..at + 4].try_into().unwrap());
        let bench = Bench {
            header: words,
            length: shot.frame.len() as u32,
            client_offset: shot.client_offset,
            client,
            flow_mask: flows - 1,
            turn: 0,
            turns_per_flow_log2: turns,
            stride: STRIDE,
            pad: 0,
        };
        self.bench.set(0, Pod(bench), 0).unwrap();
        self.frame.clone_from(&shot.frame);
    }

    /// One run must do to the frame what the host's build does to it, once its flow is known.
    fn check_against_host(&mut self, row: &Row, program: Program, shot: &Shot, memory: Memory) {
        let mut expected = Frame::new(&shot.frame, DEVICE);
        let verdict = match introduction(row) {
            Some(introduction) => {
                lb_common::handle(&mut Frame::new(&introduction.frame, DEVICE), &memory);
                lb_common::handle(&mut Frame::new(&introduction.frame, DEVICE), &memory);
                decide(row, &mut expected, &memory)
            }
            None => decide(row, &mut expected, &memory),
        };
        let (action, bytes) = self.run_once(program);
        assert_eq!(action, action_of(program, verdict.action), "{} {}: action", row.name(), row.family());
        assert_eq!(bytes, expected.bytes(), "{} {}: bytes", row.name(), row.family());
    }

    /// Nanoseconds per repeat: the median of some measurements.
    ///
    /// By the kernel's own clock, in whole nanoseconds: what a caller measures includes that the kernel waits for other
    /// CPUs before and after an XDP test run, some milliseconds.
    fn median(&mut self, program: Program, runs: u16) -> f64 {
        self.run(program, WARM_UP);
        let mut measured: Vec<f64> = (0..runs).map(|_| self.run(program, REPEATS)).collect();
        measured.sort_by(f64::total_cmp);
        measured[measured.len() / 2]
    }

    /// Nanoseconds per repeat of one measurement.
    fn run(&mut self, program: Program, repeat: u32) -> f64 {
        let frame = std::mem::take(&mut self.frame);
        let result = self.test_run(program, &frame, None, repeat);
        self.frame = frame;
        result.duration.as_nanos() as f64
    }

    /// Action and bytes of a single run.
    fn run_once(&mut self, program: Program) -> (u32, Vec<u8>) {
        let frame = std::mem::take(&mut self.frame);
        let mut bytes = vec![0; frame.len() + 256];
        let result = self.test_run(program, &frame, Some(&mut bytes), 1);
        bytes.truncate(result.data_size_out as usize);
        self.frame = frame;
        (result.return_value, bytes)
    }

    fn test_run(&mut self, program: Program, frame: &[u8], out: Option<&mut [u8]>, repeat: u32) -> TestRunResult {
        let options = TestRunOptions { data_in: Some(frame), data_out: out, repeat, ..TestRunOptions::default() };
        let result = match program {
            Program::Xdp(name) => self.loaded.xdp(name).unwrap().test_run(options),
            Program::Classifier(name) => self.loaded.classifier(name).unwrap().test_run(options),
        };
        result.unwrap_or_else(|error| panic!("the kernel refuses a test run: {error}"))
    }

    fn count(&self, row: &Row) -> u64 {
        self.loaded.maps.counters.get(&row.reason().index(), 0).unwrap().iter().sum()
    }
}

fn decide(row: &Row, frame: &mut Frame, memory: &Memory) -> Verdict {
    match row.path {
        Path::Reply => lb_common::restore(frame, memory),
        Path::NotOurs
        | Path::FlowLocal
        | Path::FlowRemote
        | Path::NewFlow
        | Path::HeldClient
        | Path::SynFlood
        | Path::SourceRange
        | Path::Decapsulate => lb_common::handle(frame, memory),
    }
}

/// As in include/uapi/linux/bpf.h.
fn action_of(program: Program, action: Action) -> u32 {
    match (program, action) {
        (Program::Xdp(_), Action::Drop) => 1,
        (Program::Xdp(_), Action::Pass) => 2,
        (Program::Xdp(_), Action::Transmit) => 3,
        (Program::Xdp(_), Action::Redirect(_)) => 4,
        (Program::Classifier(_), Action::Pass) => u32::MAX,
        (Program::Classifier(_), Action::Drop | Action::Transmit | Action::Redirect(_)) => 2,
    }
}
