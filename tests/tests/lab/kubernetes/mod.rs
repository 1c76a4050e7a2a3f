//! What Kubernetes' rules say of traffic from outside, on real packets: which Services, which endpoints, who is refused, who
//! is dropped without a word.
//!
//! A rule that only decides which backends there are is tested by the model; here are those that a client notices.

mod api_server;
mod dual_stack;
mod empty;
mod fate;
mod health;
mod hints;
mod kinds;
mod kube_proxy;
mod node_ports;
mod policy;
mod ranges;
mod skipped;
mod slices;
mod terminating;

use crate::support::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        kinds::tests(),
        skipped::tests(),
        slices::tests(),
        terminating::tests(),
        empty::tests(),
        policy::tests(),
        node_ports::tests(),
        ranges::tests(),
        hints::tests(),
        dual_stack::tests(),
        health::tests(),
        kube_proxy::tests(),
        api_server::tests(),
    ]
    .into_iter()
    .flatten()
    .map(|Test { name, run }| Test::new(format!("kubernetes::{name}"), run).without_leftovers())
    .collect()
}
