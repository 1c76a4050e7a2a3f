//! Rows of `limpet get backends`: one for each address of a Pod, and Service port.

use serde::Serialize;

use super::{
    output::{NOTHING_THERE, Row, percent},
    state::{Backend, BackendState, ServicePort, Share, State},
};
use crate::cli::Scope;

/// A backend.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackendRow {
    /// The namespace of the Pod, else of the Service.
    pub namespace: String,
    /// `namespace/name` of the Pod, or its address and port.
    pub name: String,
    /// Its id in the maps of this node.
    pub id: u32,
    /// How often the id has been given away.
    pub generation: u32,
    /// Where it listens.
    pub address: std::net::IpAddr,
    /// The port.
    pub port: u16,
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// The node that it is on.
    pub node: Option<String>,
    /// Whether it takes flows.
    pub state: BackendState,
    /// The Service port that it belongs to.
    pub service: ServicePort,
    /// The slots of the lookup table that name it.
    pub slots: u32,
    /// All slots of the lookup table; 0 when there is none.
    pub table_slots: u32,
    /// The part of the table, from 0 to 1.
    pub share: f64,
}

/// The backends of the namespaces that are meant, sorted by name, Service port and address. Those that are gone are left
/// out.
pub fn rows(state: &State, scope: &Scope) -> Vec<BackendRow> {
    let shares = state.shares();
    let share = |id: &u32| shares.get(id).copied().unwrap_or_default();
    let rows = state.live_backends().map(|(id, backend)| row(state, *id, backend, share(id)));
    let mut rows: Vec<_> = rows.filter(|row| scope.covers(&row.namespace)).collect();
    let key = |row: &BackendRow| (row.namespace.clone(), row.name.clone(), row.service.clone(), row.address, row.id);
    rows.sort_by_cached_key(key);
    rows
}

fn row(state: &State, id: u32, backend: &Backend, share: Share) -> BackendRow {
    let service = state.service(backend.service);
    BackendRow {
        namespace: backend.namespace().unwrap_or(&service.namespace).to_owned(),
        name: backend.name(),
        id,
        generation: backend.generation,
        address: backend.address.ip(),
        port: backend.address.port(),
        protocol: backend.protocol.clone(),
        node: backend.node.clone(),
        state: backend.state,
        service,
        slots: share.slots,
        table_slots: share.table_slots,
        share: share.fraction(),
    }
}

impl BackendRow {
    /// The name without the namespace that stands beside it.
    fn name_in_namespace(&self) -> &str {
        self.name.strip_prefix(&self.namespace).and_then(|rest| rest.strip_prefix('/')).unwrap_or(&self.name)
    }
}

impl Row for BackendRow {
    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec!["NAMESPACE", "NAME", "ADDRESS", "PROTOCOL", "NODE", "STATE", "SERVICE", "SHARE"];
        if wide {
            header.extend(["SLOTS", "ID", "GENERATION"]);
        }
        header
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![
            self.namespace.clone(),
            self.name_in_namespace().to_owned(),
            std::net::SocketAddr::new(self.address, self.port).to_string(),
            self.protocol.clone(),
            self.node.clone().unwrap_or_else(|| NOTHING_THERE.to_owned()),
            self.state.to_string(),
            self.service.to_string(),
            percent(self.share),
        ];
        if wide {
            cells.push(format!("{}/{}", self.slots, self.table_slots));
            cells.extend([self.id.to_string(), self.generation.to_string()]);
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
    use crate::cli::OutputOptions;

    #[test]
    fn table() {
        let rows = rows(&sample::state(), &Scope::default());
        let expected = "\
NAMESPACE  NAME   ADDRESS         PROTOCOL  NODE  STATE     SERVICE               SHARE
default    web-0  10.1.0.10:8080  TCP       n1    active    default/web:http/TCP  50.2%
default    web-1  10.1.1.10:8080  TCP       n2    active    default/web:http/TCP  49.8%
default    web-2  10.1.1.11:8080  TCP       n2    draining  default/web:http/TCP  0.0%
";
        assert_eq!(output::rows(&rows, &OutputOptions::default()).unwrap(), expected);
    }

    #[test]
    fn json_is_complete() {
        let value = serde_json::to_value(rows(&sample::state(), &Scope::default())).unwrap();
        let expected = json!({
            "namespace": "default", "name": "default/web-0", "id": 1, "generation": 1,
            "address": "10.1.0.10", "port": 8080, "protocol": "TCP", "node": "n1", "state": "active",
            "service": {"namespace": "default", "name": "web", "port": "http", "protocol": "TCP"},
            "slots": 126, "table_slots": 251, "share": 126.0 / 251.0,
        });
        assert_eq!(value[0], expected);
    }

    #[test]
    fn without_a_pod_the_namespace_is_the_services() {
        let mut state = sample::state();
        for backend in state.backends.values_mut() {
            backend.identity = Some(backend.address.to_string());
        }
        let rows = rows(&state, &Scope::default());
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0].namespace, "default");
        assert_eq!(rows[0].name, "10.1.0.10:8080");
    }
}
