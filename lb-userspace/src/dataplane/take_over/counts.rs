//! Counters, of which every CPU has its own: carried over once, and what was counted meanwhile added.

use std::collections::HashMap;

use super::convert::Recipe;
use crate::dataplane::{
    Error,
    raw::{Put, RawMap, cpu_step},
};

/// An element in bytes: its index, and the counters of every CPU.
type Element = (Vec<u8>, Vec<u8>);

/// An array of counters on its way.
pub(super) struct Counts {
    from: RawMap,
    to: RawMap,
    recipe: Recipe,
    /// What has been carried over, by index, in the form of the new map; what is not here was 0.
    carried: HashMap<Vec<u8>, Vec<u8>>,
}

impl Counts {
    /// Sets the new map's counters to what the old one's are. What is past the new map's end is left out.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub(super) fn carry(from: RawMap, to: RawMap, recipe: &Recipe) -> Result<Self, Error> {
        let mut counts = Self { from, to, recipe: recipe.clone(), carried: HashMap::new() };
        for (index, value) in counts.old()? {
            if counts.to.put(&index, &value, false)? == Put::Done {
                counts.carried.insert(index, value);
            }
        }
        Ok(counts)
    }

    /// Adds what the old map's counters grew by since.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub(super) fn catch_up(&mut self) -> Result<(), Error> {
        for (index, value) in self.old()? {
            let before = self.carried.get(&index);
            if before == Some(&value) {
                continue;
            }
            let Some(now) = self.to.get(&index)? else { continue };
            self.to.put(&index, &grown(&now, &value, before), false)?;
            self.carried.insert(index, value);
        }
        Ok(())
    }

    /// The old map's counters that are not 0, in the form of the new map.
    fn old(&self) -> Result<Vec<Element>, Error> {
        let (from_step, to_step) = (cpu_step(&self.from.shape()), cpu_step(&self.to.shape()));
        let value_bytes = self.from.shape().value_bytes as usize;
        let mut found = Vec::new();
        self.from.for_each(|index, values| {
            if values.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            let mut made = Vec::new();
            for value in values.chunks_exact(from_step) {
                let value = value.get(..value_bytes).and_then(|value| self.recipe.apply(value));
                let mut value = value.ok_or_else(|| Error::Layout { name: self.from.name().to_owned() })?;
                value.resize(to_step, 0);
                made.extend(value);
            }
            found.push((index.to_vec(), made));
            Ok(())
        })?;
        Ok(found)
    }
}

/// `now`, and what `value` is more than `before`. All counters have 64 bits.
fn grown(now: &[u8], value: &[u8], before: Option<&Vec<u8>>) -> Vec<u8> {
    let words = |bytes: &[u8]| -> Vec<u64> {
        let (words, _rest) = bytes.as_chunks::<8>();
        words.iter().map(|word| u64::from_ne_bytes(*word)).collect()
    };
    let before = before.map_or_else(|| vec![0; value.len() / 8], |before| words(before));
    let grown = words(value).into_iter().zip(before).map(|(value, before)| value.wrapping_sub(before));
    words(now).into_iter().zip(grown).flat_map(|(now, grown)| now.wrapping_add(grown).to_ne_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_meanwhile_is_added() {
        let bytes = |words: [u64; 2]| words.into_iter().flat_map(u64::to_ne_bytes).collect::<Vec<u8>>();
        assert_eq!(grown(&bytes([10, 7]), &bytes([5, 3]), Some(&bytes([4, 3]))), bytes([11, 7]));
        assert_eq!(grown(&bytes([10, 7]), &bytes([5, 0]), None), bytes([15, 7]));
    }
}
