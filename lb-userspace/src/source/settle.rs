//! What counts of an object when another version of it comes: the new one where it is sound, else the last that was.

use super::document::Object;
use super::validate::Checked;

/// What counts of an object now.
pub(super) struct Settled {
    /// What is used; none if nothing of it can be.
    pub(super) object: Option<Object>,
    /// Whether that is a version which an API server would take.
    pub(super) is_good: bool,
}

impl Checked {
    /// Keeps the last good version of an object that would be refused, as it would be in a cluster. One that was never
    /// good is used as far as it goes.
    pub(super) fn settle(self, last_good: Option<&Object>) -> Settled {
        match (self.refused, last_good) {
            (true, Some(last)) => Settled { object: Some(last.clone()), is_good: true },
            (true, None) => Settled { object: self.object, is_good: false },
            (false, _) => Settled { is_good: self.object.is_some(), object: self.object },
        }
    }
}
