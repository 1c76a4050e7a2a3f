//! Rows of `limpet get services`: one for each Service port.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    output::{NOTHING_THERE, Row, list, or_nothing},
    state::{Backend, BackendState, Frontend, FrontendKind, State},
};
use crate::{cli::Scope, model::Family};

/// A Service port.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceRow {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// The port's name; empty for the only port of a Service.
    pub port: String,
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// `None` or `ClientIP`; none without a frontend, which would say so.
    pub affinity: Option<&'static str>,
    /// How long a client stays with its backend.
    pub affinity_timeout_seconds: Option<u32>,
    /// Where it is reached.
    pub frontends: Vec<FrontendCell>,
    /// How many backends it has.
    pub backends: BackendCount,
    /// Its lookup tables.
    pub tables: Vec<TableCell>,
}

/// A frontend, in a row.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct FrontendCell {
    /// Where the address comes from.
    pub kind: FrontendKind,
    /// The address.
    pub address: std::net::IpAddr,
    /// The port.
    pub port: u16,
}

/// Backends by their state. A Pod with several addresses is one, in the first of its states in this order.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct BackendCount {
    /// Those that take new flows.
    pub active: usize,
    /// Those that keep the flows that they have: the Pod is terminating.
    pub draining: usize,
    /// Those that keep the flows that they have: the Pod is not ready.
    pub not_ready: usize,
    /// Those that keep the flows that they have: the Service's rules keep them out.
    pub excluded: usize,
}

impl BackendCount {
    fn of<'a>(backends: impl Iterator<Item = &'a Backend>) -> Self {
        let mut states: BTreeMap<String, BackendState> = BTreeMap::new();
        for backend in backends {
            let state = states.entry(backend.name()).or_insert(backend.state);
            *state = backend.state.min(*state);
        }
        let count = |wanted| states.values().filter(|state| **state == wanted).count();
        Self {
            active: count(BackendState::Active),
            draining: count(BackendState::Draining),
            not_ready: count(BackendState::NotReady),
            excluded: count(BackendState::Excluded),
        }
    }

    /// Those that only keep the flows that they have.
    fn others(self) -> usize {
        self.draining + self.not_ready + self.excluded
    }

    /// With all states that there are.
    fn in_words(self) -> String {
        let Self { active, draining, not_ready, excluded } = self;
        let states = [
            (active, BackendState::Active),
            (draining, BackendState::Draining),
            (not_ready, BackendState::NotReady),
            (excluded, BackendState::Excluded),
        ];
        list(states.iter().filter(|(count, _)| *count > 0).map(|(count, state)| format!("{state} {count}")))
    }
}

/// A lookup table, in a row.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct TableCell {
    /// The family of its backends.
    pub family: Family,
    /// How long it is.
    pub slots: u32,
}

impl FrontendCell {
    /// The frontend as a row has it.
    pub fn new(frontend: &Frontend) -> Self {
        Self { kind: frontend.kind, address: frontend.address.ip(), port: frontend.address.port() }
    }

    fn socket(&self) -> std::net::SocketAddr {
        (self.address, self.port).into()
    }
}

/// The Service ports of the namespaces that are meant, sorted.
pub fn rows(state: &State, scope: &Scope) -> Vec<ServiceRow> {
    let frontends = state.frontends_by_service();
    let backends = state.backends_by_service();
    let tables = state.tables_by_service();
    let mut rows: Vec<_> = frontends
        .keys()
        .chain(state.services.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|id| (id, state.service(*id)))
        .filter(|(_, service)| scope.covers(&service.namespace))
        .collect();
    rows.sort_by(|(_, one), (_, other)| one.cmp(other));
    let row = |(id, service): (&u32, super::state::ServicePort)| {
        let frontends = frontends.get(id).map(Vec::as_slice).unwrap_or_default();
        let timeout = frontends.iter().find_map(|frontend| frontend.affinity).map(|affinity| affinity.timeout_seconds);
        let backends = backends.get(id).into_iter().flatten().filter_map(|id| state.backends.get(id));
        let tables = tables.get(id).into_iter().flatten();
        ServiceRow {
            namespace: service.namespace,
            name: service.name,
            port: service.port,
            protocol: service.protocol,
            affinity: affinity_name(frontends),
            affinity_timeout_seconds: timeout,
            frontends: frontends.iter().map(|frontend| FrontendCell::new(frontend)).collect(),
            backends: BackendCount::of(backends),
            tables: tables.map(|(extent, family)| TableCell { family: *family, slots: extent.length }).collect(),
        }
    };
    rows.into_iter().map(row).collect()
}

/// `sessionAffinity` of the Service port that has these frontends; none without any.
pub(super) fn affinity_name(frontends: &[&Frontend]) -> Option<&'static str> {
    let is_on = frontends.iter().any(|frontend| frontend.affinity.is_some());
    (!frontends.is_empty()).then_some(if is_on { "ClientIP" } else { "None" })
}

/// The first frontend, and how many more there are.
fn short(frontends: &[FrontendCell]) -> String {
    match frontends {
        [] => NOTHING_THERE.to_owned(),
        [only] => only.socket().to_string(),
        [first, more @ ..] => format!("{} + {} more", first.socket(), more.len()),
    }
}

impl Row for ServiceRow {
    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec!["NAMESPACE", "NAME", "PORT", "PROTOCOL", "AFFINITY", "FRONTENDS", "BACKENDS"];
        if wide {
            header.push("SLOTS");
        }
        header
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let affinity = match (self.affinity, self.affinity_timeout_seconds) {
            (None, _) => NOTHING_THERE.to_owned(),
            (Some(affinity), Some(seconds)) if wide => format!("{affinity} {seconds}s"),
            (Some(affinity), _) => affinity.to_owned(),
        };
        let every = || list(self.frontends.iter().map(|frontend| format!("{} {}", frontend.kind, frontend.socket())));
        let mut cells = vec![
            self.namespace.clone(),
            self.name.clone(),
            or_nothing(&self.port),
            self.protocol.clone(),
            affinity,
            if wide { every() } else { short(&self.frontends) },
            if wide {
                self.backends.in_words()
            } else {
                format!("{}/{}", self.backends.active, self.backends.others())
            },
        ];
        if wide {
            cells.push(list(self.tables.iter().map(|table| format!("{} {}", table.family, table.slots))));
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{output, state::sample},
        *,
    };
    use crate::cli::{Format, OutputOptions};

    fn all() -> Scope {
        Scope { namespace: None, all_namespaces: true }
    }

    fn print(format: Format) -> String {
        output::rows(&rows(&sample::state(), &all()), &OutputOptions { format, no_headers: false, cells: false })
            .unwrap()
    }

    #[test]
    fn table() {
        let expected = "\
NAMESPACE  NAME  PORT  PROTOCOL  AFFINITY  FRONTENDS                 BACKENDS
default    web   http  TCP       None      203.0.113.10:80 + 1 more  2/1
shop       cart  -     UDP       ClientIP  [2001:db8::20]:53         0/0
";
        assert_eq!(print(Format::Table), expected);
    }

    #[test]
    fn without_frontends_affinity_is_not_known() {
        let mut state = sample::state();
        state.frontends.retain(|frontend| frontend.service != 2);
        let rows = rows(&state, &all());
        assert_eq!(rows.iter().map(|row| row.affinity).collect::<Vec<_>>(), [Some("None"), None]);
        assert_eq!(rows[1].cells(true)[4..6], [NOTHING_THERE, NOTHING_THERE]);
    }

    #[test]
    fn wide() {
        let expected = [
            "NAMESPACE  NAME  PORT  PROTOCOL  AFFINITY         FRONTENDS                                               \
             BACKENDS             SLOTS",
            "default    web   http  TCP       None             LoadBalancerIP 203.0.113.10:80,NodePort 10.0.0.1:30080  \
             active 2,draining 1  IPv4 251",
            "shop       cart  -     UDP       ClientIP 10800s  ExternalIP [2001:db8::20]:53                            \
             -                    -",
        ];
        assert_eq!(print(Format::Wide).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn json_is_complete() {
        let value = serde_json::to_value(rows(&sample::state(), &all())).unwrap();
        let web = json!({
            "namespace": "default", "name": "web", "port": "http", "protocol": "TCP",
            "affinity": "None", "affinity_timeout_seconds": null,
            "frontends": [
                {"kind": "LoadBalancerIP", "address": "203.0.113.10", "port": 80},
                {"kind": "NodePort", "address": "10.0.0.1", "port": 30080},
            ],
            "backends": {"active": 2, "draining": 1, "not_ready": 0, "excluded": 0},
            "tables": [{"family": "IPv4", "slots": 251}],
        });
        assert_eq!(value[0], web);
        assert_eq!(value[1]["affinity_timeout_seconds"], json!(10_800));
    }

    #[test]
    fn a_pod_is_counted_once_in_its_best_state() {
        let state = sample::state();
        let backend = |identity: &str, state_of: BackendState| Backend {
            identity: Some(identity.to_owned()),
            state: state_of,
            ..state.backends[&1].clone()
        };
        let backends = [
            backend("default/a", BackendState::Excluded),
            backend("default/a", BackendState::Active),
            backend("default/b", BackendState::Excluded),
            backend("default/c", BackendState::NotReady),
            backend("default/d", BackendState::Draining),
        ];
        let count = BackendCount::of(backends.iter());
        assert_eq!(count, BackendCount { active: 1, draining: 1, not_ready: 1, excluded: 1 });
        assert_eq!(count.others(), 3);
        assert_eq!(count.in_words(), "active 1,draining 1,not-ready 1,excluded 1");
        assert_eq!(BackendCount::default().in_words(), NOTHING_THERE);
    }

    #[test]
    fn only_the_namespaces_that_are_meant() {
        let names = |scope: &Scope| rows(&sample::state(), scope).into_iter().map(|row| row.name).collect::<Vec<_>>();
        assert_eq!(names(&Scope::default()), ["web"]);
        assert_eq!(names(&Scope { namespace: Some("shop".to_owned()), all_namespaces: false }), ["cart"]);
        assert_eq!(names(&all()), ["web", "cart"]);
    }
}
