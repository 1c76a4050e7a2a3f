//! Bytes, maps and clock for the datapath in `lb-common`, as the kernel offers them.
//!
//! Nothing is decided here: a program reads its frame through [`frame`] or [`skb`], asks [`tables`], and turns the
//! verdict that comes back into an action and a count ([`outcome`]).
//!
//! This crate never depends on std, on allocation, or on kernel structures other than UAPI contexts: there are no
//! CO-RE relocations to be had from rustc.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod claim;
pub mod client;
mod element;
pub mod frame;
pub mod maps;
pub mod outcome;
pub mod skb;
pub mod source;
pub mod tables;
mod window;

/// What a panic would do: nothing, since none can be reached. A program with a reachable panic does not load.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
