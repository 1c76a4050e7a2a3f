//! The session test's client side: users who log in and keep asking for what they stored.
//!
//! A user is one source address. It logs in once, which stores a value at the Pod that answers, and
//! from then on asks for that value, over a new connection each time. An answer without it, or with
//! another one, is a lost session; the user logs in again at once.

mod crowd;
mod user;

pub use crowd::{Crowd, Standing};
pub use user::{Counts, Mode};
