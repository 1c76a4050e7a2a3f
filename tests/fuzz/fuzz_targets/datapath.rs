//! The datapath: see `limpet_hostile::datapath`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| limpet_hostile::datapath(input));
