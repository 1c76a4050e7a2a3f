//! From what is programmed to what should be: an ordered list of writes.
//!
//! [`plan`] is pure: ids come from what is applied, time is an argument. It writes what is new
//! first (names and nodes, backends, local backends, siblings, tables, source ranges, frontends) and takes away
//! last, but for what has been gone for long, so that after every prefix of the list nothing points
//! at something that is missing. An agent that stops in the middle leaves a sound state, and
//! planning again from it gives the rest.
//!
//! A plan looks at everything, or, after a plan that left nothing to do ([`Settled`]), at what has changed since: the result
//! is the same.
//!
//! This module depends on `model` and never on the kernel.

mod applied;
mod by_id;
mod extents;
mod frontends;
mod full;
mod ids;
mod locals;
mod planner;
mod pools;
mod ranges;
mod removals;
mod settled;
mod siblings;
#[cfg(test)]
mod tests;
mod types;
mod wanted;

pub use applied::{Applied, AppliedBackend, AppliedNode, AppliedTable};
pub use planner::{plan, plan_after};
pub use settled::Settled;
pub use types::{
    BackendRecord, Extent, FrontendAffinity, FrontendKey, FrontendValue, Limits, Plan, RecordState, TablePool, Write,
};

/// Seconds for which the id of a backend, Service or node that was taken away is not given to
/// another: a flow may remember it. For so long a backend of this node is found by its address,
/// too: the last packets of its connections are on their way.
pub const GRACE_SECONDS: u64 = 60;

/// Seconds for which the slots of a table that was replaced are left as they are: a packet in
/// flight may be reading them.
pub const TABLE_GRACE_SECONDS: u64 = 5;
