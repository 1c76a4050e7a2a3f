//! `sessionAffinity: ClientIP` for what comes from outside: what is promised to clients, on real packets.
//!
//! Nearly all tests let Pods join after the clients came. The table alone would then send most of them elsewhere, so
//! that whoever stays does so because it is remembered. Clients use their second address and the following ones: with
//! the first one the tests wait until a Service is there.

mod agents;
mod breaks;
mod commands;
mod families;
mod kinds;
mod leaving;
mod local;
mod nodes;
mod ports;
mod reuse;
mod scale;
mod service;
mod sticky;
mod switched;
mod time;
mod timeout;
mod udp;
mod visitors;

use crate::support::Test;

/// So long that nothing in these tests expires.
const LONG_SECONDS: u32 = 10_800;

pub(crate) fn tests() -> Vec<Test> {
    [
        sticky::tests(),
        kinds::tests(),
        ports::tests(),
        families::tests(),
        udp::tests(),
        timeout::tests(),
        switched::tests(),
        local::tests(),
        nodes::tests(),
        scale::tests(),
        leaving::tests(),
        reuse::tests(),
        breaks::tests(),
        commands::tests(),
        agents::tests(),
    ]
    .into_iter()
    .flatten()
    .map(|Test { name, run }| Test::new(format!("affinity::{name}"), run).without_leftovers())
    .collect()
}
