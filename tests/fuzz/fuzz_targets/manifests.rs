//! Manifests: see `limpet_hostile::manifests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| limpet_hostile::manifests(input));
