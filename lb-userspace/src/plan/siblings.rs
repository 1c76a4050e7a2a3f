//! Backends on one Pod, of several ports of a Service that share their clients (`limpet.dev/affinity-key: service`): where a
//! client is held by one port, another port finds its own backend there.

use std::collections::{BTreeMap, HashMap};

use super::planner::{Members, Planner};
use super::types::Write;
use crate::model::{Affinity, AffinityKey, Family};
use crate::source::Problem;

/// What becomes of the pairs.
pub(super) struct Siblings {
    /// Those to write.
    pub(super) writes: Vec<Write>,
    /// Those of backends that are no more, or do not take clients.
    pub(super) removals: Vec<Write>,
    /// When those can be written for which there is no room before the removals.
    pub(super) again_at: Option<u64>,
    /// Whether there are any that have to wait.
    pub(super) is_tight: bool,
}

/// Pairs to have: a Service port and another one's backend, to its own backend.
type Pairs = BTreeMap<(u32, u32), u32>;

/// Looks at all of them. A Service whose pairs find no room has its ports hold their clients each for itself.
pub(super) fn plan(planner: &mut Planner<'_>) -> Siblings {
    let others = planner.applied.siblings.keys().filter(|(service, _)| !planner.scope.has(*service)).count();
    let mut target = Pairs::new();
    for (name, ports) in sharing(&planner.members) {
        let pairs = pairs(&ports);
        if others + target.len() + pairs.len() > planner.limits.siblings as usize {
            let (namespace, name) = name;
            let message = format!(
                "no room for the Pods that its ports share ({}); a client may get another Pod at each port; raise --max-backends",
                planner.limits.siblings
            );
            planner.problems.insert(Problem::error(message).about(format!("Service {namespace}/{name}")));
            continue;
        }
        target.extend(pairs);
    }
    let applied = &planner.applied.siblings;
    let removals =
        applied.keys().filter(|key| planner.scope.has(key.0) && !target.contains_key(key) && planner.desired.complete);
    let removals: Vec<Write> =
        removals.map(|(service, backend)| Write::RemoveSibling { service: *service, backend: *backend }).collect();
    let (known, mut new): (Vec<_>, Vec<_>) = target
        .into_iter()
        .filter(|(key, id)| applied.get(key) != Some(id))
        .partition(|(key, _)| applied.contains_key(key));
    // The map refuses what is too much, and removals come last.
    let room = (planner.limits.siblings as usize).saturating_sub(applied.len());
    let is_tight = new.len() > room;
    new.truncate(room);
    let writes =
        known.into_iter().chain(new).map(|((service, backend), id)| Write::Sibling { service, backend, id }).collect();
    let again_at = (is_tight && !removals.is_empty()).then_some(planner.now_seconds + 1);
    Siblings { writes, removals, again_at, is_tight }
}

/// The Services of which several ports share their clients, by namespace and name.
fn sharing<'a, 'b>(members: &'b [Members<'a>]) -> BTreeMap<(&'a str, &'a str), Vec<&'b Members<'a>>> {
    let mut services: BTreeMap<_, Vec<&Members<'_>>> = BTreeMap::new();
    for port in members {
        let shares = matches!(port.port.affinity, Affinity::ClientIp(affinity) if affinity.key == AffinityKey::Service);
        if shares {
            services.entry((port.name.namespace.as_str(), port.name.name.as_str())).or_default().push(port);
        }
    }
    services.retain(|_, ports| ports.len() > 1);
    services
}

fn pairs(ports: &[&Members<'_>]) -> Pairs {
    let mut pairs = Pairs::new();
    for own in ports {
        let taking = taking_clients(own);
        for other in ports.iter().filter(|other| other.service != own.service) {
            for (backend, id) in other.port.backends.iter().zip(&other.ids) {
                let family = Family::of(backend.address.ip());
                if let Some(own_id) = taking.get(&(family, backend.identity.as_str())) {
                    pairs.insert((own.service, *id), *own_id);
                }
            }
        }
    }
    pairs
}

/// The backends of a Service port that take new flows, by family and identity.
fn taking_clients<'a>(members: &Members<'a>) -> HashMap<(Family, &'a str), u32> {
    let pools =
        Family::ALL.into_iter().flat_map(|family| members.port.pools.of(family).iter().map(move |at| (family, *at)));
    let taking = pools.filter_map(|(family, at)| {
        let backend = members.port.backends.get(at)?;
        Some(((family, backend.identity.as_str()), *members.ids.get(at)?))
    });
    taking.collect()
}
