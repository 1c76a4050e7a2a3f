//! Carrying over what is in the maps of one directory to those of another, by meaning.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    path::Path,
};

use super::{convert::Recipe, convert::own, counts::Counts, directories::Directory};
use crate::dataplane::{
    Error,
    raw::{Put, RawMap, kind},
    schema::MapSchema,
};

/// What happens to a map that is not the very same one in both directories.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// All of it, or nothing at all.
    Whole,
    /// What there is room for, and once more what was recorded meanwhile.
    Recent,
    /// The same, once packets come in by our programs, and only where they recorded nothing themselves.
    Notes,
    /// As it is, and once more what was counted meanwhile.
    Counts,
    /// As it is: a second later it means nothing any more.
    Rates,
    /// As far as it goes.
    AsFarAsItGoes,
    /// Worked out anew where the number of sets is another one.
    Ghosts,
    /// Nothing: what waits in it is told by nobody.
    Nothing,
}

/// The names without the family's digit.
fn way(name: &str) -> Way {
    match name.trim_end_matches(['4', '6']) {
        "FLOWS" | "NEW_FLOWS" | "AFFINITY" | "NEW_AFFINITY" => Way::Recent,
        "REPLIES" | "NEW_REPLIES" => Way::Notes,
        "COUNTERS" | "BREAKS" | "SERVICE_COUNTS" => Way::Counts,
        // Of `SLOTS`, what tables need is checked afterwards: what lies behind them is no table any more.
        "SLOTS" | "CONFIG" => Way::AsFarAsItGoes,
        "BREAK_RATE" | "REJECT_RATE" => Way::Rates,
        "GHOSTS" => Way::Ghosts,
        "BREAK_EVENTS" => Way::Nothing,
        _ => Way::Whole,
    }
}

/// The very same map in both directories, where the records and the sizes are the same. `CONFIG` never is: it holds a
/// size of another map, and tells one directory from another.
pub(super) fn is_shared(from: &MapSchema, to: &MapSchema) -> bool {
    from == to && from.name != "CONFIG"
}

/// Pins the maps of `from` that are as they are wanted in another directory too.
pub(super) fn share(root: &Path, from: &Directory, wanted: &[MapSchema], to: &Path) -> Result<(), Error> {
    let Some(schema) = from.schema() else { return Ok(()) };
    let maps = root.join(&from.name).join("maps");
    for map in wanted {
        if schema.map(&map.name).is_some_and(|old| is_shared(old, map)) {
            RawMap::open(&maps, &map.name)?.pin(to)?;
        }
    }
    Ok(())
}

/// This part of a map that programs use stays free of what is carried over: for what they record meanwhile.
const MARGIN_PART: u32 = 16;

/// How many there were, of both families.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Carried {
    pub(super) flows: u64,
    pub(super) clients: u64,
}

/// What has been carried over so far, and how to carry over what came since.
#[derive(Default)]
pub(super) struct Carrier {
    recent: Vec<Recent>,
    /// What waits until packets come in by our programs.
    notes: Vec<Recent>,
    counts: Vec<Counts>,
    hasher: RandomState,
}

/// A map whose elements come and go.
struct Recent {
    from: RawMap,
    to: RawMap,
    recipes: (Recipe, Recipe),
    /// Hashes of the elements that were seen, as they were then.
    seen: HashSet<u64>,
}

impl Carrier {
    /// Carries everything over that is not the very same map, into maps that hold nothing yet. `to` is where they are.
    ///
    /// # Errors
    /// When a map cannot be read or written, or does not hold what it must.
    pub(super) fn carry_all(
        &mut self,
        root: &Path,
        from: &Directory,
        wanted: &[MapSchema],
        to: &Path,
    ) -> Result<(), Error> {
        let Some(schema) = from.schema() else { return Ok(()) };
        let maps = root.join(&from.name).join("maps");
        for new in wanted {
            let Some(old) = schema.map(&new.name) else { continue };
            if is_shared(old, new) {
                continue;
            }
            let (from, to) = (RawMap::open(&maps, &new.name)?, RawMap::open(to, &new.name)?);
            match way(&new.name) {
                Way::Recent => self.carry_recent(from, to, old, new)?,
                Way::Notes => self.notes.push(Recent::new(from, to, old, new)?),
                Way::Counts => self.counts.push(Counts::carry(from, to, &recipes(old, new)?.1)?),
                Way::Whole => copy(&from, &to, &recipes(old, new)?, true)?,
                Way::AsFarAsItGoes => copy(&from, &to, &recipes(old, new)?, false)?,
                Way::Rates => drop(Counts::carry(from, to, &recipes(old, new)?.1)?),
                Way::Ghosts if old.entries == new.entries => copy(&from, &to, &recipes(old, new)?, true)?,
                Way::Ghosts | Way::Nothing => {}
            }
        }
        Ok(())
    }

    /// Carries over what programs recorded that may still run, where it is not known yet. `to` is a directory of ours, with whose
    /// maps programs may run already.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub(super) fn add_recorded(
        &mut self,
        root: &Path,
        from: &Directory,
        wanted: &[MapSchema],
        to: &Path,
    ) -> Result<(), Error> {
        let Some(schema) = from.schema() else { return Ok(()) };
        let maps = root.join(&from.name).join("maps");
        for new in wanted.iter().filter(|map| matches!(way(&map.name), Way::Recent | Way::Notes)) {
            let Some(old) = schema.map(&new.name) else { continue };
            let (from, to) = (RawMap::open(&maps, &new.name)?, RawMap::open(to, &new.name)?);
            if from.id() == to.id() {
                continue;
            }
            let mut recent = Recent::new(from, to, old, new)?;
            if way(&new.name) == Way::Notes {
                self.notes.push(recent);
            } else {
                recent.carry_what_fits(&self.hasher)?;
                self.recent.push(recent);
            }
        }
        Ok(())
    }

    /// Carries over the notes that replies are rewritten by. To be called when packets come in by our programs.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub(super) fn carry_notes(&mut self) -> Result<(), Error> {
        self.notes.iter_mut().try_for_each(|notes| notes.carry_what_fits(&self.hasher))
    }

    /// Carries over what changed since: the newer one replaces what was carried over before.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub(super) fn catch_up(&mut self) -> Result<(), Error> {
        for recent in &mut self.recent {
            recent.carry_unseen(&self.hasher, false)?;
        }
        self.counts.iter_mut().try_for_each(Counts::catch_up)
    }

    /// Into a map that no program uses yet.
    fn carry_recent(&mut self, from: RawMap, to: RawMap, old: &MapSchema, new: &MapSchema) -> Result<(), Error> {
        let last_used = new.value.field("last_used_seconds").map(|field| field.offset as usize);
        let mut recent = Recent::new(from, to, old, new)?;
        match last_used.filter(|_| new.entries < old.entries) {
            Some(last_used) => recent.carry_oldest_first(&self.hasher, last_used)?,
            None => recent.carry_unseen(&self.hasher, true)?,
        }
        self.recent.push(recent);
        Ok(())
    }
}

impl Recent {
    fn new(from: RawMap, to: RawMap, old: &MapSchema, new: &MapSchema) -> Result<Self, Error> {
        Ok(Self { from, to, recipes: recipes(old, new)?, seen: HashSet::new() })
    }

    /// Into a map that programs use: what is there already is newer, and may not be pushed out. A full map would forget what
    /// was recorded a moment ago.
    fn carry_what_fits(&mut self, hasher: &RandomState) -> Result<(), Error> {
        let entries = self.to.shape().entries;
        let mut room = entries.saturating_sub(entries / MARGIN_PART);
        self.to.for_each(|_, _| {
            room = room.saturating_sub(1);
            Ok(())
        })?;
        let Self { from, to, recipes, seen } = self;
        from.for_each(|key, value| {
            if room > 0 && seen.insert(hasher.hash_one((key, value))) {
                let (key, value) = convert(to, recipes, key, value)?;
                room -= u32::from(to.put(&key, &value, true)? == Put::Done);
            }
            Ok(())
        })
    }

    /// Where `must_be_new`, what is there already stays.
    fn carry_unseen(&mut self, hasher: &RandomState, must_be_new: bool) -> Result<(), Error> {
        let Self { from, to, recipes, seen } = self;
        from.for_each(|key, value| {
            if seen.insert(hasher.hash_one((key, value))) {
                let (key, value) = convert(to, recipes, key, value)?;
                // A map that forgets makes room by itself; that there was none for once costs one element.
                to.put(&key, &value, must_be_new)?;
            }
            Ok(())
        })
    }

    /// The same into a map that has less room: what was not used for longest comes first, and so is forgotten first.
    fn carry_oldest_first(&mut self, hasher: &RandomState, last_used: usize) -> Result<(), Error> {
        let Self { from, to, recipes, seen } = self;
        let mut all = Vec::new();
        from.for_each(|key, value| {
            seen.insert(hasher.hash_one((key, value)));
            let (key, value) = convert(to, recipes, key, value)?;
            let seconds = value.get(last_used..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_ne_bytes);
            all.push((seconds.unwrap_or(0), key, value));
            Ok(())
        })?;
        all.sort_unstable();
        all.iter().try_for_each(|(_, key, value)| to.put(key, value, true).map(drop))
    }
}

/// How many flows and clients there are in a directory of ours.
///
/// # Errors
/// When a map cannot be read.
pub(super) fn count(maps: &Path) -> Result<Carried, Error> {
    let of = |names: [&str; 4]| {
        let mut count = 0;
        for name in names {
            RawMap::open(maps, name)?.for_each(|_, _| {
                count += 1;
                Ok(())
            })?;
        }
        Ok::<_, Error>(count)
    };
    Ok(Carried {
        flows: of(["FLOWS4", "FLOWS6", "NEW_FLOWS4", "NEW_FLOWS6"])?,
        clients: of(["AFFINITY4", "AFFINITY6", "NEW_AFFINITY4", "NEW_AFFINITY6"])?,
    })
}

/// Copies all elements; of an array, those that are not nothing but zeros. Fails where one finds no room.
fn copy(from: &RawMap, to: &RawMap, recipes: &(Recipe, Recipe), must_fit: bool) -> Result<(), Error> {
    from.for_each(|key, value| {
        if from.shape().kind == kind::ARRAY && value.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let (key, value) = convert(to, recipes, key, value)?;
        match to.put(&key, &value, false)? {
            Put::Full if must_fit => Err(Error::DoesNotFit { name: to.name().to_owned() }),
            Put::Done | Put::WasThere | Put::Full => Ok(()),
        }
    })
}

fn recipes(old: &MapSchema, new: &MapSchema) -> Result<(Recipe, Recipe), Error> {
    let key = Recipe::between(&old.key, &new.key);
    let value = Recipe::between(&old.value, &new.value);
    key.zip(value).ok_or_else(|| Error::NarrowerField { name: new.name.clone() })
}

fn convert(to: &RawMap, recipes: &(Recipe, Recipe), key: &[u8], value: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let wrong = || Error::Layout { name: to.name().to_owned() };
    let key = recipes.0.apply(key).ok_or_else(wrong)?;
    let mut value = recipes.1.apply(value).ok_or_else(wrong)?;
    own(to.name(), &key, &mut value);
    Ok((key, value))
}
