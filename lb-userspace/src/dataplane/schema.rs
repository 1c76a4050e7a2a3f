//! What lies in pinned maps, told beside them: for the version that comes after the one that made them, or before.
//!
//! Each directory of maps has one more, `SCHEMA`, whose only value is a text (JSON): of every map what it is, and of its
//! keys and values each field's name, offset and width. **The names are the contract between versions.** A field that
//! keeps its name keeps its meaning; one that is new is 0 in records that are carried over, and 0 must mean what was
//! before there was the field. `SCHEMA` is pinned last: a directory without one is not complete.
//!
//! Layout 3 had no such map. What it was stands in `schema/v3.json`.

mod ours;

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

pub use self::ours::{CHECKED, ours};
use super::{
    Error,
    raw::{self, RawMap, Shape, is_missing},
};

/// The name of the map.
pub const SCHEMA: &str = "SCHEMA";
/// How the text is written; a reader takes no other.
const FORMAT: u32 = 1;
/// A layout from before there were schemas, and its description.
const LAYOUT_WITHOUT: u32 = 3;
const V3: &str = include_str!("schema/v3.json");

/// What a directory of maps holds.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// How this is written.
    pub format: u32,
    /// The layout's version.
    pub layout: u32,
    /// Greater than that of every directory that was there when this one was made.
    #[serde(default)]
    pub turn: u64,
    /// What it was made from; none where there was nothing.
    #[serde(default)]
    pub taken_over: Option<TakenOver>,
    /// The maps.
    pub maps: Vec<MapSchema>,
}

/// Which datapath went on in this one, and since when.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TakenOver {
    /// The layout that it had.
    pub from_layout: u32,
    /// When, as RFC 3339 has it.
    pub at: String,
}

/// What a map is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct MapSchema {
    /// Its name.
    pub name: String,
    /// Of [`raw::kind`].
    pub kind: u32,
    /// Flags that it was made with.
    pub flags: u32,
    /// Most elements. 0 in a description of what other versions made: as many as the map that is there has.
    pub entries: u32,
    /// A key.
    pub key: Record,
    /// A value; one CPU's, where each has its own.
    pub value: Record,
}

/// What a key or a value is made of.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// How long it is.
    pub bytes: u32,
    /// Its fields, which cover it.
    pub fields: Vec<Field>,
}

/// A part of a record.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// Its name, which says what it means.
    pub name: String,
    /// Where it begins.
    pub offset: u32,
    /// How many bytes it has; an integer has them in the order of the machine.
    pub width: u32,
}

/// What is known of a directory of maps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// All maps are there, and are what is said of them.
    Whole(Schema),
    /// Not all of them are.
    Broken,
    /// There is nothing.
    Empty,
    /// Nothing is said of them, or nothing that can be read: then nobody may guess.
    Unknown,
}

impl Schema {
    /// Describes maps of this build, with room for so much.
    pub fn of_ours(maps: Vec<MapSchema>, turn: u64, taken_over: Option<TakenOver>) -> Self {
        Self { format: FORMAT, layout: lb_common::layout::VERSION, turn, taken_over, maps }
    }

    /// Reads what the maps of a directory are; `layout` is what its name says.
    ///
    /// # Errors
    /// When the maps may not be opened.
    pub fn read(directory: &Path, layout: u32) -> Result<State, Error> {
        let failed = |source| Error::Pins { path: directory.to_owned(), source };
        if is_empty(directory).map_err(failed)? {
            return Ok(State::Empty);
        }
        let text = match RawMap::open(directory, SCHEMA) {
            Ok(map) => text(&map)?,
            Err(error) if is_missing(&error) && layout == LAYOUT_WITHOUT => Some(V3.to_owned()),
            Err(error) if is_missing(&error) => None,
            Err(error) => return Err(error),
        };
        let Some(mut schema) = text.and_then(|text| Self::parse(&text)).filter(|schema| schema.layout == layout) else {
            return Ok(State::Unknown);
        };
        for map in &mut schema.maps {
            match RawMap::open(directory, &map.name) {
                Ok(found) if map.is(&found.shape()) => map.entries = found.shape().entries,
                Ok(_) => return Ok(State::Broken),
                Err(error) if is_missing(&error) => return Ok(State::Broken),
                Err(error) => return Err(error),
            }
        }
        Ok(State::Whole(schema))
    }

    /// Reads the text; none where it is of another format, or makes no sense.
    pub fn parse(text: &str) -> Option<Self> {
        let schema: Self = serde_json::from_str(text).ok()?;
        let is_sound =
            schema.format == FORMAT && schema.maps.iter().all(|map| map.key.is_sound() && map.value.is_sound());
        is_sound.then_some(schema)
    }

    /// Pins the text beside the maps.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pin(&self, directory: &Path) -> Result<(), Error> {
        let unwritable =
            |error: serde_json::Error| Error::Pins { path: directory.to_owned(), source: io::Error::other(error) };
        let mut value = serde_json::to_vec(self).map_err(unwritable)?;
        // What follows the text is no part of it: see `text`.
        value.resize(value.len().next_multiple_of(size_of::<u64>()), b' ');
        let value_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
        let shape = Shape { kind: raw::kind::ARRAY, flags: 0, key_bytes: 4, value_bytes, entries: 1 };
        // Nobody takes a directory with an empty one for complete: the text is none.
        let map = RawMap::create(directory, SCHEMA, shape)?;
        map.put(&0_u32.to_ne_bytes(), &value, false).map(drop)
    }

    /// What layout 3 was, as far as it was not of the agent's choosing: the number of elements.
    pub fn layout_3() -> Option<Self> {
        Self::parse(V3)
    }

    /// The map of this name.
    pub fn map(&self, name: &str) -> Option<&MapSchema> {
        self.maps.iter().find(|map| map.name == name)
    }
}

fn is_empty(directory: &Path) -> io::Result<bool> {
    match fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn text(map: &RawMap) -> Result<Option<String>, Error> {
    let Shape { kind, key_bytes, .. } = map.shape();
    if (kind, key_bytes) != (raw::kind::ARRAY, 4) {
        return Ok(None);
    }
    Ok(map.get(&0_u32.to_ne_bytes())?.and_then(|bytes| String::from_utf8(bytes).ok()))
}

impl MapSchema {
    /// Whether a map is what this says.
    pub fn is(&self, shape: &Shape) -> bool {
        let Shape { kind, flags, key_bytes, value_bytes, entries } = *shape;
        // A ring buffer knows nothing of what is in it.
        let record_bytes = if kind == raw::kind::RING_BUFFER { 0 } else { self.value.bytes };
        let said = (self.kind, self.flags, self.key.bytes, record_bytes);
        said == (kind, flags, key_bytes, value_bytes) && (self.entries == 0 || self.entries == entries)
    }
}

impl Record {
    /// Whether all fields lie in it.
    fn is_sound(&self) -> bool {
        self.fields.iter().all(|field| field.offset.checked_add(field.width).is_some_and(|end| end <= self.bytes))
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Whether every byte belongs to one field.
    pub fn is_covered(&self) -> bool {
        let mut fields: Vec<&Field> = self.fields.iter().collect();
        fields.sort_by_key(|field| field.offset);
        let end = fields.iter().try_fold(0, |end, field| (field.offset == end).then_some(end + field.width));
        end == Some(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::dataplane::{Sizes, maps};

    fn check(schema: &[MapSchema]) {
        for map in schema {
            for (what, record) in [("key", &map.key), ("value", &map.value)] {
                assert!(record.is_covered(), "{} of {} has bytes of no field: {record:?}", what, map.name);
                let names: BTreeSet<&str> = record.fields.iter().map(|field| field.name.as_str()).collect();
                assert_eq!(names.len(), record.fields.len(), "{what} of {}: a name twice", map.name);
            }
        }
    }

    /// The structures themselves are what the offsets and widths are taken from.
    #[test]
    fn every_byte_of_every_record_has_a_name() {
        let schema = ours(&Sizes::default());
        check(&schema);
        let names: BTreeSet<String> = schema.iter().map(|map| map.name.clone()).collect();
        assert_eq!(names, maps::names().collect());
    }

    #[test]
    fn layout_3_is_described_whole() {
        let schema = Schema::layout_3().unwrap();
        assert_eq!((schema.layout, schema.maps.len()), (LAYOUT_WITHOUT, 34));
        check(&schema.maps);
    }

    #[test]
    fn the_text_is_read_back_and_nonsense_is_not() {
        let taken_over = Some(TakenOver { from_layout: 3, at: "2026-01-02T03:04:05Z".to_owned() });
        let schema = Schema::of_ours(ours(&Sizes::default()), 7, taken_over);
        let text = serde_json::to_string(&schema).unwrap();
        assert_eq!(Schema::parse(&(text.clone() + "   ")), Some(schema));
        for (what, wrong) in [
            ("nothing", String::new()),
            ("another format", text.replace("\"format\":1", "\"format\":2")),
            ("a field past the end", text.replace("\"offset\":0", "\"offset\":4000000000")),
            ("cut off", text[..text.len() / 2].to_owned()),
        ] {
            assert_eq!(Schema::parse(&wrong), None, "{what}");
        }
    }
}
