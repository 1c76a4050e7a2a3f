//! What others have written of Limpet: whether it may be used, and the list of it that goes with the image.

mod bill;
mod crates;
mod deny;

pub(crate) use self::bill::write as write_bill;
pub(crate) use self::deny::check as deny;
