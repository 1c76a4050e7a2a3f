//! Free ids: the lowest first, so that arrays stay short.

/// Which ids may be given out. What becomes free during a plan is still in its grace time, so
/// nothing is ever given back here.
pub(super) struct Ids {
    busy: Vec<bool>,
    next: u32,
    limit: u32,
    free: u32,
}

impl Ids {
    /// The ids from `first` and below `limit` that are not busy.
    pub(super) fn new(first: u32, limit: u32, busy_ids: impl Iterator<Item = u32>) -> Self {
        let mut busy = Vec::new();
        let mut free = limit.saturating_sub(first);
        for id in busy_ids.filter(|id| (first..limit).contains(id)) {
            let index = id as usize;
            if busy.len() <= index {
                busy.resize(index + 1, false);
            }
            if !std::mem::replace(&mut busy[index], true) {
                free -= 1;
            }
        }
        Self { busy, next: first, limit, free }
    }

    /// How many are left.
    pub(super) fn left(&self) -> u32 {
        self.free
    }

    /// The lowest free id.
    pub(super) fn take(&mut self) -> Option<u32> {
        while self.next < self.limit {
            let id = self.next;
            self.next += 1;
            if !self.busy.get(id as usize).copied().unwrap_or(false) {
                self.free -= 1;
                return Some(id);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_lowest_free_id_and_stays_below_the_limit() {
        let mut ids = Ids::new(1, 5, [2, 2, 9].into_iter());
        assert_eq!(ids.left(), 3);
        assert_eq!([ids.take(), ids.take(), ids.take(), ids.take()], [Some(1), Some(3), Some(4), None]);
        assert_eq!(ids.left(), 0);
        assert_eq!(Ids::new(1, 0, [].into_iter()).take(), None);
    }
}
