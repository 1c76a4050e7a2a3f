//! Rows of `limpet get flows`: one for each connection that came in at this node.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::{
    output::{NOTHING_THERE, Row, age},
    state::{BackendState, Flow, ServicePort, State},
};
use crate::cli::{Scope, ServiceReference};

/// A flow.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct FlowRow {
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// The client's address.
    pub client: IpAddr,
    /// The client's port.
    pub client_port: u16,
    /// The frontend's address.
    pub frontend: IpAddr,
    /// The frontend's port.
    pub frontend_port: u16,
    /// The Service port; none when it is gone.
    pub service: Option<ServicePort>,
    /// The backend: `namespace/name` of the Pod, or address and port; none when it is gone.
    pub backend: Option<String>,
    /// Where the backend listens; none when it is gone.
    pub backend_address: Option<SocketAddr>,
    /// The node that the backend is on.
    pub node: Option<String>,
    /// `new` after one packet, `established` after more.
    pub state: &'static str,
    /// How long ago the backend was chosen.
    pub age_seconds: u32,
}

/// Which flows are meant.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Those of these namespaces.
    pub scope: Scope,
    /// Only those of the Service with this name.
    pub service: Option<ServiceReference>,
    /// Only those of this client.
    pub client: Option<IpAddr>,
}

impl Wanted {
    /// Whether this flow is meant.
    pub fn covers(&self, state: &State, flow: &Flow) -> bool {
        if self.client.is_some_and(|client| client != flow.client.ip()) {
            return false;
        }
        match flow.service.and_then(|id| state.services.get(&id)) {
            Some(service) => {
                self.scope.covers(&service.namespace)
                    && self.service.as_ref().is_none_or(|wanted| wanted.name == service.name)
            }
            // Its Service is gone: nobody knows the namespace.
            None => self.scope.namespace().is_none() && self.service.is_none(),
        }
    }
}

/// The flows, sorted by client; `now_seconds` is of the clock that dates them.
pub fn rows(state: &State, mut flows: Vec<Flow>, now_seconds: u32) -> Vec<FlowRow> {
    flows.sort_by_key(|flow| (flow.client, flow.frontend, flow.protocol.clone()));
    flows.into_iter().map(|flow| row(state, flow, now_seconds)).collect()
}

fn row(state: &State, flow: Flow, now_seconds: u32) -> FlowRow {
    // Another generation is another backend.
    let backend = state.backends.get(&flow.backend);
    let backend = backend.filter(|it| it.generation == flow.generation && it.state != BackendState::Gone);
    FlowRow {
        protocol: flow.protocol,
        client: flow.client.ip(),
        client_port: flow.client.port(),
        frontend: flow.frontend.ip(),
        frontend_port: flow.frontend.port(),
        service: flow.service.map(|id| state.service(id)),
        backend: backend.map(super::state::Backend::name),
        backend_address: backend.map(|backend| backend.address),
        node: backend.and_then(|backend| backend.node.clone()),
        state: if flow.established { "established" } else { "new" },
        age_seconds: now_seconds.saturating_sub(flow.since_seconds),
    }
}

impl Row for FlowRow {
    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec!["PROTOCOL", "CLIENT", "FRONTEND", "BACKEND", "STATE", "AGE"];
        if wide {
            header.extend(["SERVICE", "BACKEND-ADDRESS", "NODE"]);
        }
        header
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let nothing = || NOTHING_THERE.to_owned();
        let mut cells = vec![
            self.protocol.clone(),
            SocketAddr::new(self.client, self.client_port).to_string(),
            SocketAddr::new(self.frontend, self.frontend_port).to_string(),
            self.backend.clone().unwrap_or_else(|| "gone".to_owned()),
            self.state.to_owned(),
            age(self.age_seconds.into()),
        ];
        if wide {
            let address = self.backend_address.map_or_else(nothing, |address| address.to_string());
            let service = self.service.as_ref().map_or_else(|| "gone".to_owned(), ServicePort::to_string);
            cells.extend([service, address, self.node.clone().unwrap_or_else(nothing)]);
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{
            output,
            state::sample::{self, socket},
        },
        *,
    };
    use crate::cli::{Format, OutputOptions};

    fn flow(client: &str, backend: u32, generation: u32) -> Flow {
        Flow {
            client: socket(client),
            frontend: socket("203.0.113.10:80"),
            protocol: "TCP".to_owned(),
            backend,
            generation,
            since_seconds: 940,
            service: Some(1),
            established: backend == 1,
        }
    }

    fn flows() -> Vec<Flow> {
        // The second backend's id now is another's; the fourth backend is gone.
        vec![flow("198.51.100.9:5000", 2, 7), flow("198.51.100.7:5000", 1, 1), flow("198.51.100.9:5001", 4, 1)]
    }

    #[test]
    fn table() {
        let rows = rows(&sample::state(), flows(), 1000);
        let expected = "\
PROTOCOL  CLIENT             FRONTEND         BACKEND        STATE        AGE
TCP       198.51.100.7:5000  203.0.113.10:80  default/web-0  established  1m
TCP       198.51.100.9:5000  203.0.113.10:80  gone           new          1m
TCP       198.51.100.9:5001  203.0.113.10:80  gone           new          1m
";
        assert_eq!(output::rows(&rows, &OutputOptions::default()).unwrap(), expected);
        let wide = OutputOptions { format: Format::Wide, no_headers: true, cells: false };
        let wide = output::rows(&rows, &wide).unwrap();
        assert!(wide.contains("1m  default/web:http/TCP  10.1.0.10:8080  n1\n"), "{wide}");
    }

    #[test]
    fn json_is_complete() {
        let value = serde_json::to_value(rows(&sample::state(), flows(), 1000)).unwrap();
        let expected = json!({
            "protocol": "TCP", "client": "198.51.100.7", "client_port": 5000,
            "frontend": "203.0.113.10", "frontend_port": 80,
            "service": {"namespace": "default", "name": "web", "port": "http", "protocol": "TCP"},
            "backend": "default/web-0", "backend_address": "10.1.0.10:8080", "node": "n1",
            "state": "established", "age_seconds": 60,
        });
        assert_eq!(value[0], expected);
    }

    #[test]
    fn only_what_is_meant() {
        let state = sample::state();
        let orphan = Flow { service: None, ..flow("198.51.100.7:1", 1, 1) };
        let all = Scope { namespace: None, all_namespaces: true };
        let shop = Scope { namespace: Some("shop".to_owned()), all_namespaces: false };
        let named = |name: &str| Some(ServiceReference { namespace: None, name: name.to_owned() });
        let cases = [
            ("the default namespace", Wanted::default(), true, false),
            ("another namespace", Wanted { scope: shop, ..Wanted::default() }, false, false),
            ("all", Wanted { scope: all.clone(), ..Wanted::default() }, true, true),
            ("the Service", Wanted { service: named("web"), ..Wanted::default() }, true, false),
            ("another Service", Wanted { service: named("cart"), scope: all, client: None }, false, false),
            ("the client", Wanted { client: Some("198.51.100.7".parse().unwrap()), ..Wanted::default() }, true, false),
            ("another", Wanted { client: Some("198.51.100.8".parse().unwrap()), ..Wanted::default() }, false, false),
        ];
        for (description, wanted, expected, expected_of_orphan) in cases {
            assert_eq!(wanted.covers(&state, &flow("198.51.100.7:1", 1, 1)), expected, "{description}");
            assert_eq!(wanted.covers(&state, &orphan), expected_of_orphan, "{description}, Service gone");
        }
    }
}
