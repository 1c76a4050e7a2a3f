//! What is different between two states of the maps, element by element. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use lb_common::layout::{Backend, Config, Frontend};

use super::{Elements, Endpoint, NextHop};
use crate::model::Family;

/// An element that is not what it should be; none: it is not there, or should not be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Of `CONFIG`.
    Config {
        /// What is programmed.
        programmed: Config,
        /// What should be.
        wanted: Config,
    },
    /// Of `NAMES`.
    Name {
        /// Kind and id.
        key: (u32, u32),
        /// What is programmed.
        programmed: Option<String>,
        /// What should be.
        wanted: Option<String>,
    },
    /// Of `PEERS`.
    Peer {
        /// The node's address.
        address: IpAddr,
        /// What is programmed.
        programmed: Option<u32>,
        /// What should be.
        wanted: Option<u32>,
    },
    /// Of `NEXT_HOPS`.
    NextHop {
        /// The node's id, and the family.
        key: (u32, Family),
        /// What is programmed.
        programmed: Option<NextHop>,
        /// What should be.
        wanted: Option<NextHop>,
    },
    /// Of `BACKENDS`.
    Backend {
        /// Its id.
        id: u32,
        /// What is programmed.
        programmed: Option<Backend>,
        /// What should be.
        wanted: Option<Backend>,
    },
    /// Of `LOCALS`.
    Local {
        /// Where it listens.
        at: Endpoint,
        /// What is programmed.
        programmed: Option<u32>,
        /// What should be.
        wanted: Option<u32>,
    },
    /// Of `SIBLINGS`.
    Sibling {
        /// The Service port, and another one's backend.
        key: (u32, u32),
        /// What is programmed.
        programmed: Option<u32>,
        /// What should be.
        wanted: Option<u32>,
    },
    /// Of `SOURCE_RANGES`.
    SourceRange {
        /// The Service port's id.
        service: u32,
        /// The range.
        range: IpNet,
        /// Whether it should be there.
        is_wanted: bool,
    },
    /// Of `FRONTENDS`.
    Frontend {
        /// Where it is.
        at: Endpoint,
        /// What is programmed.
        programmed: Option<Frontend>,
        /// What should be.
        wanted: Option<Frontend>,
    },
}

impl Change {
    /// Whether something is there that should not be.
    pub fn is_removal(&self) -> bool {
        match self {
            Self::Config { .. } => false,
            Self::Name { wanted, .. } => wanted.is_none(),
            Self::Peer { wanted, .. } | Self::Local { wanted, .. } | Self::Sibling { wanted, .. } => wanted.is_none(),
            Self::NextHop { wanted, .. } => wanted.is_none(),
            Self::Backend { wanted, .. } => wanted.is_none(),
            Self::SourceRange { is_wanted, .. } => !is_wanted,
            Self::Frontend { wanted, .. } => wanted.is_none(),
        }
    }
}

impl Elements {
    /// What makes `wanted` of these, in an order in which nothing points at what is missing at any moment: first what is
    /// missing or different, names and nodes before backends and those before frontends; then, the other way round, what is
    /// too much.
    pub fn changes_to(&self, wanted: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.config != wanted.config {
            changes.push(Change::Config { programmed: self.config, wanted: wanted.config });
        }
        for (key, programmed, wanted) in unequal(&self.names, &wanted.names) {
            changes.push(Change::Name { key, programmed, wanted });
        }
        for (address, programmed, wanted) in unequal(&self.peers, &wanted.peers) {
            changes.push(Change::Peer { address, programmed, wanted });
        }
        for (key, programmed, wanted) in unequal(&self.next_hops, &wanted.next_hops) {
            changes.push(Change::NextHop { key, programmed, wanted });
        }
        for (id, programmed, wanted) in unequal(&self.backends, &wanted.backends) {
            changes.push(Change::Backend { id, programmed, wanted });
        }
        for (at, programmed, wanted) in unequal(&self.locals, &wanted.locals) {
            changes.push(Change::Local { at, programmed, wanted });
        }
        for (key, programmed, wanted) in unequal(&self.siblings, &wanted.siblings) {
            changes.push(Change::Sibling { key, programmed, wanted });
        }
        for (service, range) in self.source_ranges.symmetric_difference(&wanted.source_ranges).copied() {
            let is_wanted = wanted.source_ranges.contains(&(service, range));
            changes.push(Change::SourceRange { service, range, is_wanted });
        }
        for (at, programmed, wanted) in unequal(&self.frontends, &wanted.frontends) {
            changes.push(Change::Frontend { at, programmed, wanted });
        }
        let (mut removals, mut changes): (Vec<_>, Vec<_>) = changes.into_iter().partition(Change::is_removal);
        removals.reverse();
        changes.append(&mut removals);
        changes
    }
}

/// The keys of which the values are not equal, with both.
fn unequal<K: Copy + Ord, V: Clone + PartialEq>(
    programmed: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
) -> Vec<(K, Option<V>, Option<V>)> {
    let here = programmed.iter().filter(|(key, value)| wanted.get(key) != Some(value));
    let here = here.map(|(key, value)| (*key, Some(value.clone()), wanted.get(key).cloned()));
    let missing = wanted.iter().filter(|(key, _)| !programmed.contains_key(key));
    let missing = missing.map(|(key, value)| (*key, None, Some(value.clone())));
    here.chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_first_and_what_is_too_much_goes_last() {
        let at = |port| Endpoint { address: IpAddr::from([192, 0, 2, 1]), port, protocol: 6 };
        let frontend = |service| Frontend { service, ..Frontend::default() };
        let programmed = Elements {
            names: BTreeMap::from([((1, 9), "gone".to_owned())]),
            frontends: BTreeMap::from([(at(1), frontend(1)), (at(2), frontend(2)), (at(3), frontend(3))]),
            ..Elements::default()
        };
        let wanted = Elements {
            backends: BTreeMap::from([(4, Backend::default())]),
            frontends: BTreeMap::from([(at(1), frontend(1)), (at(2), frontend(7))]),
            ..Elements::default()
        };
        let expected = [
            Change::Backend { id: 4, programmed: None, wanted: Some(Backend::default()) },
            Change::Frontend { at: at(2), programmed: Some(frontend(2)), wanted: Some(frontend(7)) },
            Change::Frontend { at: at(3), programmed: Some(frontend(3)), wanted: None },
            Change::Name { key: (1, 9), programmed: Some("gone".to_owned()), wanted: None },
        ];
        assert_eq!(programmed.changes_to(&wanted), expected);
        assert_eq!(wanted.changes_to(&wanted), []);
    }
}
