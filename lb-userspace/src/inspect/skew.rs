//! `limpet skew`: how the clients of a Service are spread over its Pods, which networks most of them come from, and which
//! address looks like many clients in one.

mod spread;
pub mod text;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use anyhow::{Result, bail};
use serde::Serialize;

use self::spread::{Group, Tally, fair_share, groups, part};
pub use self::spread::{PodSkew, Spread, spreads};
use super::{
    Said, client as agent, get,
    held::{self, Client, HeldFor, Rules},
    output,
    read::{self, FlowCounts},
    state::{Backend, BackendState, State},
    suggest,
};
use crate::{
    cli::{Format, Places, Scope, SkewOptions},
    dataplane::Pins,
    model::Family,
};

/// An address is suspected only with so many flows at once: browsers have a dozen.
const SUSPECT_FLOWS: u32 = 64;
/// And only with more than so many times the median.
const SUSPECT_TIMES_MEDIAN: u32 = 10;
/// Prefixes that are shown.
const SHOWN_PREFIXES: usize = 10;

/// How the clients that are held for something are spread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Skew {
    /// The Service port, or the Service where its ports share their clients.
    pub service: HeldFor,
    /// Clients that are held, also where their Pod is not usable any more.
    pub clients: u32,
    /// Clients that are remembered, but held no more: their time is over, or they were forgotten. In no other number.
    pub not_held: u32,
    /// Pods that take new connections.
    pub usable_pods: usize,
    /// What each of them would have if all had the same, from 0 to 1.
    pub fair_share: f64,
    /// Families that it is reached by.
    pub families: Vec<Family>,
    /// The usable Pods, and others that clients are still held at.
    pub pods: Vec<PodSkew>,
    /// The networks that most clients come from.
    pub prefixes: Vec<PrefixSkew>,
    /// Flows that half of the addresses with flows have not more than.
    pub median_flows: u32,
    /// Addresses that may be many clients: affinity sends all of them to one Pod.
    pub suspects: Vec<Suspect>,
}

/// What comes from a network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrefixSkew {
    /// The network.
    pub prefix: String,
    /// Clients in it.
    pub clients: u32,
    /// Its part of all clients, from 0 to 1.
    pub share: f64,
    /// Flows that come from it.
    pub flows: u32,
}

/// An address with very many flows.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Suspect {
    /// The address.
    pub client: IpAddr,
    /// Its flows.
    pub flows: u32,
    /// Where it is held; none where it is not.
    pub backend: Option<String>,
}

/// Carries the command out.
///
/// # Errors
/// When the maps cannot be read, the Service is not there, or does not hold its clients.
pub fn run(options: &SkewOptions, places: &Places) -> Result<Said> {
    let opened = read::open(&Pins::new(&places.pin_dir))?;
    let state = opened.state()?;
    let wanted = &options.service;
    let scope = options.scope.narrowed_to(wanted)?;
    suggest::require(&state, wanted, &scope)?;
    let rules = opened.rules(&state)?;
    let groups = groups(&state, &rules, |held_for| held_for.is_of(&scope, Some(wanted)));
    if groups.is_empty() {
        bail!(nobody_held(&state, &scope, &wanted.name));
    }
    let is_meant = |service: u32| groups.values().any(|group| group.services.contains(&service));
    let flows = opened.count_flows(|service, _| is_meant(service))?;
    let is_held = |client: &Client| rules.holder(client).is_some_and(|(service, _)| is_meant(service));
    let (clients, _) = opened.clients(usize::MAX, is_held)?;
    let now_seconds = get::now_seconds()?;
    let skews: Vec<Skew> = groups
        .into_iter()
        .map(|(held_for, group)| skew(&state, &rules, held_for, &group, &clients, &flows, now_seconds))
        .collect();
    let text = match options.output.format {
        Format::Json => output::json(&skews)?,
        Format::Table | Format::Wide => {
            skews.iter().map(|skew| text::of(skew, &options.output)).collect::<Vec<_>>().join("\n")
        }
    };
    Ok(Said { text, notes: get::note_on_agent(&agent::status(&places.socket)).into_iter().collect(), unwell: false })
}

/// Why a Service has no clients whose spread could be shown.
fn nobody_held(state: &State, scope: &Scope, name: &str) -> String {
    let is_its = |service: u32| state.service(service).name == name && scope.covers(&state.service(service).namespace);
    if state.frontends.iter().any(|frontend| is_its(frontend.service)) {
        format!("Service {name} does not hold clients (sessionAffinity: None): connections spread by 5-tuple")
    } else {
        format!("Service {name} has no frontends: no client comes to it through this node's programs")
    }
}

fn skew(
    state: &State,
    rules: &Rules,
    service: HeldFor,
    group: &Group,
    clients: &[Client],
    flows: &FlowCounts,
    now_seconds: u32,
) -> Skew {
    let is_own = |client: &&Client| rules.holder(client).is_some_and(|(service, _)| group.services.contains(&service));
    let is_held = |client: &&Client| spread::is_held(rules.state(client, now_seconds));
    let (held, rest): (Vec<&Client>, Vec<&Client>) = clients.iter().filter(is_own).partition(is_held);
    let mut flows_by_client: HashMap<IpAddr, u32> = HashMap::new();
    for ((_, client), count) in flows.iter().filter(|((service, _), _)| group.services.contains(service)) {
        *flows_by_client.entry(*client).or_default() += count;
    }
    let mut tally = Tally::default();
    held.iter().for_each(|client| tally.add(client));
    let pods = spread::pods(state, group, &tally);
    let usable_pods = pods.iter().filter(|pod| pod.state == BackendState::Active).count();
    let median_flows = median(flows_by_client.values().copied().collect());
    Skew {
        service,
        clients: count(held.len()),
        not_held: count(rest.len()),
        usable_pods,
        fair_share: fair_share(usable_pods),
        families: group.families.iter().copied().collect(),
        pods,
        prefixes: prefixes(rules, &held, &flows_by_client),
        median_flows,
        suspects: suspects(state, rules, &held, &flows_by_client, median_flows),
    }
}

/// The largest networks: a /24 of IPv4, a /64 of IPv6, or more where the Service takes more for one client.
fn prefixes(rules: &Rules, held: &[&Client], flows: &HashMap<IpAddr, u32>) -> Vec<PrefixSkew> {
    let network = |address: IpAddr, client_prefix: u8| {
        let prefix = client_prefix.min(if address.is_ipv4() { 24 } else { 64 });
        (held::masked(address, prefix), prefix)
    };
    let mut networks: BTreeMap<(IpAddr, u8), (u32, u32)> = BTreeMap::new();
    let mut client_prefixes: HashMap<Family, u8> = HashMap::new();
    for client in held {
        let prefix = rules.holder(client).map_or(u8::MAX, |(_, frontend)| frontend.client_prefix);
        client_prefixes.insert(Family::of(client.address), prefix);
        networks.entry(network(client.address, prefix)).or_default().0 += 1;
    }
    for (client, count) in flows {
        let prefix = client_prefixes.get(&Family::of(*client)).copied().unwrap_or(u8::MAX);
        if let Some((_, flows)) = networks.get_mut(&network(*client, prefix)) {
            *flows += count;
        }
    }
    let mut networks: Vec<_> = networks.into_iter().collect();
    networks.sort_by_key(|(network, counts)| (std::cmp::Reverse(*counts), *network));
    let row = |((address, prefix), (clients, flows))| PrefixSkew {
        prefix: format!("{address}/{prefix}"),
        clients,
        share: part(clients, count(held.len())),
        flows,
    };
    networks.into_iter().take(SHOWN_PREFIXES).map(row).collect()
}

fn suspects(
    state: &State,
    rules: &Rules,
    held: &[&Client],
    flows: &HashMap<IpAddr, u32>,
    median_flows: u32,
) -> Vec<Suspect> {
    let is_suspect = |flows: u32| flows >= SUSPECT_FLOWS && flows > median_flows.saturating_mul(SUSPECT_TIMES_MEDIAN);
    let place = |address: IpAddr| {
        let is_its = |client: &&&Client| {
            rules.holder(client).is_some_and(|(_, it)| held::masked(address, it.client_prefix) == client.address)
        };
        held.iter().find(is_its).and_then(|client| client.backend(state)).map(Backend::name)
    };
    let found = flows.iter().filter(|(_, flows)| is_suspect(**flows));
    let mut suspects: Vec<Suspect> =
        found.map(|(client, flows)| Suspect { client: *client, flows: *flows, backend: place(*client) }).collect();
    suspects.sort_by_key(|suspect| (std::cmp::Reverse(suspect.flows), suspect.client));
    suspects
}

/// The lower one of the two in the middle, so that one of two addresses can stand out.
fn median(mut values: Vec<u32>) -> u32 {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use lb_common::layout::Frontend;
    use serde_json::json;

    use super::{
        super::{
            held::sample::{NOW, client, frontend, rules, rules_with},
            state::sample,
        },
        *,
    };

    fn of(rules: &Rules, clients: &[Client], flows: &FlowCounts) -> Skew {
        let state = sample::state();
        let (held_for, group) = groups(&state, rules, |_| true).pop_first().unwrap();
        super::skew(&state, rules, held_for, &group, clients, flows, NOW)
    }

    fn flows(counts: &[(&str, u32)]) -> FlowCounts {
        counts.iter().map(|(client, count)| ((1, client.parse().unwrap()), *count)).collect()
    }

    fn clients() -> Vec<Client> {
        let mut clients: Vec<Client> = (1..=3).map(|last| client(&format!("198.51.100.{last}"), 1, 990)).collect();
        clients.push(client("203.0.113.9", 3, 990));
        clients.push(client("198.51.100.77", 2, 100));
        clients
    }

    /// One that has a little of everything.
    pub(super) fn skew() -> Skew {
        let flows = flows(&[("198.51.100.1", 70), ("198.51.100.2", 2), ("198.51.100.3", 1), ("203.0.113.9", 4)]);
        of(&rules(), &clients(), &flows)
    }

    #[test]
    fn json_is_complete() {
        let value = serde_json::to_value(of(&rules(), &clients(), &FlowCounts::new())).unwrap();
        let pod = json!({
            "backend": "default/web-0", "node": "n1", "state": "active", "clients": 3, "clients_v4": 3, "clients_v6": 0,
            "share": 0.75, "ratio": 1.5,
        });
        assert_eq!(value["pods"][0], pod);
        assert_eq!(
            (&value["families"], &value["not_held"], &value["fair_share"]),
            (&json!(["IPv4"]), &json!(1), &json!(0.5))
        );
        let prefix = json!({"prefix": "198.51.100.0/24", "clients": 3, "share": 0.75, "flows": 0});
        assert_eq!((&value["prefixes"][0], &value["suspects"]), (&prefix, &json!([])));
    }

    #[test]
    fn suspects_have_many_flows_and_far_more_than_the_rest() {
        let suspects = |counts: &[(&str, u32)]| of(&rules(), &[], &flows(counts)).suspects.len();
        type Counts<'a> = &'a [(&'a str, u32)];
        let cases: [(&str, Counts<'_>, usize); 5] = [
            ("few flows", &[("198.51.100.1", 63), ("198.51.100.2", 1)], 0),
            ("enough", &[("198.51.100.1", 64), ("198.51.100.2", 1)], 1),
            ("everybody has many", &[("198.51.100.1", 70), ("198.51.100.2", 7), ("198.51.100.3", 7)], 0),
            ("more than ten times the median", &[("198.51.100.1", 71), ("198.51.100.2", 7), ("198.51.100.3", 7)], 1),
            ("one alone says nothing", &[("198.51.100.1", 500)], 0),
        ];
        for (description, counts, expected) in cases {
            assert_eq!(suspects(counts), expected, "{description}");
        }
    }

    #[test]
    fn networks_are_no_smaller_than_clients_and_ten_are_shown() {
        let many: Vec<Client> = (0..12).map(|net| client(&format!("10.0.{net}.1"), 1, 990)).collect();
        assert_eq!(of(&rules(), &many, &FlowCounts::new()).prefixes.len(), SHOWN_PREFIXES);
        let wide = rules_with(Frontend { client_prefix: 16, ..frontend() });
        let skew = of(&wide, &[client("10.7.0.0", 1, 990)], &flows(&[("10.7.8.9", 5)]));
        assert_eq!(skew.prefixes, [PrefixSkew { prefix: "10.7.0.0/16".to_owned(), clients: 1, share: 1.0, flows: 5 }]);
    }

    #[test]
    fn a_service_that_nobody_reaches_is_told_from_one_that_holds_nobody() {
        let mut state = sample::state();
        let scope = Scope::default();
        assert!(nobody_held(&state, &scope, "web").contains("sessionAffinity: None"));
        state.frontends.retain(|frontend| frontend.service != 1);
        assert!(nobody_held(&state, &scope, "web").contains("no frontends"));
    }

    #[test]
    fn the_middle_is_the_lower_one() {
        for (values, expected) in [(vec![], 0), (vec![7], 7), (vec![9, 1], 1), (vec![3, 1, 2], 2)] {
            assert_eq!(median(values), expected);
        }
    }
}
