//! The datapath twice: what the host's build decides and what the kernel's program decides must be the same, byte for
//! byte. Needs root, for the kernel's half.

mod differential;
mod frames;
mod kernel;
mod world;
