//! The datapath in a small world, and frames of any bytes in both directions.

use lb_common::host::fuzz;

/// The bytes make the world, and then frames that go through it, each of which is checked: see [`fuzz`].
pub fn datapath(input: &[u8]) {
    if let Err(broken) = fuzz(input) {
        panic!("{broken}");
    }
}
