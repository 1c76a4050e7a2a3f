//! Bounds-checked access to the bytes between two addresses that the context gives out.

use core::ptr;

/// The bytes of a packet that can be reached directly.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    /// Address of the first byte.
    pub(crate) start: usize,
    /// Address behind the last byte.
    pub(crate) end: usize,
}

impl Window {
    /// The value at `offset`; `None` past the end.
    #[inline(always)]
    pub(crate) fn read<T: Copy>(self, offset: usize) -> Option<T> {
        let at = self.at::<T>(offset)?;
        // SAFETY: `at` checked that the value lies between the two addresses, which the context vouches for until
        // the next helper call that moves them; the caller takes a new window for every access.
        Some(unsafe { ptr::read_unaligned(at.cast_const()) })
    }

    /// Overwrites the value at `offset`; `None` past the end.
    #[inline(always)]
    pub(crate) fn write<T: Copy>(self, offset: usize, value: T) -> Option<()> {
        let at = self.at::<T>(offset)?;
        // SAFETY: as for `read`; the bytes belong to this program while it runs.
        unsafe { ptr::write_unaligned(at, value) };
        Some(())
    }

    #[inline(always)]
    fn at<T>(self, offset: usize) -> Option<*mut T> {
        let address = self.start + offset;
        if address + size_of::<T>() > self.end {
            return None;
        }
        Some(address as *mut T)
    }
}
