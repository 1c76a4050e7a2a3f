//! What is programmed, in ids; and what a write makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ipnet::IpNet;

use super::types::{BackendRecord, Extent, FrontendKey, FrontendValue, RecordState, Write};
use super::{GRACE_SECONDS, TABLE_GRACE_SECONDS};
use crate::model::{Family, NodeAddresses, Protocol, ServicePortName, maglev};

/// What is programmed. Everything in it can be read back from the maps.
///
/// After reading back, what cannot be known is taken at its safest: `retired_at` of records that
/// are Gone is the time of reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// Service ids and what they stand for.
    pub services: BTreeMap<u32, ServicePortName>,
    /// Backend ids and the identities that they stand for, or stood for last.
    pub backend_names: BTreeMap<u32, String>,
    /// Backend ids with their records, those that are Gone included, for their generations.
    pub backends: BTreeMap<u32, AppliedBackend>,
    /// Node ids; 0 is this node.
    pub nodes: BTreeMap<u32, AppliedNode>,
    /// The frontends.
    pub frontends: BTreeMap<FrontendKey, FrontendValue>,
    /// The tables by their first slot. For a moment a Service port and family may have two.
    pub tables: BTreeMap<u32, AppliedTable>,
    /// The backends on this node by address, those that are Gone included for [`GRACE_SECONDS`].
    pub local_backends: BTreeMap<(SocketAddr, Protocol), u32>,
    /// For a Service port and another port's backend, its own backend on the same Pod.
    pub siblings: BTreeMap<(u32, u32), u32>,
    /// Who may begin something, by Service port.
    pub source_ranges: BTreeSet<(u32, IpNet)>,
    /// Service ids that were forgotten, with the time; not to be used for [`GRACE_SECONDS`].
    pub cooling_services: BTreeMap<u32, u64>,
    /// Node ids that were removed, with the time; not to be used for [`GRACE_SECONDS`].
    pub cooling_nodes: BTreeMap<u32, u64>,
    /// Extents that were forgotten, with the time; not to be used for [`TABLE_GRACE_SECONDS`].
    pub cooling_extents: BTreeMap<Extent, u64>,
}

/// A backend's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedBackend {
    /// The record.
    pub record: BackendRecord,
    /// Since when it is Gone; none while it is not.
    pub retired_at: Option<u64>,
}

/// A node's name and addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedNode {
    /// Its name.
    pub name: String,
    /// Where its tunnel ends.
    pub addresses: NodeAddresses,
}

/// A table that is in the array of slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedTable {
    /// The Service port's id.
    pub service: u32,
    /// The family of its backends.
    pub family: Family,
    /// Where it is.
    pub extent: Extent,
    /// The different ids in the slots, sorted. A table is a function of its members, so comparing
    /// these is comparing tables, and the slots themselves need not be kept.
    pub members: Vec<u32>,
    /// Whether the slots are what that function gives; false has the table written anew.
    pub intact: bool,
}

impl AppliedTable {
    /// A table with these ids in its slots, taken to be intact.
    #[must_use]
    pub fn new(service: u32, family: Family, extent: Extent, mut ids: Vec<u32>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        ids.shrink_to_fit();
        Self { service, family, extent, members: ids, intact: true }
    }
}

impl Applied {
    /// Looks at every table and marks those that are not what their members give: written by
    /// another version, or damaged. To be called once after reading back, with what gives the slots of a table.
    pub fn check_tables(&mut self, slots: impl Fn(Extent) -> Option<Vec<u32>>) {
        let is_intact = |table: &AppliedTable| {
            let wanted = self.slots_of(table);
            wanted.is_some() && wanted == slots(table.extent)
        };
        let intact: Vec<bool> = self.tables.values().map(is_intact).collect();
        for (table, intact) in self.tables.values_mut().zip(intact) {
            table.intact = intact;
        }
    }

    /// What a table's members give: for each slot a backend's id. None where one of them is gone, or has no name.
    #[must_use]
    pub fn slots_of(&self, table: &AppliedTable) -> Option<Vec<u32>> {
        let member = |id: &u32| {
            let is_alive = self.backends.get(id).is_some_and(|it| it.record.state != RecordState::Gone);
            let identity = self.backend_names.get(id).filter(|_| is_alive)?;
            Some((identity.as_str(), *id))
        };
        let mut members = table.members.iter().map(member).collect::<Option<Vec<(&str, u32)>>>()?;
        members.sort_unstable();
        let identities: Vec<&str> = members.iter().map(|(identity, _)| *identity).collect();
        let owners = maglev::table(&identities).into_iter();
        owners.map(|owner| members.get(owner as usize).map(|(_, id)| *id)).collect()
    }

    /// These, read back, with what no map holds as `before` has it: when something went, and what cools down for how long.
    #[must_use]
    pub fn with_times_of(mut self, before: &Self, now_seconds: u64) -> Self {
        for (id, backend) in &mut self.backends {
            let known = before.backends.get(id).and_then(|backend| backend.retired_at);
            backend.retired_at = backend.retired_at.map(|now| known.unwrap_or(now));
        }
        let (services, nodes) = (&self.services, &self.nodes);
        let is_free = |ids: &BTreeMap<u32, u64>, is_used: &dyn Fn(&u32) -> bool| {
            ids.iter().filter(|(id, _)| !is_used(id)).map(|(id, since)| (*id, *since)).collect::<BTreeMap<_, _>>()
        };
        self.cooling_services = is_free(&before.cooling_services, &|id| services.contains_key(id));
        self.cooling_nodes = is_free(&before.cooling_nodes, &|id| nodes.contains_key(id));
        self.cooling_extents = before.cooling_extents.clone();
        // Packets may still be reading them.
        let lost = before.tables.values().filter(|table| !self.tables.contains_key(&table.extent.offset));
        self.cooling_extents.extend(lost.map(|table| (table.extent, now_seconds)));
        self
    }

    /// Takes ids of Service ports and nodes that nobody has any more for given back just now: those that backends which are
    /// gone still name, and the Service ports that are known to have had traffic. To be called once after reading back.
    pub fn cool_what_was_given_back(&mut self, services_with_traffic: impl IntoIterator<Item = u32>, now_seconds: u64) {
        let records = || self.backends.values().map(|backend| &backend.record);
        let services = records().map(|record| record.service).chain(services_with_traffic);
        let services: BTreeSet<u32> = services.filter(|id| !self.services.contains_key(id)).collect();
        let nodes: BTreeSet<u32> =
            records().map(|record| record.node).filter(|id| !self.nodes.contains_key(id)).collect();
        self.cooling_services.extend(services.into_iter().map(|id| (id, now_seconds)));
        self.cooling_nodes.extend(nodes.into_iter().map(|id| (id, now_seconds)));
    }

    /// What the write makes of it, at this time.
    pub fn apply(&mut self, write: &Write, now_seconds: u64) {
        self.cool_down(now_seconds);
        match write {
            Write::NameService { id, name } => {
                self.cooling_services.remove(id);
                self.services.insert(*id, name.clone());
            }
            Write::NameBackend { id, identity, node_name: _ } => {
                self.backend_names.insert(*id, identity.clone());
            }
            Write::Node { id, name, addresses } => {
                self.cooling_nodes.remove(id);
                let node = AppliedNode { name: name.clone(), addresses: *addresses };
                self.nodes.insert(*id, node);
            }
            Write::Backend { id, backend } => {
                self.backends.insert(*id, AppliedBackend { record: *backend, retired_at: None });
            }
            Write::LocalBackend { address, protocol, id } => {
                self.local_backends.insert((*address, *protocol), *id);
            }
            Write::Sibling { service, backend, id } => {
                self.siblings.insert((*service, *backend), *id);
            }
            Write::RemoveSibling { service, backend } => {
                self.siblings.remove(&(*service, *backend));
            }
            Write::Table { service, family, extent, pool } => {
                let table = AppliedTable::new(*service, *family, *extent, pool.ids());
                self.tables.insert(extent.offset, table);
            }
            Write::Frontend { address, port, protocol, value } => {
                let key = FrontendKey { address: *address, port: *port, protocol: *protocol };
                self.frontends.insert(key, *value);
            }
            Write::SourceRange { service, range } => {
                self.source_ranges.insert((*service, *range));
            }
            Write::RemoveSourceRange { service, range } => {
                self.source_ranges.remove(&(*service, *range));
            }
            Write::RemoveFrontend { address, port, protocol } => {
                let key = FrontendKey { address: *address, port: *port, protocol: *protocol };
                self.frontends.remove(&key);
            }
            Write::RemoveLocalBackend { address, protocol } => {
                self.local_backends.remove(&(*address, *protocol));
            }
            Write::ForgetTable { extent, .. } => {
                self.tables.remove(&extent.offset);
                self.cooling_extents.insert(*extent, now_seconds);
            }
            Write::RetireBackend { id } => {
                if let Some(backend) = self.backends.get_mut(id) {
                    backend.record.state = RecordState::Gone;
                    backend.retired_at = Some(now_seconds);
                }
            }
            Write::RemoveNode { id } => {
                self.nodes.remove(id);
                self.cooling_nodes.insert(*id, now_seconds);
            }
            Write::ForgetService { id } => {
                self.services.remove(id);
                self.cooling_services.insert(*id, now_seconds);
            }
        }
    }

    /// Forgets what was taken away long enough ago.
    fn cool_down(&mut self, now_seconds: u64) {
        let cooling = |since: &u64, grace: u64| since.saturating_add(grace) > now_seconds;
        self.cooling_services.retain(|_, since| cooling(since, GRACE_SECONDS));
        self.cooling_nodes.retain(|_, since| cooling(since, GRACE_SECONDS));
        self.cooling_extents.retain(|_, since| cooling(since, TABLE_GRACE_SECONDS));
    }
}
