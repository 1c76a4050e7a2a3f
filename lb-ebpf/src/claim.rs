//! One atomic step: of several CPUs that want to change a value, one alone does.
//!
//! rustc knows no atomics with a result on BPF; the instruction is there since Linux 5.12.

/// Makes `new` of the two words at `place` where they are `old`; whether they were. `place` is aligned to 8 bytes.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn compare_and_swap(place: *mut u64, old: [u32; 2], new: [u32; 2]) -> bool {
    let (old, new) = (word(old), word(new));
    let found: u64;
    // SAFETY: the caller's pointer is to an element of a map, which lives as long as the map; the verifier checks its
    // bounds and its alignment.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({place} + 0, r0, {new})",
            place = in(reg) place,
            new = in(reg) new,
            inout("r0") old => found,
        );
    }
    found == old
}

/// Never runs: the programs are for BPF alone, and this is what other tools see of them.
#[cfg(not(target_arch = "bpf"))]
pub(crate) fn compare_and_swap(_: *mut u64, _: [u32; 2], _: [u32; 2]) -> bool {
    false
}

/// Two words of memory as one, on a little-endian machine.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn word([first, second]: [u32; 2]) -> u64 {
    u64::from(second) << 32 | u64::from(first)
}
