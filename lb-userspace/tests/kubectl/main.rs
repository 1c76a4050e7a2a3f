//! `kubectl limpet` with a `kubectl` of our own in the PATH: what it asks for, what it makes of the answers, and what it
//! says of nodes without one.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod fake;
mod questions;
mod real;
mod trouble;
