//! Clients that stay: what the datapath does for `sessionAffinity: ClientIP`, packet by packet, on the host.
//!
//! Every test runs for both address families, in a [`world::World`] whose lookup tables move most clients with every change,
//! so that only what is remembered holds them.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

mod agreement;
mod expiry;
mod flood;
mod ghosts;
mod refresh;
mod sharing;
mod states;
mod sticky;
mod world;
