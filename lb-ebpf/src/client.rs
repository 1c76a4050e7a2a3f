//! Affinity as functions that are called instead of inlined. All that call each other share 512 bytes of stack, of which
//! the ingress program needs most: so what is asked lies in memory of the CPU, and what answers has a frame of its own.
//! The call costs some 10 ns, for new connections alone.

use aya_ebpf::btf_maps::PerCpuArray;
use lb_common::{
    Reason,
    affinity::{self, Ask, Chosen},
    layout::MAX_BACKEND_ID,
};

use crate::tables::{FamilyMaps, Maps};

/// No backend has this id ([`Reason::NoBackend`]).
const NO_BACKEND: u32 = 0;
/// Nor this one ([`Reason::BadTable`]).
const BAD_TABLE: u32 = u32::MAX;
/// Added to a backend's id where `affinity::promote` is to follow.
const PROVEN: u32 = MAX_BACKEND_ID + 1;

/// Where questions lie: the program is not interrupted by itself, so there is one at a time on each CPU.
pub type Asked<F> = PerCpuArray<Ask<F>, 1>;

/// As `affinity::choose`, and `affinity::promote` where that is to follow.
#[inline(always)]
pub fn choose<F: FamilyMaps>(ask: &Ask<F>) -> Result<u32, Reason> {
    let asked = F::asked().get_ptr_mut(0).ok_or(Reason::BadTable)?;
    // SAFETY: this CPU's own element, which nobody else reads or writes meanwhile.
    unsafe { asked.write(*ask) };
    // SAFETY: as above; it was just written.
    match choose_out_of_line::<F>(unsafe { &*asked }) {
        NO_BACKEND => Err(Reason::NoBackend),
        BAD_TABLE => Err(Reason::BadTable),
        id if id & PROVEN != 0 => {
            // SAFETY: as above; a question is not changed by an answer.
            promote_out_of_line::<F>(unsafe { &*asked });
            Ok(id & MAX_BACKEND_ID)
        }
        id => Ok(id),
    }
}

/// As `affinity::promote`.
#[inline(always)]
pub fn promote<F: FamilyMaps>(ask: &Ask<F>) {
    if let Some(asked) = F::asked().get_ptr_mut(0) {
        // SAFETY: as in `choose`.
        unsafe { asked.write(*ask) };
        // SAFETY: as in `choose`.
        promote_out_of_line::<F>(unsafe { &*asked });
    }
}

/// In one word, because a BPF function returns no more.
#[inline(never)]
fn choose_out_of_line<F: FamilyMaps>(ask: &Ask<F>) -> u32 {
    match affinity::choose(&Maps, ask) {
        Ok(Chosen { backend, is_proven: true }) => backend | PROVEN,
        Ok(Chosen { backend, is_proven: false }) => backend,
        Err(Reason::NoBackend) => NO_BACKEND,
        Err(_) => BAD_TABLE,
    }
}

#[inline(never)]
fn promote_out_of_line<F: FamilyMaps>(ask: &Ask<F>) {
    affinity::promote(&Maps, ask);
}
