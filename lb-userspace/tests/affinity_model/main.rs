//! Random histories of a cluster through the model, the planner and the datapath, beside a plain statement of what affinity
//! means.
//!
//! Objects become writes by the agent's own code, writes become tables on the host, packets go through
//! [`lb_common::handle`]. After each packet everything is compared with [`contract::Contract`], which shares no code with
//! what it checks but the hash and the lookup tables.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

mod cluster;
mod contract;
mod history;
mod node;
mod ops;

use std::{cell::RefCell, collections::BTreeMap};

use lb_common::BreakReason;
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{
    history::History,
    ops::{Op, ops},
};

/// Histories in a run, for each family; `PROPTEST_CASES` asks for more.
const HISTORIES: u32 = 1_500;

/// The steps of a history; some are two packets, or a change with all its writes. A failing history loses those that do not
/// matter to none.
fn steps() -> impl Strategy<Value = Vec<Option<Op>>> {
    prop::collection::vec(prop::option::weighted(0.999, ops()), 60..100)
}

#[test]
fn histories_go_as_the_contract_says_ipv4() {
    run(false);
}

#[test]
fn histories_go_as_the_contract_says_ipv6() {
    run(true);
}

fn run(is_v6: bool) {
    let default = ProptestConfig::default();
    let cases = default.cases.max(HISTORIES);
    let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..default });
    let told: RefCell<BTreeMap<BreakReason, u64>> = RefCell::default();
    let outcome = runner.run(&steps(), |ops| {
        let mut history = History::new(is_v6);
        for op in ops.iter().flatten() {
            history.step(op);
        }
        for (reason, count) in history.finish() {
            *told.borrow_mut().entry(reason).or_default() += count;
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let told = told.into_inner();
    println!("{cases} histories told {told:?}");
    for reason in BreakReason::ALL {
        assert!(told.get(&reason).is_some_and(|count| *count >= 5), "too few were {}: {told:?}", reason.name());
    }
}
