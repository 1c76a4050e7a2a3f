//! The same frames through the host's build and through the kernel's programs.

use std::collections::{BTreeMap, HashMap};

use lb_common::{
    Family, Reason,
    host::{Frame, HEADROOM, Memory, check, checksums_are_valid, run},
    layout::{Flow, Rate},
    reason::{Class, Program},
    reject::MAX_PER_SECOND,
};
use lb_userspace::dataplane::{FamilyMaps, Sizes};

use crate::{
    frames::{Random, arriving, leaving},
    kernel::{Kernel, Outcome, SIZES, tcx_action, xdp_action},
    ledger,
    world::{DEVICE, world},
};

/// Frames in one run.
const FRAMES: usize = 1_000_000;
/// How many frames see the same rate of answers, and are counted together.
const TOGETHER: usize = 32;
/// Room for flows: so many that none is pushed out, not from the small maps either.
const FLOWS: u32 = 1 << 20;
/// So that a failure can be looked into again.
const SEED: u64 = 0x6c69_6d70_6574;
/// Metadata that leaves less headroom than the tunnel needs, in bytes.
const METADATA: u32 = 200;

/// Reasons that no frame can reach: every header that is written has been read before, so its place is known to be
/// there. They are counted all the same, should a kernel think otherwise.
const UNREACHABLE: [Reason; 2] = [Reason::WriteFailed, Reason::EgressWriteFailed];

#[test]
fn host_and_kernel_agree_on_every_frame_and_every_reason_is_reached() {
    let mut memory = world();
    let sizes = Sizes { flows: FLOWS, clients: memory.config.ghost_sets, ..SIZES };
    let mut kernel = Kernel::sized(&memory, &sizes);
    let mut random = Random::new(SEED);
    let mut reached: BTreeMap<Reason, u64> = BTreeMap::new();

    for number in 0..FRAMES {
        let leaves = random.below(4) == 0;
        let bytes = if leaves { leaving(&mut random) } else { arriving(&mut random) };
        if number % TOGETHER == 0 {
            set_reject_rate(&mut random, &memory, &mut kernel);
        }
        let program = if leaves { Program::Egress } else { Program::Ingress };
        let expected = run(&memory, program, &mut Frame::new(&bytes, DEVICE));
        let verdict = expected.verdict;
        let (outcome, action) = match program {
            Program::Egress => (kernel.egress(&bytes), tcx_action(verdict.action)),
            Program::Ingress => (kernel.ingress(&bytes), xdp_action(verdict.action)),
        };
        if let Err(what) = check(&memory, program, &bytes, DEVICE, &expected) {
            panic!("frame {number}: {what}: {}", hex(&bytes));
        }
        let expected = Outcome { action, bytes: expected.bytes };
        assert_eq!(outcome, expected, "frame {number} {}: {}", verdict.reason.name(), hex(&bytes));
        *reached.entry(verdict.reason).or_default() += 1;
        if number % TOGETHER == 0 {
            let count = reached.get(&verdict.reason).copied().unwrap_or_default();
            assert_eq!(kernel.count(verdict.reason), count, "count of {}, frame {number}", verdict.reason.name());
        }
    }
    for reason in Reason::ALL {
        assert_eq!(kernel.count(reason), reached.get(&reason).copied().unwrap_or_default(), "{}", reason.name());
    }
    // With time again to answer.
    let rate = Rate { second: u32::MAX, sent: 0 };
    *memory.rejects.borrow_mut() = rate;
    kernel.set_reject_rate(rate);
    no_headroom(&mut memory, &mut kernel, &mut reached);

    let total: u64 = Reason::ALL.iter().map(|reason| kernel.count(*reason)).sum();
    assert_eq!(total, reached.values().sum::<u64>(), "reasons add up to the frames seen");
    let missing: Vec<_> =
        Reason::ALL.iter().filter(|r| !reached.contains_key(r) && !UNREACHABLE.contains(r)).map(|r| r.name()).collect();
    assert!(missing.is_empty(), "never reached: {missing:?}");
    check_flows(&memory.v4.flows, &kernel.maps().v4);
    check_flows(&memory.v6.flows, &kernel.maps().v6);
    check_replies(&memory.v4.replies, &kernel.maps().v4);
    check_replies(&memory.v6.replies, &kernel.maps().v6);
    ledger::check_clients(&memory.v4.affinity, &kernel.maps().v4, memory.now_seconds);
    ledger::check_clients(&memory.v6.affinity, &kernel.maps().v6, memory.now_seconds);
    ledger::check_ghosts(&memory, &kernel);
    ledger::check_breaks(&memory, &mut kernel);
    ledger::check_counts(&memory, &kernel);
}

/// Answers are limited by time, and the kernel's time goes on: so both sides are given a second that never ends, now with
/// answers left in it and now without.
fn set_reject_rate(random: &mut Random, memory: &Memory, kernel: &mut Kernel) {
    let sent = if random.below(4) == 0 { MAX_PER_SECOND } else { 0 };
    let rate = Rate { second: u32::MAX, sent };
    *memory.rejects.borrow_mut() = rate;
    kernel.set_reject_rate(rate);
}

/// A driver that leaves less headroom than the tunnel needs.
fn no_headroom(memory: &mut Memory, kernel: &mut Kernel, reached: &mut BTreeMap<Reason, u64>) {
    let mut random = Random::new(SEED);
    for _ in 0..1_000 {
        let bytes = arriving(&mut random);
        let mut frame = Frame::with_headroom(&bytes, DEVICE, HEADROOM - METADATA as usize);
        let verdict = lb_common::handle(&mut frame, memory);
        let action = kernel.ingress_with_metadata(&bytes, METADATA);
        assert_eq!(action, xdp_action(verdict.action), "{}: {}", verdict.reason.name(), hex(&bytes));
        *reached.entry(verdict.reason).or_default() += 1;
    }
}

/// Both sides remember the same flows.
fn check_flows<F: Family>(host: &[std::cell::RefCell<HashMap<F::FlowKey, Flow>>; 2], maps: &FamilyMaps<F>) {
    for (stage, kernel) in Kernel::flows(maps).into_iter().enumerate() {
        let timeless = |flow: &Flow| Flow { since_seconds: 0, ..*flow };
        let host: HashMap<_, _> = host[stage].borrow().iter().map(|(key, flow)| (*key, timeless(flow))).collect();
        let kernel: HashMap<_, _> = kernel.iter().map(|(key, flow)| (*key, timeless(flow))).collect();
        assert!(host == kernel, "stage {stage}: {} flows on the host, {} in the kernel", host.len(), kernel.len());
    }
}

/// Both sides remember the same sources for replies.
fn check_replies<F: Family>(host: &[std::cell::RefCell<HashMap<F::FlowKey, F::Reply>>; 2], maps: &FamilyMaps<F>) {
    for (stage, kernel) in Kernel::replies(maps).into_iter().enumerate() {
        let kernel: HashMap<_, _> = kernel.into_iter().collect();
        let host = host[stage].borrow();
        assert!(*host == kernel, "stage {stage}: {} replies on the host, {} in the kernel", host.len(), kernel.len());
    }
}

#[test]
fn rewritten_frames_have_valid_checksums() {
    let memory = world();
    let mut random = Random::new(SEED + 1);
    let mut checked = 0;
    for _ in 0..20_000 {
        let bytes = if random.below(3) == 0 { leaving(&mut random) } else { arriving(&mut random) };
        if !checksums_are_valid(&bytes) {
            continue;
        }
        let mut frame = Frame::new(&bytes, DEVICE);
        let arrives = lb_common::handle(&mut frame, &memory);
        let verdict =
            if arrives.reason == Reason::NotAFrontend { lb_common::restore(&mut frame, &memory) } else { arrives };
        let is_rewritten = matches!(verdict.reason.class(), Class::Forward | Class::Answer);
        if is_rewritten && verdict.reason != Reason::Decapsulated {
            assert!(checksums_are_valid(frame.bytes()), "{}: {}", verdict.reason.name(), hex(&bytes));
            checked += 1;
        }
    }
    assert!(checked > 3_000, "only {checked} frames were rewritten");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
