//! The planner: Service port by Service port, all of one or nothing of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_common::layout::INSIDE;

use super::applied::{Applied, AppliedTable};
use super::extents::FreeList;
use super::full::Full;
use super::ids::Ids;
use super::pools::{self, Choice};
use super::ranges::Ranges;
use super::settled::{Scope, Settled};
use super::types::{FrontendKey, FrontendValue, Limits, Plan, Write};
use super::wanted::Wanted;
use super::{GRACE_SECONDS, TABLE_GRACE_SECONDS, frontends, locals, removals, siblings};
use crate::model::{Desired, Family, Frontend, NodeAddresses, ServicePort, ServicePortName};
use crate::source::Problem;

/// What to write, in which order, so that what is applied becomes what is desired.
///
/// A Service port for which something is full keeps all that it had, and a [`Problem`] says what
/// to raise; all others go on. If `desired` is not complete, nothing is taken away.
#[must_use]
pub fn plan(applied: &Applied, desired: &Desired, now_seconds: u64, limits: &Limits) -> Plan {
    Planner::new(applied, desired, now_seconds, limits, Scope::All).plan()
}

/// The same as [`plan`], faster: looks at what has changed since `settled`, from which `applied` is. Without it, or where a
/// limit is met, at everything.
#[must_use]
pub fn plan_after(
    settled: Option<&Settled>,
    applied: &Applied,
    desired: &Desired,
    now_seconds: u64,
    limits: &Limits,
) -> Plan {
    let scope = settled.map_or(Scope::All, |settled| settled.scope(applied, desired));
    let was_all = scope.is_all();
    let planned = Planner::new(applied, desired, now_seconds, limits, scope).plan();
    if was_all || planned.problems.is_empty() { planned } else { plan(applied, desired, now_seconds, limits) }
}

/// A Service port and the ids of its backends.
pub(super) struct Members<'a> {
    pub(super) name: &'a ServicePortName,
    pub(super) port: &'a ServicePort,
    pub(super) service: u32,
    /// In the order of the port's backends.
    pub(super) ids: Vec<u32>,
}

pub(super) struct Planner<'a> {
    pub(super) applied: &'a Applied,
    pub(super) desired: &'a Desired,
    pub(super) now_seconds: u64,
    pub(super) limits: &'a Limits,
    pub(super) wanted: Wanted<'a>,
    service_ids: HashMap<&'a ServicePortName, u32>,
    free_services: Ids,
    pub(super) node_ids: BTreeMap<&'a str, u32>,
    free_nodes: Ids,
    free_slots: FreeList,
    /// First slots of the tables of a Service port and family.
    tables_of: HashMap<(u32, Family), Vec<u32>>,
    /// First slots of the tables that frontends point at.
    pointed_at: BTreeSet<u32>,
    frontends_of: HashMap<u32, Vec<FrontendKey>>,
    frontend_count: usize,
    ranges: Ranges<'a>,
    /// Frontends that somebody desires, where nothing may be taken away: the others stay.
    claimed: BTreeSet<FrontendKey>,
    done: BTreeSet<&'a ServicePortName>,
    /// What stays or comes; all else is taken away.
    pub(super) kept_frontends: BTreeSet<FrontendKey>,
    pub(super) kept_tables: BTreeSet<u32>,
    pub(super) kept_services: BTreeSet<u32>,
    /// The Service ports that are as they should be, for those that share their clients.
    pub(super) members: Vec<Members<'a>>,
    names: Vec<Write>,
    tables: Vec<Write>,
    frontends: Vec<Write>,
    pub(super) problems: BTreeSet<Problem>,
    pub(super) full: BTreeSet<Full>,
    pub(super) scope: Scope<'a>,
}

impl<'a> Planner<'a> {
    fn new(applied: &'a Applied, desired: &'a Desired, now_seconds: u64, limits: &'a Limits, scope: Scope<'a>) -> Self {
        let cooling = |since: u64, grace: u64| since.saturating_add(grace) > now_seconds;
        let cooling_ids = |ids: &'a BTreeMap<u32, u64>| {
            ids.iter().filter(move |(_, since)| cooling(**since, GRACE_SECONDS)).map(|(id, _)| *id)
        };
        let used = applied.tables.values().map(|table| table.extent).chain(
            applied
                .cooling_extents
                .iter()
                .filter(|(_, since)| cooling(**since, TABLE_GRACE_SECONDS))
                .map(|(extent, _)| *extent),
        );
        let mut tables_of: HashMap<_, Vec<u32>> = HashMap::new();
        for (offset, table) in applied.tables.iter().filter(|(_, table)| scope.has(table.service)) {
            tables_of.entry((table.service, table.family)).or_default().push(*offset);
        }
        let mut frontends_of: HashMap<_, Vec<FrontendKey>> = HashMap::new();
        let mut pointed_at = BTreeSet::new();
        for (key, value) in applied.frontends.iter().filter(|(_, value)| scope.has(value.service)) {
            frontends_of.entry(value.service).or_default().push(*key);
            pointed_at.extend(value.extent.map(|extent| extent.offset));
        }
        let services = applied.services.iter().filter(|(id, _)| scope.has(**id));
        let busy_services = applied.services.keys().copied();
        let busy_nodes = applied.nodes.keys().copied();
        Self {
            applied,
            desired,
            now_seconds,
            limits,
            wanted: Wanted::new(applied, &scope, limits.backends, now_seconds),
            service_ids: services.map(|(id, name)| (name, *id)).collect(),
            free_services: Ids::new(1, limits.services, busy_services.chain(cooling_ids(&applied.cooling_services))),
            node_ids: BTreeMap::new(),
            free_nodes: Ids::new(1, limits.nodes, busy_nodes.chain(cooling_ids(&applied.cooling_nodes))),
            free_slots: FreeList::new(limits.slots, used),
            tables_of,
            pointed_at,
            frontends_of,
            frontend_count: applied.frontends.len(),
            ranges: Ranges::new(applied, limits.source_ranges),
            claimed: if desired.complete { BTreeSet::new() } else { frontends::claimed(desired) },
            done: BTreeSet::new(),
            kept_frontends: BTreeSet::new(),
            kept_tables: BTreeSet::new(),
            kept_services: BTreeSet::new(),
            members: Vec::new(),
            names: Vec::new(),
            tables: Vec::new(),
            frontends: Vec::new(),
            problems: BTreeSet::new(),
            full: BTreeSet::new(),
            scope,
        }
    }

    /// Says which networks are inside. They come before Service ports' ranges: without them connections break, for which
    /// kube-proxy is there.
    fn plan_inside(&mut self) {
        if !self.desired.complete {
            self.ranges.keep(INSIDE);
        }
        if !self.ranges.want_inside(&self.desired.inside) {
            self.problems.insert(Problem::error(
                "no room for the networks of nodes and Pods; those of new nodes are taken for outside; raise --max-source-ranges",
            ));
        }
    }

    fn plan(mut self) -> Plan {
        self.plan_nodes();
        self.plan_inside();
        let desired = self.desired;
        let ports = desired.services.iter().filter(|(name, _)| self.scope.has_port(name));
        let ports: Vec<(&ServicePortName, &ServicePort)> = ports.map(|(name, port)| (name, &**port)).collect();
        // Those that are programmed come first: where it is tight, they do not lose to new ones.
        for known in [true, false] {
            for (name, port) in &ports {
                if self.service_ids.contains_key(name) == known && self.done.insert(name) {
                    self.plan_service(name, port);
                }
            }
        }
        self.finish()
    }

    /// Gives every node its id: this one 0, the others theirs or a new one.
    fn plan_nodes(&mut self) {
        let own = self.desired.node.as_str();
        self.node_ids.insert(own, 0);
        for (id, node) in self.applied.nodes.iter().filter(|(id, node)| **id != 0 && node.name != own) {
            self.node_ids.insert(&node.name, *id);
        }
        let own_addresses = self.desired.nodes.get(own).copied();
        let known = self.applied.nodes.get(&0).filter(|node| node.name == own);
        let addresses = own_addresses.or(known.map(|node| node.addresses)).unwrap_or_default();
        self.write_node(0, own, addresses);

        for (name, addresses) in self.desired.nodes.iter().filter(|(name, _)| *name != own) {
            let known = self.node_ids.get(name.as_str()).copied();
            if let Some(id) = known.or_else(|| self.free_nodes.take()) {
                self.node_ids.insert(name, id);
                self.write_node(id, name, *addresses);
            } else {
                self.full.insert(Full::Nodes);
                let message = format!("node table full ({}); raise --max-nodes", self.limits.nodes);
                self.problems.insert(Problem::error(message).about(format!("Node {name}")));
            }
        }
    }

    fn write_node(&mut self, id: u32, name: &str, addresses: NodeAddresses) {
        let same = self.applied.nodes.get(&id).is_some_and(|node| node.name == name && node.addresses == addresses);
        if !same {
            self.names.push(Write::Node { id, name: name.to_owned(), addresses });
        }
    }

    fn plan_service(&mut self, name: &'a ServicePortName, port: &'a ServicePort) {
        let id = self.service_ids.get(name).copied();
        if let Err(full) = self.try_service(name, port, id) {
            self.full.insert(full);
            self.problems.insert(full.problem(name, self.limits));
            if let Some(id) = id {
                self.keep_service(id);
            }
            // Its backends live on, as far as they are programmed.
            let known = port.backends.iter().filter_map(|backend| self.wanted.id(id?, backend));
            for id in known.collect::<Vec<u32>>() {
                self.wanted.keep(id);
            }
        }
    }

    /// All of it, or what is full; then nothing has changed.
    fn try_service(
        &mut self,
        name: &'a ServicePortName,
        port: &'a ServicePort,
        known_id: Option<u32>,
    ) -> Result<(), Full> {
        let nodes = self.nodes_of(port).ok_or(Full::Nodes)?;
        if known_id.is_none() && self.free_services.left() == 0 {
            return Err(Full::Services);
        }
        let ids: Vec<Option<u32>> = port.backends.iter().map(|backend| self.wanted.id(known_id?, backend)).collect();
        if !self.wanted.fit(ids.iter().filter(|id| id.is_none()).count()) {
            return Err(Full::Backends);
        }
        let frontends = self.frontends_for(name, port, known_id);
        let new = frontends.keys().filter(|key| !self.exists(key)).count();
        if self.frontend_count + new > self.limits.frontends as usize {
            return Err(Full::Frontends);
        }
        if !self.ranges.fit(port, known_id) {
            return Err(Full::SourceRanges);
        }
        let choices = self.choose_tables(port, &ids, known_id, &frontends).ok_or(Full::Slots)?;

        let service = match known_id {
            Some(id) => id,
            None => {
                let id = self.free_services.take().ok_or(Full::Services)?;
                self.names.push(Write::NameService { id, name: name.clone() });
                id
            }
        };
        self.frontend_count += new;
        self.kept_services.insert(service);
        self.ranges.want(port, service);
        let wants = port.backends.iter().zip(ids).zip(nodes);
        let ids: Option<Vec<u32>> =
            wants.map(|((backend, id), node)| self.wanted.want(service, backend, id, node)).collect();
        let ids = ids.ok_or(Full::Backends)?;
        self.members.push(Members { name, port, service, ids: ids.clone() });
        for (family, choice) in choices {
            match choice {
                Choice::Empty => {}
                Choice::Keep(extent) => self.keep_table(extent.offset),
                Choice::New(extent) => {
                    self.tables.push(pools::table(service, port, &ids, family, extent));
                }
            }
        }
        for (key, frontend) in frontends {
            let choice = choices.iter().find(|(family, _)| *family == Family::of(key.address));
            let value = frontends::value(service, &frontend, port, choice.map(|(_, choice)| *choice));
            self.write_frontend(key, value);
        }
        Ok(())
    }

    /// The node ids of a Service port's backends; none if one of the nodes has none.
    fn nodes_of(&self, port: &ServicePort) -> Option<Vec<u32>> {
        port.backends.iter().map(|backend| self.node_ids.get(backend.node.as_deref()?).copied()).collect()
    }

    /// The frontends to have: those desired and, where nothing may be taken away, those it has.
    fn frontends_for(
        &self,
        name: &ServicePortName,
        port: &ServicePort,
        known_id: Option<u32>,
    ) -> BTreeMap<FrontendKey, Frontend> {
        let mut frontends = BTreeMap::new();
        let old = known_id.filter(|_| !self.desired.complete).and_then(|id| self.frontends_of.get(&id));
        for key in old.into_iter().flatten() {
            if let Some(value) = self.applied.frontends.get(key)
                && !self.claimed.contains(key)
            {
                let frontend = Frontend { address: key.address, port: key.port, kind: value.kind };
                frontends.insert(*key, frontend);
            }
        }
        for frontend in &port.frontends {
            let Frontend { address, port, kind: _ } = *frontend;
            frontends.insert(FrontendKey { address, port, protocol: name.protocol }, *frontend);
        }
        frontends
    }

    fn exists(&self, key: &FrontendKey) -> bool {
        self.applied.frontends.contains_key(key)
    }

    /// One choice for each family that has a frontend; none, and no slots taken, if they are full.
    fn choose_tables(
        &mut self,
        port: &ServicePort,
        ids: &[Option<u32>],
        known_id: Option<u32>,
        frontends: &BTreeMap<FrontendKey, Frontend>,
    ) -> Option<[(Family, Choice); 2]> {
        let mut choices = Family::ALL.map(|family| (family, Choice::Empty));
        for index in 0..choices.len() {
            let family = choices[index].0;
            if !frontends.keys().any(|key| Family::of(key.address) == family) {
                continue;
            }
            let existing = known_id.map(|id| self.existing(id, family)).unwrap_or_default();
            let choice = pools::choose(port, ids, family, &existing, self.desired.complete, &mut self.free_slots);
            match choice {
                Some(choice) => choices[index].1 = choice,
                None => {
                    for (_, taken) in choices {
                        if let Choice::New(extent) = taken {
                            self.free_slots.release(extent);
                        }
                    }
                    return None;
                }
            }
        }
        Some(choices)
    }

    fn existing(&self, id: u32, family: Family) -> Vec<&'a AppliedTable> {
        let offsets = self.tables_of.get(&(id, family)).map_or(&[][..], Vec::as_slice);
        pools::existing(self.applied, offsets, |offset| self.pointed_at.contains(&offset))
    }

    fn write_frontend(&mut self, key: FrontendKey, value: FrontendValue) {
        self.kept_frontends.insert(key);
        if self.applied.frontends.get(&key) != Some(&value) {
            let FrontendKey { address, port, protocol } = key;
            self.frontends.push(Write::Frontend { address, port, protocol, value });
        }
    }

    /// Keeps a table, and its members with it.
    fn keep_table(&mut self, offset: u32) {
        self.kept_tables.insert(offset);
        if let Some(table) = self.applied.tables.get(&offset) {
            for id in &table.members {
                self.wanted.keep(*id);
            }
        }
    }

    /// Keeps all that a Service port has, as it is.
    pub(super) fn keep_service(&mut self, id: u32) {
        self.kept_services.insert(id);
        self.ranges.keep(id);
        for family in Family::ALL {
            for table in self.existing(id, family) {
                self.keep_table(table.extent.offset);
            }
        }
        self.kept_frontends.extend(self.frontends_of.get(&id).into_iter().flatten());
    }

    fn finish(mut self) -> Plan {
        if !self.desired.complete {
            for (id, name) in &self.applied.services {
                if !self.desired.services.contains_key(name) {
                    self.keep_service(*id);
                }
            }
            // Those whose new owner did not fit stay with the old one.
            for (key, value) in &self.applied.frontends {
                if self.kept_frontends.insert(*key) {
                    self.kept_services.insert(value.service);
                    if value.asks_source {
                        self.ranges.keep(value.service);
                    }
                    if let Some(extent) = value.extent {
                        self.keep_table(extent.offset);
                    }
                }
            }
        }
        let own_node_renamed = self.applied.nodes.get(&0).is_some_and(|node| node.name != self.desired.node);
        let (backend_names, backends) = self.wanted.writes(own_node_renamed);
        let locals = locals::plan(&self);
        let siblings = siblings::plan(&mut self);
        let is_tight = siblings.is_tight;
        let removals = removals::all(&self, self.ranges.removals(&self.scope), locals.moved, siblings.removals);
        let again_at = removals::again_at(&self, &removals).into_iter().chain(siblings.again_at).min();

        let mut writes = self.names;
        for stage in [
            locals.expired,
            backend_names,
            backends,
            locals.writes,
            siblings.writes,
            self.tables,
            self.ranges.writes,
            self.frontends,
            removals,
        ] {
            writes.extend(stage);
        }
        Plan { writes, problems: self.problems.into_iter().collect(), again_at, is_tight }
    }
}
