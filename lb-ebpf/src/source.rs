//! Whether a source is in a Service port's ranges, as a function that is called instead of inlined: its key needs stack that
//! the ingress program has not left. The call is for what begins something alone.

use aya_ebpf::btf_maps::lpm_trie::Key;
use lb_common::{family::Address, layout::SOURCE_RANGE_SERVICE_BITS};

use crate::tables::FamilyMaps;

/// Whether an address is in one of the Service port's ranges.
#[inline(always)]
pub fn is_in_range<F: FamilyMaps>(service: u32, source: &F::Address) -> bool {
    let [a, b, c, d] = source.to_words();
    is_in_range_out_of_line::<F>(service, a, b, c, d) != 0
}

/// Five words, because a BPF function takes no more, and by value, so that the address need not be on the caller's stack.
#[inline(never)]
fn is_in_range_out_of_line<F: FamilyMaps>(service: u32, a: u32, b: u32, c: u32, d: u32) -> u32 {
    let source = F::Address::from_words([a, b, c, d]);
    let bits = SOURCE_RANGE_SERVICE_BITS + 32 * F::Address::WORDS as u32;
    let key = Key::new(bits, F::source_range(service, source));
    F::source_ranges().get(&key).is_some().into()
}
