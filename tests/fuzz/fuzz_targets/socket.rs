//! The agent's socket: see `limpet_hostile::socket`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| limpet_hostile::socket(input));
