//! Every input that is kept, taken in once more.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use limpet_hostile::TARGETS;

/// Largest input that is kept.
const MAX_BYTES: u64 = 4096;
/// Most inputs that are kept of one target.
const MAX_INPUTS: usize = 200;

fn corpus(target: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_was_found_once_stays_mended() {
    for target in TARGETS {
        let inputs = corpus(target.name);
        assert!(!inputs.is_empty(), "{} has no inputs", target.name);
        for path in inputs {
            let input = fs::read(&path).unwrap();
            let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
            assert!(outcome.is_ok(), "see above: {} with {}", target.name, path.display());
        }
    }
}

#[test]
fn few_and_small_inputs_are_kept() {
    for target in TARGETS {
        let inputs = corpus(target.name);
        assert!(inputs.len() <= MAX_INPUTS, "{}: {}; minimise them (tests/fuzz/README.md)", target.name, inputs.len());
        for path in inputs {
            let length = fs::metadata(&path).unwrap().len();
            assert!(length <= MAX_BYTES, "{} has {length} bytes", path.display());
        }
    }
}
