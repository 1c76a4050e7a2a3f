//! Asks the maps, and the programs' own code, about one client at one Service port after the other.

use std::net::IpAddr;

use anyhow::Result;
use lb_common::{
    affinity,
    family::{Address as _, Address4, Address6},
    layout::{Frontend, INSIDE},
};

use super::{
    AffinityRule, By, Held, IfGone, KeptOut, PortWhy, Target,
    trial::{self, Moved, Outcome, Trial},
};
use crate::{
    api::Break,
    cli::Scope,
    dataplane::frontend_affinity,
    inspect::{
        get,
        held::{self, Client, Rules},
        read::{FlowCounts, Opened},
        state::{Backend, BackendState, Frontend as StateFrontend, ServicePort, State},
    },
    model::{AffinityKey, Family},
    plan::FrontendAffinity,
};

/// What it takes to say why.
pub(super) struct Asking<'a> {
    opened: &'a Opened,
    state: &'a State,
    rules: Rules,
    trial: Trial,
    client: IpAddr,
    now_seconds: u32,
    flows: FlowCounts,
    /// What the agent could tell, if it could be asked.
    pub(super) breaks: Option<Vec<Break>>,
}

impl<'a> Asking<'a> {
    pub(super) fn new(opened: &'a Opened, state: &'a State, client: IpAddr) -> Result<Self> {
        let rules = opened.rules(state)?;
        let now_seconds = get::now_seconds()?;
        let trial = Trial::new(&rules, now_seconds);
        let flows = opened.count_flows(|service, address| {
            let frontend = rules.port(service, Family::of(address));
            frontend.is_some_and(|frontend| is_client(frontend, client, address))
        })?;
        Ok(Self { opened, state, rules, trial, client, now_seconds, flows, breaks: None })
    }

    /// Of the Service with this name, or of all that hold clients of the client's family.
    pub(super) fn services(&mut self, scope: &Scope, name: Option<&str>) -> Result<Vec<PortWhy>> {
        let family = Family::of(self.client);
        let in_scope = self.state.services.iter().filter(|(_, service)| scope.covers(&service.namespace));
        let mut services: Vec<(&ServicePort, u32)> = in_scope
            .filter(|(id, service)| match name {
                Some(name) => service.name == name,
                None => self.rules.port(**id, family).is_some_and(affinity::is_on),
            })
            .map(|(id, service)| (service, *id))
            .collect();
        services.sort();
        services.into_iter().map(|(service, id)| self.ask(id, service)).collect()
    }

    fn ask(&mut self, id: u32, service: &ServicePort) -> Result<PortWhy> {
        let active = self.state.backends.values().filter(|it| it.service == id && it.state == BackendState::Active);
        let why = PortWhy {
            service: service.clone(),
            affinity: None,
            by: By::NoFrontend,
            kept_out: kept_out(self.state, id, self.client),
            next: None,
            held: None,
            table: None,
            counts_as_break: None,
            had: None,
            if_gone: None,
            active_backends: active.filter(|it| Family::of(it.address.ip()) == Family::of(self.client)).count(),
            flows: self.flows.iter().filter(|((of, _), _)| *of == id).map(|(_, count)| count).sum(),
            breaks: None,
        };
        let Some(frontend) = self.rules.port(id, Family::of(self.client)).copied() else {
            return Ok(why);
        };
        let Some(settings) = frontend_affinity(&frontend) else {
            let by = if frontend.table_length == 0 { By::NoBackend } else { By::Connection };
            return Ok(PortWhy { by, ..why });
        };
        let rule = AffinityRule::new(settings, self.client);
        let client = held::masked(self.client, frontend.client_prefix);
        let known = self.opened.client(client, frontend.affinity)?;
        let ghosts = self.opened.ghosts(client, frontend.affinity)?;
        let table = self.opened.table(&frontend)?;
        let outcome = self.trial.connect(self.client, &frontend, &table, known.as_ref(), ghosts);
        let next = outcome.next.and_then(|id| target(self.state, id));
        Ok(PortWhy {
            by: by(self.state, known.as_ref(), &outcome, self.judged(known.as_ref())),
            table: outcome.table.and_then(|id| target(self.state, id)).map(|target| target.backend),
            counts_as_break: outcome.breaks.map(|moved| moved.reason.name()),
            had: outcome.breaks.and_then(|moved| had(self.state, &moved)),
            if_gone: next.as_ref().map(|next| if_gone(self.state, &table, &next.backend, outcome.hash)),
            next,
            held: known.map(|known| self.held(&known, &frontend)),
            breaks: self.breaks.as_ref().map(|all| breaks_of(all, service, &rule)),
            affinity: Some(rule),
            ..why
        })
    }

    fn judged(&self, known: Option<&Client>) -> bool {
        known.is_some_and(|known| self.rules.judge(known, self.now_seconds) == Some(Ok(())))
    }

    fn held(&self, known: &Client, frontend: &Frontend) -> Held {
        let over = self.rules.judge(known, self.now_seconds).and_then(Result::err);
        let ago = |seconds: u32| self.now_seconds.saturating_sub(seconds);
        Held {
            backend: known.backend(self.state).map(Backend::name),
            age_seconds: ago(known.affinity.since_seconds),
            last_used_seconds_ago: ago(known.affinity.last_used_seconds),
            expires_in_seconds: held::expires_in_seconds(&known.affinity, frontend, self.now_seconds),
            expiries: known.affinity.expiries,
            state: self.rules.state(known, self.now_seconds),
            over: over.map(lb_common::BreakReason::name),
            over_because: over.map(lb_common::BreakReason::description),
        }
    }
}

/// Whether a client is kept out of a Service port: in the order in which the programs ask.
fn kept_out(state: &State, service: u32, client: IpAddr) -> Option<KeptOut> {
    let is_in =
        |id: u32| state.source_ranges.get(&id).is_some_and(|ranges| ranges.iter().any(|it| it.contains(&client)));
    let asks = |of: &StateFrontend| of.service == service && of.asks_source && of.address.is_ipv4() == client.is_ipv4();
    let is_host = match client {
        IpAddr::V4(address) => Address4::from(address).is_host(),
        IpAddr::V6(address) => Address6::from(address).is_host(),
    };
    if !is_host {
        Some(KeptOut::BadSource)
    } else if is_in(INSIDE) {
        Some(KeptOut::FromInside)
    } else if state.frontends.iter().any(asks) && !is_in(service) {
        Some(KeptOut::SourceRange)
    } else {
        None
    }
}

impl AffinityRule {
    fn new(settings: FrontendAffinity, client: IpAddr) -> Self {
        let prefix = settings.client_prefix;
        Self { settings, client: held::shown(held::masked(client, prefix), prefix) }
    }
}

/// Whether both addresses are one client of the Service port.
fn is_client(frontend: &Frontend, one: IpAddr, other: IpAddr) -> bool {
    if !affinity::is_on(frontend) {
        return one == other;
    }
    held::masked(one, frontend.client_prefix) == held::masked(other, frontend.client_prefix)
}

/// What decided: the map, where the client's backend is still its own and is the one that the connection goes to.
fn by(state: &State, known: Option<&Client>, outcome: &Outcome, is_held: bool) -> By {
    let name = |id: u32| state.backends.get(&id).map(Backend::name);
    match (outcome.next, known) {
        (None, _) => By::NoBackend,
        // By another port's name for the same Pod, where ports share their clients.
        (Some(next), Some(known)) if is_held && name(next) == name(known.affinity.backend) => By::Map,
        (Some(_), _) => By::Table,
    }
}

fn target(state: &State, id: u32) -> Option<Target> {
    let backend = state.backends.get(&id)?;
    Some(Target { backend: backend.name(), node: backend.node.clone() })
}

fn had(state: &State, moved: &Moved) -> Option<String> {
    let backend = state.backends.get(&moved.from).filter(|backend| backend.generation == moved.from_generation);
    backend.map(Backend::name)
}

fn if_gone(state: &State, table: &[u32], backend: &str, hash: u32) -> IfGone {
    let names: Vec<String> =
        trial::members(table).iter().filter_map(|id| state.backends.get(id)).map(Backend::name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    IfGone { backend: backend.to_owned(), next: trial::without(&names, backend, hash).map(str::to_owned) }
}

/// The breaks of this client, newest first: at the Service port, or at any of the Service where its ports share their
/// clients.
fn breaks_of(all: &[Break], service: &ServicePort, rule: &AffinityRule) -> Vec<Break> {
    let is_here = |event: &&Break| {
        let Some(of) = &event.service else {
            return false;
        };
        let is_service = of.namespace == service.namespace && of.name == service.name;
        event.client == rule.client
            && is_service
            && (rule.settings.key == AffinityKey::Service || of.to_string() == service.to_string())
    };
    let mut events: Vec<Break> = all.iter().filter(is_here).cloned().collect();
    events.sort_by_key(|event| event.seconds_ago);
    events
}

#[cfg(test)]
mod tests {
    use lb_common::layout::frontend_flags;

    use super::*;
    use crate::{
        inspect::{
            held::sample::{NOW, client, frontend, rules},
            state::sample,
        },
        model::{Protocol, ServicePortName},
    };

    #[test]
    fn the_map_decides_where_the_client_is_still_held_there() {
        let state = sample::state();
        let outcome = |next| Outcome { next, table: next, breaks: None, hash: 0 };
        let held = client("198.51.100.7", 1, 990);
        let cases = [
            ("held there", outcome(Some(1)), Some(held), true, By::Map),
            ("held there, and over", outcome(Some(1)), Some(held), false, By::Table),
            ("held at a Pod that this port has not", outcome(Some(2)), Some(held), true, By::Table),
            ("not known", outcome(Some(1)), None, false, By::Table),
            ("nobody is there", outcome(None), Some(held), false, By::NoBackend),
        ];
        for (description, outcome, known, is_held, expected) in cases {
            assert_eq!(by(&state, known.as_ref(), &outcome, is_held), expected, "{description}");
        }
        assert_eq!(rules().judge(&held, NOW), Some(Ok(())));
    }

    #[test]
    fn an_address_is_a_client_as_far_as_the_service_says() {
        let [one, other] = ["198.51.100.7", "198.51.100.8"].map(|text| text.parse().unwrap());
        let by_network = Frontend { client_prefix: 24, ..frontend() };
        assert!(is_client(&by_network, one, other));
        assert!(!is_client(&frontend(), one, other));
        assert!(!is_client(&Frontend { flags: 0, ..by_network }, one, other), "without affinity an address is itself");
    }

    #[test]
    fn breaks_are_those_of_the_client_at_the_service() {
        let event = |client: &str, port: &str, seconds_ago: u64| Break {
            seconds_ago,
            service: Some(ServicePortName {
                namespace: "default".to_owned(),
                name: "web".to_owned(),
                port: port.to_owned(),
                protocol: Protocol::Tcp,
            }),
            client: client.to_owned(),
            reason: "draining".to_owned(),
            from: None,
            to: None,
            held_seconds: 0,
        };
        let all = [
            event("198.51.100.7", "http", 50),
            event("198.51.100.7", "https", 20),
            event("198.51.100.8", "http", 5),
            event("198.51.100.7", "http", 10),
            Break { service: None, ..event("198.51.100.7", "http", 1) },
        ];
        let of = |frontend: &Frontend| {
            let rule = AffinityRule::new(frontend_affinity(frontend).unwrap(), "198.51.100.7".parse().unwrap());
            let service = sample::service("default", "web", "http", "TCP");
            breaks_of(&all, &service, &rule).iter().map(|event| event.seconds_ago).collect::<Vec<_>>()
        };
        assert_eq!(of(&frontend()), [10, 50]);
        let flags = frontend_flags::CLIENT_AFFINITY | frontend_flags::SERVICE_KEY;
        assert_eq!(of(&Frontend { flags, ..frontend() }), [10, 20, 50]);
    }
}
