//! From a record of another layout to the one of ours that means the same. Pure: bytes to bytes, by the names of fields.

use lb_common::{
    Family, V4, V6,
    layout::{Affinity, Flow, Frontend, Key, Keyed, Sibling, SiblingKey},
};

use crate::dataplane::schema::{CHECKED, Field, Record};

/// How records of one layout become records of another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Recipe {
    from_bytes: usize,
    to_bytes: usize,
    pieces: Vec<Piece>,
}

/// Bytes that go from one place to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Piece {
    from: usize,
    to: usize,
    length: usize,
}

impl Recipe {
    /// The one between two records; none where a field is narrower than it was, and so may not hold what was in it. What has no
    /// field of its name in the other record is left out, or 0.
    pub(super) fn between(from: &Record, to: &Record) -> Option<Self> {
        let pair = |new: &Field| Some((from.field(&new.name)?.clone(), new.clone()));
        let pairs: Vec<(Field, Field)> =
            to.fields.iter().filter(|field| field.name != CHECKED).filter_map(pair).collect();
        if cfg!(target_endian = "big") && pairs.iter().any(|(old, new)| old.width != new.width) {
            return None;
        }
        let piece = |(old, new): (Field, Field)| {
            // The low bytes of an integer come first, and a text's first ones too.
            let piece = Piece { from: old.offset as usize, to: new.offset as usize, length: old.width as usize };
            (old.width <= new.width).then_some(piece)
        };
        let pieces = pairs.into_iter().map(piece).collect::<Option<_>>()?;
        Some(Self { from_bytes: from.bytes as usize, to_bytes: to.bytes as usize, pieces })
    }

    /// The record that means the same; none when there are not as many bytes as the recipe is for.
    pub(super) fn apply(&self, record: &[u8]) -> Option<Vec<u8>> {
        let mut made = vec![0; self.to_bytes];
        if record.len() != self.from_bytes {
            return None;
        }
        for Piece { from, to, length } in &self.pieces {
            made.get_mut(*to..to + length)?.copy_from_slice(record.get(*from..from + length)?);
        }
        Some(made)
    }
}

/// Makes a value of ours say whose it is, where those of its map do.
pub(super) fn own(map: &str, key: &[u8], value: &mut [u8]) {
    match map {
        "SIBLINGS" => own_as::<SiblingKey, Sibling>(key, value),
        _ if map.ends_with('4') => own_of::<V4>(map, key, value),
        _ if map.ends_with('6') => own_of::<V6>(map, key, value),
        _ => None,
    };
}

fn own_of<F: Family>(map: &str, key: &[u8], value: &mut [u8]) -> Option<()> {
    match map.trim_end_matches(['4', '6']) {
        "FRONTENDS" => own_as::<F::FrontendKey, Frontend>(key, value),
        "FLOWS" | "NEW_FLOWS" => own_as::<F::FlowKey, Flow>(key, value),
        "AFFINITY" | "NEW_AFFINITY" => own_as::<F::AffinityKey, Affinity>(key, value),
        "REPLIES" | "NEW_REPLIES" => own_as::<F::FlowKey, F::Reply>(key, value),
        _ => None,
    }
}

/// None, and nothing done, where the bytes are not as many as these have.
fn own_as<K: Key, V: Keyed>(key: &[u8], value: &mut [u8]) -> Option<()> {
    let key = K::read_from_bytes(key).ok()?;
    let owned = V::read_from_bytes(value).ok()?.of(&key);
    value.copy_from_slice(owned.as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use lb_common::layout::{FlowKey4, Reply4};
    use zerocopy::{FromBytes, IntoBytes};

    use super::*;
    use crate::dataplane::{
        Sizes,
        schema::{MapSchema, ours},
    };

    fn record(fields: &[(&str, u32)]) -> Record {
        let mut bytes = 0;
        let mut field = |(name, width): &(&str, u32)| {
            let field = Field { name: (*name).to_owned(), offset: bytes, width: *width };
            bytes += width;
            field
        };
        let fields = fields.iter().map(&mut field).collect();
        Record { bytes, fields }
    }

    #[test]
    fn fields_are_found_by_their_names() {
        type Fields = &'static [(&'static str, u32)];
        let cases: [(&str, Fields, &[u8]); 6] = [
            ("the same", &[("a", 1), ("b", 2), ("c", 4)], &[1, 2, 3, 4, 5, 6, 7]),
            ("another order", &[("c", 4), ("a", 1), ("b", 2)], &[4, 5, 6, 7, 1, 2, 3]),
            ("one more", &[("a", 1), ("new", 3), ("b", 2), ("c", 4)], &[1, 0, 0, 0, 2, 3, 4, 5, 6, 7]),
            ("one less", &[("a", 1), ("c", 4)], &[1, 4, 5, 6, 7]),
            ("a wider one", &[("b", 4), ("a", 1)], &[2, 3, 0, 0, 1]),
            ("its own check", &[("check", 2), ("a", 1)], &[0, 0, 1]),
        ];
        let from = record(&[("a", 1), ("b", 2), ("c", 4)]);
        for (description, to, expected) in cases {
            let recipe = Recipe::between(&from, &record(to)).unwrap();
            assert_eq!(recipe.apply(&[1, 2, 3, 4, 5, 6, 7]).as_deref(), Some(expected), "{description}");
            assert_eq!(recipe.apply(&[1, 2, 3]), None, "{description}: too short");
        }
        assert_eq!(Recipe::between(&from, &record(&[("b", 1)])), None, "a narrower one");
    }

    /// Every record of every map, against one whose fields lie the other way round and that has one more.
    #[test]
    fn there_and_back_again_is_the_same() {
        for MapSchema { name, key, value, .. } in ours(&Sizes::default()) {
            for record in [key, value] {
                let mut offset = 5;
                let mut turned = Record::default();
                turned.fields.push(Field { name: "more".to_owned(), offset: 0, width: offset });
                for field in record.fields.iter().rev() {
                    turned.fields.push(Field { offset, ..field.clone() });
                    offset += field.width;
                }
                turned.bytes = offset;
                let bytes: Vec<u8> = (0..record.bytes).map(|at| at as u8 | 1).collect();
                let there = Recipe::between(&record, &turned).unwrap().apply(&bytes).unwrap();
                let back = Recipe::between(&turned, &record).unwrap().apply(&there).unwrap();
                let mut expected = bytes;
                if let Some(check) = record.field(CHECKED) {
                    expected[check.offset as usize..(check.offset + check.width) as usize].fill(0);
                }
                assert_eq!(back, expected, "{name}");
            }
        }
    }

    #[test]
    fn a_value_says_whose_it_is() {
        let key = FlowKey4::read_from_bytes(&[7; 16]).unwrap();
        let other = FlowKey4::read_from_bytes(&[8; 16]).unwrap();
        let flow = Flow { backend: 3, generation: 1, ..Flow::default() };
        let mut bytes = flow.as_bytes().to_vec();
        own("NEW_FLOWS4", key.as_bytes(), &mut bytes);
        let owned = Flow::read_from_bytes(&bytes).unwrap();
        assert!(owned.fits(&key) && !owned.fits(&other));
        assert_eq!((owned.backend, owned.generation), (3, 1));
        let mut bytes = Reply4::default().as_bytes().to_vec();
        own("REPLIES4", key.as_bytes(), &mut bytes);
        assert!(Reply4::read_from_bytes(&bytes).unwrap().fits(&key));
        let mut plain = vec![1, 2, 3, 4];
        own("LOCALS4", &[0; 8], &mut plain);
        assert_eq!(plain, [1, 2, 3, 4], "says nothing");
    }
}
