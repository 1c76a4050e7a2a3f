//! Free pieces of the array of slots: first fit, neighbours merged.

use std::collections::BTreeMap;

use super::types::Extent;

/// What is free, by first slot.
pub(super) struct FreeList {
    free: BTreeMap<u32, u32>,
}

impl FreeList {
    /// All of `0..total` but what is used. Extents that overlap or stick out take what they cover.
    pub(super) fn new(total: u32, used: impl Iterator<Item = Extent>) -> Self {
        let mut used: Vec<Extent> = used.collect();
        used.sort_unstable();
        let mut free = BTreeMap::new();
        let mut position = 0;
        for extent in used {
            let gap_end = extent.offset.min(total);
            if gap_end > position {
                free.insert(position, gap_end - position);
            }
            position = position.max(extent.offset.saturating_add(extent.length));
        }
        if total > position {
            free.insert(position, total - position);
        }
        Self { free }
    }

    /// The first piece of this length; none if there is no such piece.
    pub(super) fn allocate(&mut self, length: u32) -> Option<Extent> {
        let (offset, found) = self.free.iter().find(|(_, free)| **free >= length).map(|(o, l)| (*o, *l))?;
        self.free.remove(&offset);
        if found > length {
            self.free.insert(offset + length, found - length);
        }
        Some(Extent { offset, length })
    }

    /// Gives back what was allocated.
    pub(super) fn release(&mut self, extent: Extent) {
        let Extent { mut offset, mut length } = extent;
        if let Some(next) = self.free.remove(&(offset + length)) {
            length += next;
        }
        let before = self.free.range(..offset).next_back().map(|(o, l)| (*o, *l));
        if let Some((before, free)) = before
            && before + free == offset
        {
            offset = before;
            length += free;
        }
        self.free.insert(offset, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u32, length: u32) -> Extent {
        Extent { offset, length }
    }

    #[test]
    fn first_fit_and_merging() {
        let mut list = FreeList::new(100, [extent(10, 10), extent(50, 10)].into_iter());
        assert_eq!(list.allocate(20), Some(extent(20, 20)));
        assert_eq!(list.allocate(10), Some(extent(0, 10)));
        assert_eq!(list.allocate(41), None);
        assert_eq!(list.allocate(40), Some(extent(60, 40)));
        assert_eq!(list.allocate(11), None);
        list.release(extent(20, 20));
        list.release(extent(0, 10));
        assert_eq!(list.free, BTreeMap::from([(0, 10), (20, 30)]));
        list.release(extent(10, 10));
        assert_eq!(list.free, BTreeMap::from([(0, 50)]));
    }

    #[test]
    fn used_extents_that_overlap_or_stick_out_free_nothing() {
        let used = [extent(0, 30), extent(10, 5), extent(90, 50)];
        assert_eq!(FreeList::new(100, used.into_iter()).free, BTreeMap::from([(30, 60)]));
        assert_eq!(FreeList::new(0, [].into_iter()).free, BTreeMap::new());
    }
}
