//! The datapath's world on the host: a frame in a vector, tables in std collections.
//!
//! For tests, for fuzzing, and for explaining what would happen to a packet with the code that does it.

mod build;
mod frame;
mod memory;

pub use build::{FrameSpec, checksums_are_valid};
pub use frame::{Frame, HEADROOM};
pub use memory::{FamilyMemory, Memory, MemoryOf};
