//! Values out of elements that the kernel may hand to another key at this very moment.

use core::sync::atomic::{Ordering, compiler_fence};

use lb_common::layout::Keyed;

/// The value that lies at `element`, its check as it was read last: whoever writes there meanwhile begins with the check
/// (see [`Keyed`]), so a value that fits was read before.
///
/// # Safety
/// `element` is what a look-up in a map gave out.
#[inline(always)]
pub(crate) unsafe fn copy<V: Keyed>(element: *const V) -> V {
    // SAFETY: elements of a preallocated map live as long as the map. Another CPU may write meanwhile: then the check says so.
    let value = unsafe { element.read() };
    compiler_fence(Ordering::SeqCst);
    // SAFETY: as above; the check is a value's first field.
    let check = unsafe { element.cast::<u64>().read_volatile() };
    value.with_check(check)
}
