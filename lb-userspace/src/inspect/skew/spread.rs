//! How the clients of a Service are spread over its Pods: counted one by one, kept as numbers alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::super::{
    held::{Client, ClientState, HeldFor, Rules},
    read::Opened,
    state::{Backend, BackendState, State},
};
use crate::{dataplane::Error, model::Family};

/// What a Pod has of the clients.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PodSkew {
    /// `namespace/name`, or address and port; none where it is not known any more.
    pub backend: Option<String>,
    /// The node that it is on.
    pub node: Option<String>,
    /// Whether it takes new connections.
    pub state: BackendState,
    /// Its clients.
    pub clients: u32,
    /// Those of IPv4.
    pub clients_v4: u32,
    /// Those of IPv6.
    pub clients_v6: u32,
    /// Its part of all clients, from 0 to 1.
    pub share: f64,
    /// How often the fair share that is; none where the Pod should have none.
    pub ratio: Option<f64>,
}

/// Service ports that hold their clients together, most often one alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) services: BTreeSet<u32>,
    pub(super) families: BTreeSet<Family>,
}

pub(super) fn groups(state: &State, rules: &Rules, is_wanted: impl Fn(&HeldFor) -> bool) -> BTreeMap<HeldFor, Group> {
    let mut groups: BTreeMap<HeldFor, Group> = BTreeMap::new();
    for (service, family, frontend) in rules.holding() {
        let held_for = HeldFor::new(state.service(service), frontend);
        if is_wanted(&held_for) {
            let group = groups.entry(held_for).or_default();
            group.services.insert(service);
            group.families.insert(family);
        }
    }
    groups
}

/// Clients that are held, by the id and generation of their backend.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    by_backend: HashMap<(u32, u32), (u32, u32)>,
}

impl Tally {
    /// One more.
    pub(super) fn add(&mut self, client: &Client) {
        let key = (client.affinity.backend, client.affinity.generation);
        let (v4, v6) = self.by_backend.entry(key).or_default();
        match Family::of(client.address) {
            Family::V4 => *v4 += 1,
            Family::V6 => *v6 += 1,
        }
    }

    fn all(&self) -> u32 {
        self.by_backend.values().fold(0, |sum, (v4, v6)| sum + v4 + v6)
    }
}

/// Whether a client counts: also where its Pod is not usable any more, but not when its time is over.
pub(super) fn is_held(state: ClientState) -> bool {
    match state {
        ClientState::Held | ClientState::New | ClientState::Broken => true,
        ClientState::Expired | ClientState::Forgotten | ClientState::Unused => false,
    }
}

/// How the clients that are held for something are spread, in two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// Clients that are held.
    pub clients: u32,
    /// How often its fair share the Pod has that has most of them; none where nobody is held, or no Pod is usable.
    pub worst_ratio: Option<f64>,
}

/// The spread of everything that holds its clients. Nothing is kept of a single client, however many there are.
///
/// # Errors
/// When a map cannot be read.
pub fn spreads(opened: &Opened, state: &State, now_seconds: u32) -> Result<BTreeMap<HeldFor, Spread>, Error> {
    let rules = opened.rules(state)?;
    let groups = groups(state, &rules, |_| true);
    let group_of: HashMap<u32, usize> =
        groups.values().enumerate().flat_map(|(at, group)| group.services.iter().map(move |id| (*id, at))).collect();
    let mut tallies = vec![Tally::default(); groups.len()];
    opened.each_client_once(|client| {
        let at = rules.holder(&client).and_then(|(service, _)| group_of.get(&service));
        if let Some(tally) = at.and_then(|at| tallies.get_mut(*at))
            && is_held(rules.state(&client, now_seconds))
        {
            tally.add(&client);
        }
    })?;
    let spread =
        |((held_for, group), tally): ((HeldFor, Group), Tally)| (held_for, spread(&pods(state, &group, &tally)));
    Ok(groups.into_iter().zip(tallies).map(spread).collect())
}

fn spread(pods: &[PodSkew]) -> Spread {
    Spread {
        clients: pods.iter().fold(0, |sum, pod| sum + pod.clients),
        worst_ratio: pods.iter().filter_map(|pod| pod.ratio).reduce(f64::max),
    }
}

/// The Pods in the order of their names; those that are gone and forgotten come last, as one.
pub(super) fn pods(state: &State, group: &Group, tally: &Tally) -> Vec<PodSkew> {
    let mut pods: BTreeMap<(bool, String), PodSkew> = BTreeMap::new();
    let own = state.backends.values().filter(|backend| group.services.contains(&backend.service));
    for backend in own.filter(|backend| backend.state == BackendState::Active) {
        pods.entry((false, backend.name())).or_insert_with(|| PodSkew::new(Some(backend)));
    }
    for ((id, generation), (v4, v6)) in &tally.by_backend {
        let backend = state.backends.get(id).filter(|backend| backend.generation == *generation);
        let name = (backend.is_none(), backend.map(Backend::name).unwrap_or_default());
        let pod = pods.entry(name).or_insert_with(|| PodSkew::new(backend));
        pod.clients += v4 + v6;
        pod.clients_v4 += v4;
        pod.clients_v6 += v6;
    }
    let usable = pods.values().filter(|pod| pod.state == BackendState::Active).count();
    let all = tally.all();
    let mut pods: Vec<PodSkew> = pods.into_values().collect();
    for pod in &mut pods {
        pod.share = part(pod.clients, all);
        let has_share = pod.state == BackendState::Active && all > 0;
        pod.ratio = has_share.then(|| pod.share / fair_share(usable));
    }
    pods
}

impl PodSkew {
    fn new(backend: Option<&Backend>) -> Self {
        Self {
            backend: backend.map(Backend::name),
            node: backend.and_then(|backend| backend.node.clone()),
            state: backend.map_or(BackendState::Gone, |backend| backend.state),
            clients: 0,
            clients_v4: 0,
            clients_v6: 0,
            share: 0.0,
            ratio: None,
        }
    }
}

/// What each of so many Pods would have if all had the same, from 0 to 1.
pub(super) fn fair_share(usable_pods: usize) -> f64 {
    if usable_pods == 0 { 0.0 } else { 1.0 / usable_pods as f64 }
}

/// Some of all, from 0 to 1.
pub(super) fn part(some: u32, all: u32) -> f64 {
    if all == 0 { 0.0 } else { f64::from(some) / f64::from(all) }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{
            held::sample::{client, rules},
            state::sample,
        },
        *,
    };

    #[test]
    fn the_worst_of_the_usable_pods_counts() {
        let (state, rules) = (sample::state(), rules());
        let (_, group) = groups(&state, &rules, |_| true).pop_first().unwrap();
        let spread_of = |backends: &[u32]| {
            let mut tally = Tally::default();
            for (last, backend) in backends.iter().enumerate() {
                tally.add(&client(&format!("198.51.100.{last}"), *backend, 990));
            }
            spread(&pods(&state, &group, &tally))
        };
        // Two usable Pods, 1 and 2; 3 drains.
        let cases: [(&str, &[u32], Option<f64>); 5] = [
            ("nobody", &[], None),
            ("even", &[1, 2], Some(1.0)),
            ("three of four", &[1, 1, 1, 2], Some(1.5)),
            ("all at one", &[2, 2], Some(2.0)),
            ("half of them at one that drains", &[1, 3, 3, 2], Some(0.5)),
        ];
        for (description, backends, worst_ratio) in cases {
            let expected = Spread { clients: backends.len() as u32, worst_ratio };
            assert_eq!(spread_of(backends), expected, "{description}");
        }
    }
}
