//! The only place that touches the kernel's BPF side: maps, programs, links and their pins.

mod error;
pub mod maps;
pub mod names;
mod object;
mod pins;
mod pod;
mod read;
mod slots;
mod uplink;
mod write;

pub use error::Error;
pub use maps::{FamilyMaps, Maps};
pub use object::{Loaded, Sizes, load, load_object};
pub use pins::{DEFAULT_ROOT, Pins};
pub use pod::Pod;
pub use read::read;
pub use slots::Slots;
pub use uplink::{Attached, XdpMode, attach, attached, detach_device};
pub use write::{configure, move_tunnel, set_next_hop, write};
