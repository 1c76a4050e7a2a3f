//! The datapath's world on the host: a frame in a vector, tables in std collections.
//!
//! For tests, for fuzzing, and for explaining what would happen to a packet with the code that does it. [`Scene`] makes a small
//! world and frames around it of any bytes; [`check`] says what must hold of each frame.

mod build;
mod check;
mod dissect;
mod frame;
mod input;
mod memory;
mod scene;
mod tunnelled;

pub use build::FrameSpec;
pub use check::{Outcome, check, run, run_and_check};
pub use dissect::{Dissected, checksums_are_valid, dissect};
pub use frame::{Frame, HEADROOM};
pub use input::Input;
pub use memory::{FamilyMemory, Memory, MemoryOf, Recycled, Written};
pub use scene::{DEVICE, Scene, fuzz};
