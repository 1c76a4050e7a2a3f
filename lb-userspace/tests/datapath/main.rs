//! The datapath twice: what the host's build decides and what the kernel's program decides must be the same, byte for
//! byte. Needs root, for the kernel's half.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

mod clients;
mod differential;
mod frames;
#[path = "../support/install.rs"]
mod install;
mod kernel;
mod known_clients;
mod ledger;
mod world;
