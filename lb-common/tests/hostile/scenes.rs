//! Any worlds and any frames, made of random bytes.

use std::collections::BTreeMap;

use lb_common::{
    Reason,
    host::{Input, Scene, fuzz},
};

/// Runs, each with a world of its own and as many frames as its bytes make.
const RUNS: u64 = 20_000;
/// Bytes of a run.
const BYTES: usize = 1_000;

/// A small reproducible generator (xorshift64*, Vigna 2016).
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..BYTES).map(|_| next()).collect()
}

#[test]
fn whatever_the_bytes_are_what_must_hold_holds() {
    for seed in 0..RUNS {
        if let Err(what) = fuzz(&bytes(seed)) {
            panic!("seed {seed}: {what}");
        }
    }
}

/// The worlds are worth the time only as long as their frames get everywhere.
#[test]
fn frames_of_random_worlds_reach_every_reason() {
    let mut reached: BTreeMap<Reason, u64> = BTreeMap::new();
    for seed in 0..RUNS {
        let bytes = bytes(seed);
        let mut input = Input::new(&bytes);
        let scene = Scene::new(&mut input);
        while !input.is_empty() {
            let (program, frame) = scene.frame(&mut input);
            let outcome = scene.check(program, &frame).unwrap();
            *reached.entry(outcome.verdict.reason).or_default() += 1;
        }
    }
    // There is always headroom on the host, and every header that is written has been read before.
    let unreachable = [Reason::NoHeadroom, Reason::WriteFailed, Reason::EgressWriteFailed];
    let is_missing = |reason: &&Reason| !reached.contains_key(reason) && !unreachable.contains(reason);
    let missing: Vec<_> = Reason::ALL.iter().filter(is_missing).map(|reason| reason.name()).collect();
    assert!(missing.is_empty(), "never reached: {missing:?}");
}
