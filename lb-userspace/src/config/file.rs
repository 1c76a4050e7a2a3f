//! The file of settings: a YAML mapping with the flags' long names for keys, each with its line.

use std::{fmt, fs, io::Read, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

use super::{
    refused::{Problem, Refused},
    setting::Known,
};
use crate::inspect::suggest;

/// Most bytes of a file; with all settings in it, it has two thousand.
const MAX_BYTES: u64 = 1 << 20;
/// Most nodes in its YAML.
const MAX_NODES: usize = 10_000;

/// What a file sets.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// As it was given.
    pub path: String,
    /// The settings, in the order of the file.
    pub entries: Vec<Entry>,
    /// What is wrong with others.
    pub problems: Vec<Problem>,
}

/// A setting in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    /// clap's name of the flag.
    pub id: String,
    /// The line of the key.
    pub line: u64,
    /// The values, each legal.
    pub values: Vec<String>,
}

impl File {
    /// What it says of the flag with this name.
    pub(super) fn entry(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }
}

/// Reads a file.
///
/// # Errors
/// When it cannot be read, or is no mapping. What is wrong with single settings is told beside the others.
pub(super) fn read(path: &Path, known: &[Known]) -> Result<File, Refused> {
    let place = path.display().to_string();
    let text = text_of(path).map_err(|message| Refused::one(&place, message))?;
    let lines = parse(&text).map_err(|(line, message)| match line {
        Some(line) => Refused::one(format!("{place}:{line}"), message),
        None => Refused::one(&place, message),
    })?;
    Ok(settings(place, lines, known))
}

fn text_of(path: &Path) -> Result<String, String> {
    let cannot = |error| format!("cannot read this file of settings (--config, LIMPET_CONFIG): {error}");
    let file = fs::File::open(path).map_err(cannot)?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(cannot)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("more than {MAX_BYTES} bytes are no file of settings"));
    }
    Ok(text)
}

/// A key with its line and what stands there.
type Line = (Spanned<String>, Value);

/// The keys and values of a mapping in order, also where a key is there twice. Nothing where there is nothing.
///
/// # Errors
/// The line, where it is known, and what is wrong there.
fn parse(text: &str) -> Result<Vec<Line>, (Option<u64>, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut options = serde_saphyr::Options::default();
    // Both places of a key that is there twice are told.
    options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::PassThrough;
    options.merge_keys = serde_saphyr::options::MergeKeyPolicy::AsOrdinary;
    // A node may be called "n", "on" or "007".
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.underscored_numbers_as_strings = true;
    if let Some(budget) = &mut options.budget {
        budget.max_nodes = MAX_NODES;
        budget.max_events = MAX_NODES * 2;
    }
    let mapping: Mapping = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| (error.location().map(|at| at.line()), error.without_snippet().to_string()))?;
    Ok(mapping.0)
}

/// Makes settings of lines.
fn settings(path: String, lines: Vec<Line>, known: &[Known]) -> File {
    let mut file = File { path, ..File::default() };
    let mut first_lines: Vec<(String, u64)> = Vec::new();
    for (key, value) in lines {
        let (line, key) = (key.referenced.line(), key.value);
        let place = format!("{}:{line}: {key}", file.path);
        if let Some((_, before)) = first_lines.iter().find(|(other, _)| *other == key) {
            let message = format!("stands here twice: first in line {before}");
            file.problems.push(Problem { place, message });
            continue;
        }
        first_lines.push((key.clone(), line));
        let entry = match known.iter().find(|known| known.key == key) {
            Some(known) => value.of(known).map(|values| Entry { id: known.id().to_owned(), line, values }),
            None => Err(unknown(&key, known)),
        };
        match entry {
            // An empty list sets nothing.
            Ok(entry) if entry.values.is_empty() => {}
            Ok(entry) => file.entries.push(entry),
            Err(message) => file.problems.push(Problem { place, message }),
        }
    }
    file
}

/// What is said of a key that there is not.
fn unknown(key: &str, known: &[Known]) -> String {
    let hint = match nearest(key, known.iter().map(|known| known.key.as_str())) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "the keys are the long names of the flags that `limpet agent --help` shows".to_owned(),
    };
    format!("there is no such setting; {hint}")
}

/// The nearest of the names, if one is near. `_` is as good as `-`, and big letters as small ones.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace('_', "-");
    let name = plain(name);
    let with_distance = names.map(|other| (suggest::distance(&name, &plain(other)), other));
    let near = with_distance.filter(|(distance, _)| *distance <= suggest::tolerated(&name));
    near.min_by_key(|(distance, _)| *distance).map(|(_, other)| other)
}

/// The mapping of a file.
struct Mapping(Vec<Line>);

/// What stands at a key.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Value {
    Nothing,
    Scalar(String),
    List(Vec<Value>),
    Mapping,
}

impl Value {
    /// The values of this setting.
    ///
    /// # Errors
    /// Why they are none.
    fn of(self, known: &Known) -> Result<Vec<String>, String> {
        let values = match self {
            Self::Scalar(text) => vec![text],
            Self::Nothing => return Err("has no value; leave the key out for the default".to_owned()),
            Self::Mapping => return Err(format!("is a mapping, where a {} is needed", known.form())),
            Self::List(_) if !known.takes_list() => {
                return Err(format!("is a list, where one {} is needed", known.form()));
            }
            Self::List(items) => items
                .into_iter()
                .map(|item| match item {
                    Self::Scalar(text) => Ok(text),
                    Self::Nothing | Self::List(_) | Self::Mapping => {
                        Err("is a list of something else than texts".to_owned())
                    }
                })
                .collect::<Result<_, _>>()?,
        };
        // A list is one value to a flag that reads commas itself.
        let values = if values.is_empty() || known.is_repeated() { values } else { vec![values.join(",")] };
        known.check(&values)?;
        Ok(values)
    }
}

impl<'de> Deserialize<'de> for Mapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MappingVisitor)
    }
}

struct MappingVisitor;

impl<'de> Visitor<'de> for MappingVisitor {
    type Value = Mapping;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of settings, as in `max-flows: 1000`")
    }

    fn visit_unit<E: Error>(self) -> Result<Mapping, E> {
        Ok(Mapping(Vec::new()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Mapping, A::Error> {
        let mut lines = Vec::new();
        while let Some(line) = map.next_entry()? {
            lines.push(line);
        }
        Ok(Mapping(lines))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, or a list of values")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
        Ok(Value::Mapping)
    }
}
