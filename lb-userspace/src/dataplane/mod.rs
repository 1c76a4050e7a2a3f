//! The only place that touches the kernel's BPF side: maps, programs, links and their pins.

mod break_events;
mod error;
mod link_name;
pub mod maps;
pub mod names;
mod object;
mod pins;
mod pod;
mod read;
mod slots;
mod tunnel;
mod uplink;
pub mod values;
mod write;

pub use break_events::BreakEvents;
pub use error::Error;
pub use maps::{FamilyMaps, Maps};
pub use object::{Loaded, Sizes, load, load_object};
pub use pins::{DEFAULT_ROOT, Pins, PinsLock};
pub use pod::Pod;
pub use read::{frontend_affinity, read, source_ranges};
pub use slots::Slots;
pub use tunnel::{configure, fit_mss, keep_next_hop, move_tunnel, set_next_hop};
pub use uplink::{Attached, Attachment, XdpMode, attach, attached, detach_others};
pub use values::{held_for, ip_of, words};
pub use write::write;
