//! API objects: see `limpet_hostile::objects`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| limpet_hostile::objects(input));
