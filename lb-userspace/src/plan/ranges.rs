//! The source ranges of Service ports (`spec.loadBalancerSourceRanges`), and the cluster's own networks.
//!
//! New ones are written before the frontends that ask for them, old ones removed after: a frontend that asks never does so
//! before the ranges that it had, or those that it shall have, are all there.

use std::collections::BTreeSet;

use ipnet::IpNet;
use lb_common::layout::INSIDE;

use super::applied::Applied;
use super::settled::Scope;
use super::types::Write;
use crate::model::ServicePort;

/// What becomes of the ranges.
pub(super) struct Ranges<'a> {
    applied: &'a Applied,
    limit: usize,
    /// Those to have.
    target: BTreeSet<(u32, IpNet)>,
    /// Those to write.
    pub(super) writes: Vec<Write>,
    /// How many there are with those: removals come last.
    count: usize,
    /// Service ports of which all stay.
    kept: BTreeSet<u32>,
}

impl<'a> Ranges<'a> {
    pub(super) fn new(applied: &'a Applied, limit: u32) -> Self {
        Self {
            applied,
            limit: limit as usize,
            target: BTreeSet::new(),
            writes: Vec::new(),
            count: applied.source_ranges.len(),
            kept: BTreeSet::new(),
        }
    }

    /// Whether there is room for a Service port's ranges; its id, if it has one.
    pub(super) fn fit(&self, port: &ServicePort, known_id: Option<u32>) -> bool {
        let is_new = |range: &IpNet| known_id.is_none_or(|id| !self.applied.source_ranges.contains(&(id, *range)));
        self.count + wanted(port).into_iter().filter(is_new).count() <= self.limit
    }

    /// Wants a Service port's ranges, which fit.
    pub(super) fn want(&mut self, port: &ServicePort, service: u32) {
        for range in wanted(port) {
            self.target.insert((service, range));
            if !self.applied.source_ranges.contains(&(service, range)) {
                self.writes.push(Write::SourceRange { service, range });
                self.count += 1;
            }
        }
    }

    /// Wants the networks that are inside the cluster; false, and all stays as it is, where there is no room for them.
    pub(super) fn want_inside(&mut self, networks: &BTreeSet<IpNet>) -> bool {
        let is_new = |network: &&IpNet| !self.applied.source_ranges.contains(&(INSIDE, **network));
        let new: Vec<IpNet> = networks.iter().filter(is_new).copied().collect();
        if self.count + new.len() > self.limit {
            self.keep(INSIDE);
            return false;
        }
        self.count += new.len();
        self.writes.extend(new.into_iter().map(|range| Write::SourceRange { service: INSIDE, range }));
        self.target.extend(networks.iter().map(|network| (INSIDE, *network)));
        true
    }

    /// Keeps all that a Service port has.
    pub(super) fn keep(&mut self, service: u32) {
        self.kept.insert(service);
    }

    /// Those to remove, of Service ports that are looked at.
    pub(super) fn removals(&self, scope: &Scope<'_>) -> Vec<Write> {
        let is_seen = |id: u32| id == INSIDE || scope.has(id);
        let goes =
            |range: &&(u32, IpNet)| is_seen(range.0) && !self.target.contains(*range) && !self.kept.contains(&range.0);
        let gone = self.applied.source_ranges.iter().filter(goes);
        gone.map(|(service, range)| Write::RemoveSourceRange { service: *service, range: *range }).collect()
    }
}

/// The ranges of a Service port, each once and without bits behind the prefix: so they are found again in the maps.
fn wanted(port: &ServicePort) -> BTreeSet<IpNet> {
    port.source_ranges.iter().flatten().map(IpNet::trunc).collect()
}
