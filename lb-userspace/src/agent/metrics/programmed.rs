//! What the metrics need of what is programmed: names, and how much room is taken. Taken over from the agent's loop, so that
//! a scrape neither waits for it nor reads the names from the maps. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::sample::Fill;
use crate::{
    dataplane::Sizes,
    model::ServicePortName,
    plan::{Applied, RecordState},
};

/// Names of Service ports by id, and how much room is taken.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Programmed {
    /// Service ports.
    pub(super) services: BTreeMap<u32, ServicePortName>,
    /// Those that hold their clients.
    pub(super) holding: BTreeSet<u32>,
    used: Used,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Used {
    frontends: usize,
    slots: u64,
    backends: usize,
    nodes: usize,
    siblings: usize,
    source_ranges: usize,
}

impl Programmed {
    /// Takes over what has changed.
    pub(super) fn update(&mut self, applied: &Applied) {
        // Nearly always they are the same, and comparing is cheaper than copying.
        if self.services != applied.services {
            self.services.clone_from(&applied.services);
        }
        let holding = applied.frontends.values().filter(|frontend| frontend.affinity.is_some());
        self.holding = holding.map(|frontend| frontend.service).collect();
        let alive = |state: RecordState| state != RecordState::Gone;
        self.used = Used {
            frontends: applied.frontends.len(),
            slots: applied.tables.values().map(|table| u64::from(table.extent.length)).sum(),
            backends: applied.backends.values().filter(|backend| alive(backend.record.state)).count(),
            nodes: applied.nodes.len(),
            siblings: applied.siblings.len(),
            source_ranges: applied.source_ranges.len(),
        };
    }

    /// How full the agent's own maps are: as far as the flags that limit them, both families together.
    pub(super) fn fill(&self, sizes: &Sizes) -> Vec<Fill> {
        let Used { frontends, slots, backends, nodes, siblings, source_ranges } = self.used;
        let fill = |(map, used, capacity): (&str, u64, u32)| Fill {
            map: map.to_owned(),
            used: Some(used),
            capacity: capacity.into(),
        };
        [
            ("frontends", frontends as u64, sizes.frontends),
            ("slots", slots, sizes.slots),
            ("backends", backends as u64, sizes.backends),
            ("services", self.services.len() as u64, sizes.services),
            ("nodes", nodes as u64, sizes.nodes),
            ("siblings", siblings as u64, sizes.siblings()),
            ("source_ranges", source_ranges as u64, sizes.source_ranges),
        ]
        .map(fill)
        .into()
    }
}
