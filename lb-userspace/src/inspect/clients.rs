//! Rows of `limpet get clients`: one for each client that is held at this node.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::{
    held::{self, Client, ClientState, HeldFor, Rules},
    output::{NOTHING_THERE, Row, age},
    state::{Backend, State},
};
use crate::cli::{Scope, ServiceReference};

/// A client.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ClientRow {
    /// Its address, or the prefix that the Service takes for one client.
    pub client: String,
    /// What it is held for; none when no Service holds clients for that (any more).
    pub service: Option<HeldFor>,
    /// The backend: `namespace/name` of the Pod, or address and port; none when it is gone.
    pub backend: Option<String>,
    /// Where the backend listens.
    #[serde(skip)]
    pub backend_address: Option<SocketAddr>,
    /// The node that the backend is on.
    pub node: Option<String>,
    /// How long ago the client was given to the backend.
    pub age_seconds: u32,
    /// How long ago it last began a connection.
    pub last_used_seconds_ago: u32,
    /// How long it is held if it begins none; 0: its time is over. None where no Service holds it.
    pub expires_in_seconds: Option<u32>,
    /// How often its time was over.
    pub expiries: u32,
    /// Whether its next connection goes to the same backend.
    pub state: ClientState,
    #[serde(skip)]
    address: IpAddr,
}

/// Which clients are meant.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Those of Services of these namespaces.
    pub scope: Scope,
    /// Only those of the Service with this name.
    pub service: Option<ServiceReference>,
    /// Only the one that this address belongs to.
    pub client: Option<IpAddr>,
}

impl Wanted {
    /// Whether this client is meant.
    pub fn covers(&self, state: &State, rules: &Rules, client: &Client) -> bool {
        let holder = rules.holder(client);
        let is_client = self.client.is_none_or(|wanted| match holder {
            Some((_, frontend)) => held::masked(wanted, frontend.client_prefix) == client.address,
            None => wanted == client.address,
        });
        is_client
            && match holder {
                Some((service, frontend)) => {
                    HeldFor::new(state.service(service), frontend).is_of(&self.scope, self.service.as_ref())
                }
                // Of no Service, so of no namespace.
                None => self.scope.namespace().is_none() && self.service.is_none(),
            }
    }
}

/// The clients, sorted by address.
pub fn rows(state: &State, rules: &Rules, clients: &[Client], now_seconds: u32) -> Vec<ClientRow> {
    let mut rows: Vec<ClientRow> = clients.iter().map(|client| row(state, rules, client, now_seconds)).collect();
    rows.sort_by(|one, other| (one.address, &one.service).cmp(&(other.address, &other.service)));
    rows
}

fn row(state: &State, rules: &Rules, client: &Client, now_seconds: u32) -> ClientRow {
    let Client { address, affinity, .. } = client;
    let frontend = rules.holder(client).map(|(_, frontend)| frontend);
    let backend = client.backend(state);
    ClientRow {
        client: frontend.map_or_else(|| address.to_string(), |it| held::shown(*address, it.client_prefix)),
        service: rules.held_for(state, client),
        backend: backend.map(Backend::name),
        backend_address: backend.map(|backend| backend.address),
        node: backend.and_then(|backend| backend.node.clone()),
        age_seconds: now_seconds.saturating_sub(affinity.since_seconds),
        last_used_seconds_ago: now_seconds.saturating_sub(affinity.last_used_seconds),
        expires_in_seconds: frontend.map(|frontend| held::expires_in_seconds(affinity, frontend, now_seconds)),
        expiries: affinity.expiries,
        state: rules.state(client, now_seconds),
        address: *address,
    }
}

impl Row for ClientRow {
    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec!["CLIENT", "SERVICE", "BACKEND", "STATE", "AGE", "LAST-USED", "EXPIRES-IN"];
        if wide {
            header.extend(["NODE", "EXPIRIES", "BACKEND-ADDRESS"]);
        }
        header
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let nothing = || NOTHING_THERE.to_owned();
        let mut cells = vec![
            self.client.clone(),
            self.service.as_ref().map_or_else(nothing, HeldFor::to_string),
            self.backend.clone().unwrap_or_else(|| "gone".to_owned()),
            self.state.to_string(),
            age(self.age_seconds.into()),
            age(self.last_used_seconds_ago.into()),
            self.expires_in_seconds.map_or_else(nothing, |seconds| age(seconds.into())),
        ];
        if wide {
            cells.extend([
                self.node.clone().unwrap_or_else(nothing),
                self.expiries.to_string(),
                self.backend_address.map_or_else(nothing, |address| address.to_string()),
            ]);
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use lb_common::layout::Frontend;
    use serde_json::json;

    use super::{
        super::{
            held::sample::{NOW, client, frontend, rules, rules_with},
            output,
            state::sample,
        },
        *,
    };
    use crate::cli::{Format, OutputOptions};

    fn clients() -> Vec<Client> {
        let orphan = Client { held_for: [1, 2], ..client("198.51.100.6", 2, 990) };
        vec![client("198.51.100.10", 3, 940), client("198.51.100.9", 1, 300), client("198.51.100.7", 1, 990), orphan]
    }

    #[test]
    fn table() {
        let rows = rows(&sample::state(), &rules(), &clients(), NOW);
        let expected = "\
CLIENT         SERVICE               BACKEND        STATE    AGE  LAST-USED  EXPIRES-IN
198.51.100.6   -                     default/web-1  unused   15m  10s        -
198.51.100.7   default/web:http/TCP  default/web-0  held     15m  10s        9m50s
198.51.100.9   default/web:http/TCP  default/web-0  expired  15m  11m40s     0s
198.51.100.10  default/web:http/TCP  default/web-2  broken   15m  1m         9m
";
        assert_eq!(output::rows(&rows, &OutputOptions::default()).unwrap(), expected);
        let wide =
            output::rows(&rows, &OutputOptions { format: Format::Wide, no_headers: true, cells: false }).unwrap();
        assert!(wide.contains("9m50s  n1  0  10.1.0.10:8080\n"), "{wide}");
    }

    #[test]
    fn json_is_complete() {
        let rules = rules_with(Frontend { client_prefix: 24, ..frontend() });
        let value = serde_json::to_value(rows(&sample::state(), &rules, &[client("198.51.100.0", 2, 990)], NOW));
        let expected = json!([{
            "client": "198.51.100.0/24",
            "service": {"namespace": "default", "name": "web", "port": "http", "protocol": "TCP"},
            "backend": "default/web-1", "node": "n2", "age_seconds": 900, "last_used_seconds_ago": 10,
            "expires_in_seconds": 590, "expiries": 0, "state": "held",
        }]);
        assert_eq!(value.unwrap(), expected);
    }

    #[test]
    fn only_who_is_meant() {
        let state = sample::state();
        let rules = rules_with(Frontend { client_prefix: 24, ..frontend() });
        let all = Scope { namespace: None, all_namespaces: true };
        let shop = Scope { namespace: Some("shop".to_owned()), all_namespaces: false };
        let named = |name: &str| Some(ServiceReference { namespace: None, name: name.to_owned() });
        let of_client = |address: &str| Wanted { client: Some(address.parse().unwrap()), ..Wanted::default() };
        let cases = [
            ("the default namespace", Wanted::default(), true, false),
            ("another namespace", Wanted { scope: shop, ..Wanted::default() }, false, false),
            ("all", Wanted { scope: all.clone(), ..Wanted::default() }, true, true),
            ("the Service", Wanted { service: named("web"), ..Wanted::default() }, true, false),
            ("another Service", Wanted { service: named("cart"), scope: all, client: None }, false, false),
            ("an address of the client", of_client("198.51.100.7"), true, false),
            ("another client's", of_client("198.51.101.7"), false, false),
        ];
        let held = client("198.51.100.0", 1, 990);
        let orphan = Client { held_for: [1, 2], ..held };
        for (description, wanted, expected, expected_of_orphan) in cases {
            assert_eq!(wanted.covers(&state, &rules, &held), expected, "{description}");
            assert_eq!(wanted.covers(&state, &rules, &orphan), expected_of_orphan, "{description}, of no Service");
        }
    }
}
