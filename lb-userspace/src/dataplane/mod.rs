//! The only place that touches the kernel's BPF side: maps, programs, links and their pins.

mod break_events;
mod elements;
mod error;
mod held_pins;
mod link_name;
pub mod maps;
pub mod names;
mod object;
mod pins;
mod pod;
pub mod raw;
mod read;
pub mod schema;
mod slots;
mod standing;
mod take_over;
mod tunnel;
mod uplink;
pub mod values;
mod write;

pub use break_events::BreakEvents;
pub use elements::{Change, Elements, Endpoint, NextHop};
pub use error::Error;
pub use held_pins::{HeldPins, PinsPlace};
pub use maps::{FamilyMaps, Maps};
pub use object::{Loaded, Sizes, Switches, load, load_object};
pub use pins::{DEFAULT_ROOT, Pins, PinsLock};
pub use pod::Pod;
pub use read::{frontend_affinity, read, source_ranges};
pub use slots::Slots;
pub use standing::{Standing, standing};
pub use take_over::take_over;
pub use tunnel::{TUNNEL_END, configure, fit_mss, fitting_mss, keep_next_hop, move_tunnel, set_next_hop, way};
pub use uplink::{Attached, Attachment, XdpMode, attach, attached, detach_others};
pub use values::{held_for, ip_of, words};
pub use write::write;
