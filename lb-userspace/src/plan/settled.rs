//! What was planned and written to the end, and so need not be looked at again while it is the very same.
//!
//! Planning for a part gives what planning for all would give, since nothing is written for a Service port that is as it was.
//! What Service ports share is not cut in parts: ids, slots and limits are those of all, and where a limit is met everything
//! is planned.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::applied::Applied;
use super::types::Plan;
use crate::model::{Desired, NodeAddresses, ServicePort, ServicePortName};

/// What was desired when a plan that left nothing to do was written to the end.
#[derive(Debug)]
pub struct Settled {
    services: BTreeMap<ServicePortName, Arc<ServicePort>>,
    nodes: BTreeMap<String, NodeAddresses>,
    node: String,
}

impl Settled {
    /// To be called when all writes of the plan for `desired` are done. None if that plan could not do everything: then the
    /// next one looks at everything.
    #[must_use]
    pub fn after(plan: &Plan, desired: Desired) -> Option<Self> {
        let Desired { services, nodes, node, complete, .. } = desired;
        let is_done = complete && plan.problems.is_empty() && !plan.is_tight;
        is_done.then_some(Self { services, nodes, node })
    }

    /// What is to be looked at for what is desired now.
    pub(super) fn scope<'a>(&'a self, applied: &Applied, desired: &'a Desired) -> Scope<'a> {
        if !desired.complete || self.node != desired.node || self.nodes != desired.nodes {
            return Scope::All;
        }
        let services = self.changed(desired);
        let highest = applied.services.keys().next_back().map_or(0, |id| *id as usize);
        let mut ids = vec![false; highest + 1];
        for (id, _) in applied.services.iter().filter(|(_, name)| services.contains(&service(name))) {
            ids[*id as usize] = true;
        }
        Scope::Of { services, ids }
    }

    /// The Services of which a port is new, gone or not the very same: all their ports, which may share clients.
    fn changed<'a>(&'a self, desired: &'a Desired) -> BTreeSet<Service<'a>> {
        let mut changed = BTreeSet::new();
        let (mut before, mut now) = (self.services.iter().peekable(), desired.services.iter().peekable());
        loop {
            let order = match (before.peek(), now.peek()) {
                (None, None) => return changed,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((before, _)), Some((now, _))) => before.cmp(now),
            };
            let gone = before.next_if(|_| order.is_le());
            let here = now.next_if(|_| order.is_ge());
            let is_same = matches!((gone, here), (Some((_, before)), Some((_, now))) if Arc::ptr_eq(before, now));
            if !is_same {
                changed.extend(gone.or(here).map(|(name, _)| service(name)));
            }
        }
    }
}

/// Namespace and name of a Service.
type Service<'a> = (&'a str, &'a str);

fn service(name: &ServicePortName) -> Service<'_> {
    (&name.namespace, &name.name)
}

/// What a plan looks at.
pub(super) enum Scope<'a> {
    /// Everything.
    All,
    /// These Services, and the Service ports with these ids (by id, so that 100,000 backends ask quickly), which are theirs.
    /// All else is as it should be.
    Of { services: BTreeSet<Service<'a>>, ids: Vec<bool> },
}

impl Scope<'_> {
    /// Whether it looks at what belongs to the Service port with this id.
    pub(super) fn has(&self, id: u32) -> bool {
        match self {
            Self::All => true,
            Self::Of { ids, .. } => ids.get(id as usize).copied().unwrap_or(false),
        }
    }

    /// Whether it looks at this Service port.
    pub(super) fn has_port(&self, name: &ServicePortName) -> bool {
        match self {
            Self::All => true,
            Self::Of { services, .. } => services.contains(&service(name)),
        }
    }

    /// Whether it looks at everything.
    pub(super) fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }
}
