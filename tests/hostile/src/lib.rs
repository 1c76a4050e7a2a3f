//! What hostile input may do to Limpet: one function for each way in, which takes any bytes, and panics where something does
//! not hold that must.
//!
//! The fuzzer calls them (`cargo xtask fuzz`, tests/fuzz), and so does a test with every input that is kept. No kernel, no
//! network, no clock and no randomness: the same bytes always do the same. Depends on what it tests, never on the lab.

mod datapath;
mod manifests;
mod node;
mod objects;
mod socket;

use lb_userspace::{model, plan};

// What the planner's and the model's own tests demand. Included, so that these promises are written down once, and no
// program carries them.
#[path = "../../../lb-userspace/src/plan/tests/names.rs"]
mod names;
#[path = "../../../lb-userspace/src/model/tests/sense.rs"]
mod sense;
#[path = "../../../lb-userspace/src/plan/tests/sound.rs"]
mod sound;

pub use datapath::datapath;
pub use manifests::manifests;
pub use objects::objects;
pub use socket::socket;

/// A way in.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of the fuzz target, and of the directory of its inputs.
    pub name: &'static str,
    /// Takes an input in. Panics where something does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 4] = [
    Target { name: "datapath", run: datapath },
    Target { name: "manifests", run: manifests },
    Target { name: "objects", run: objects },
    Target { name: "socket", run: socket },
];
