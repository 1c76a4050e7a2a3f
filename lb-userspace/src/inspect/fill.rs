//! How full the maps are: rows of `limpet status`.

use std::collections::BTreeSet;

use lb_common::layout::SLOTS_PER_CHUNK;
use serde::Serialize;

use super::{
    output::{NOTHING_THERE, Row, percent},
    read::Opened,
    state::State,
};
use crate::{dataplane::Error, model::Family};

/// What there is of one kind of thing, and how much there is room for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct FillRow {
    /// The kind of thing.
    pub what: &'static str,
    /// The address family, where each has a map of its own.
    pub family: Option<Family>,
    /// How much there is.
    pub used: u32,
    /// How much there is room for.
    pub room: u32,
}

/// The maps that the programs fill and what they hold, without the family's digit.
const FLOWS: [(&str, &str); 6] = [
    ("clients", "AFFINITY"),
    ("clients of one packet", "NEW_AFFINITY"),
    ("flows", "FLOWS"),
    ("flows of one packet", "NEW_FLOWS"),
    ("replies", "REPLIES"),
    ("replies of one packet", "NEW_REPLIES"),
];

/// The fill of all maps that can become full.
///
/// # Errors
/// When a map cannot be read.
pub fn rows(opened: &Opened, state: &State) -> Result<Vec<FillRow>, Error> {
    let mut rows = Vec::new();
    for family in Family::ALL {
        let used = state.frontends.iter().filter(|frontend| Family::of(frontend.address.ip()) == family).count();
        let room = opened.room(&map_name("FRONTENDS", family));
        rows.push(FillRow { what: "frontends", family: Some(family), used: count(used), room });
    }
    for family in Family::ALL {
        let ranges = state.source_ranges.values().flatten().filter(|range| Family::of(range.addr()) == family);
        let room = opened.room(&map_name("SOURCE_RANGES", family));
        rows.push(FillRow { what: "source ranges", family: Some(family), used: count(ranges.count()), room });
    }
    let slots = opened.room("SLOTS").saturating_mul(SLOTS_PER_CHUNK);
    rows.push(FillRow { what: "slots", family: None, used: slots_used(state), room: slots });
    rows.push(FillRow {
        what: "backends",
        family: None,
        used: count(state.backends.len()),
        room: opened.room("BACKENDS"),
    });
    let nodes = opened.room(&map_name("NEXT_HOPS", Family::V4));
    rows.push(FillRow { what: "nodes", family: None, used: count(state.nodes.len()), room: nodes });
    for (what, map) in FLOWS {
        for family in Family::ALL {
            let map = map_name(map, family);
            rows.push(FillRow { what, family: Some(family), used: opened.count(&map)?, room: opened.room(&map) });
        }
    }
    Ok(rows)
}

/// Slots of all tables that frontends point at.
fn slots_used(state: &State) -> u32 {
    let extents: BTreeSet<_> = state.frontends.iter().filter_map(|frontend| frontend.table).collect();
    extents.iter().fold(0, |sum, extent| sum.saturating_add(extent.length))
}

fn map_name(map: &str, family: Family) -> String {
    match family {
        Family::V4 => format!("{map}4"),
        Family::V6 => format!("{map}6"),
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Row for FillRow {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["WHAT", "FAMILY", "USED", "ROOM", "FILL"]
    }

    fn cells(&self, _wide: bool) -> Vec<String> {
        let family = self.family.map_or_else(|| NOTHING_THERE.to_owned(), |family| family.to_string());
        let fill = if self.room == 0 { 0.0 } else { f64::from(self.used) / f64::from(self.room) };
        vec![self.what.to_owned(), family, self.used.to_string(), self.room.to_string(), percent(fill)]
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{output, state::sample},
        *,
    };
    use crate::cli::OutputOptions;

    #[test]
    fn a_table_that_two_frontends_share_is_counted_once() {
        assert_eq!(slots_used(&sample::state()), 251);
    }

    #[test]
    fn table() {
        let rows = [
            FillRow { what: "slots", family: None, used: 251, room: 1024 },
            FillRow { what: "flows", family: Some(Family::V6), used: 0, room: 0 },
        ];
        let expected = "\
WHAT   FAMILY  USED  ROOM  FILL
slots  -       251   1024  24.5%
flows  IPv6    0     0     0.0%
";
        assert_eq!(output::rows(&rows, &OutputOptions::default()).unwrap(), expected);
    }
}
