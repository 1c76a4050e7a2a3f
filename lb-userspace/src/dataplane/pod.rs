//! The one bridge between layouts in `lb-common` and aya.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A layout that goes into and comes out of a map as its bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
#[repr(transparent)]
pub struct Pod<T>(pub T);

// SAFETY: zerocopy's derives prove what aya asks for: T has no padding and every bit pattern is a valid T.
unsafe impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> aya::Pod for Pod<T> {}
