//! What outside traffic meets beside affinity: source ranges, answers where nobody is there, counts by Service port.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

mod counts;
mod inside;
mod reject;
mod source_ranges;
mod world;
