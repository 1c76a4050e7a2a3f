//! Values by id: one after the other where there are nearly all ids, a map where there are few.

use std::collections::BTreeMap;

/// Values by id.
pub(super) enum ById<T> {
    /// For all ids up to the highest.
    Dense(Vec<Option<T>>),
    /// For some.
    Sparse(BTreeMap<u32, T>),
}

impl<T> ById<T> {
    /// An empty one.
    pub(super) fn new(dense: bool) -> Self {
        if dense { Self::Dense(Vec::new()) } else { Self::Sparse(BTreeMap::new()) }
    }

    pub(super) fn get(&self, id: u32) -> Option<&T> {
        match self {
            Self::Dense(values) => values.get(id as usize)?.as_ref(),
            Self::Sparse(values) => values.get(&id),
        }
    }

    pub(super) fn insert(&mut self, id: u32, value: T) {
        match self {
            Self::Dense(values) => {
                let index = id as usize;
                if values.len() <= index {
                    values.resize_with(index + 1, || None);
                }
                values[index] = Some(value);
            }
            Self::Sparse(values) => drop(values.insert(id, value)),
        }
    }

    /// In the order of ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let (dense, sparse) = match self {
            Self::Dense(values) => (Some(values), None),
            Self::Sparse(values) => (None, Some(values)),
        };
        let dense = dense.into_iter().flat_map(|values| (0_u32..).zip(values));
        let dense = dense.filter_map(|(id, value)| Some((id, value.as_ref()?)));
        dense.chain(sparse.into_iter().flatten().map(|(id, value)| (*id, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_the_same_from_outside() {
        for dense in [true, false] {
            let mut values = ById::new(dense);
            for (id, value) in [(7, "a"), (2, "b"), (7, "c")] {
                values.insert(id, value);
            }
            assert_eq!(values.iter().collect::<Vec<_>>(), [(2, &"b"), (7, &"c")], "dense: {dense}");
            assert_eq!([1, 2, 7, 8].map(|id| values.get(id).copied()), [None, Some("b"), Some("c"), None]);
        }
    }
}
