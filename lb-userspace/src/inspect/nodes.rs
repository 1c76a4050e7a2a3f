//! Rows of `limpet get nodes`: one for each node, with the way to it.

use lb_common::layout::THIS_NODE;
use serde::Serialize;

use super::{
    output::{Row, list},
    state::{BackendState, State, Way},
};
use crate::model::Family;

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeRow {
    /// Its name.
    pub name: String,
    /// Whether it is the one that this was read on.
    pub this_node: bool,
    /// The way to it, for each family that it has an address of.
    pub ways: Vec<Way>,
    /// Backends on it, those that drain included.
    pub backends: usize,
}

/// The nodes, sorted by name.
pub fn rows(state: &State) -> Vec<NodeRow> {
    let live = |id: &u32| {
        let on_it = state.backends.values().filter(|backend| backend.node_id == *id);
        on_it.filter(|backend| backend.state != BackendState::Gone).count()
    };
    let rows = state.nodes.iter().map(|(id, node)| NodeRow {
        name: node.name.clone(),
        this_node: *id == THIS_NODE,
        ways: node.ways.clone(),
        backends: live(id),
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    rows
}

impl NodeRow {
    fn way(&self) -> String {
        if self.this_node {
            return "this node".to_owned();
        }
        let ways: Vec<String> = self.ways.iter().map(way).collect();
        if ways.is_empty() { "no address".to_owned() } else { ways.join("; ") }
    }
}

fn way(way: &Way) -> String {
    let family = Family::of(way.address);
    match &way.hop {
        Some(hop) => format!("{family} {} {} mtu {}", hop.device, hop.mac, hop.mtu_bytes),
        None => format!("{family} unresolved"),
    }
}

impl Row for NodeRow {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["NAME", "ADDRESSES", "WAY", "BACKENDS"]
    }

    fn cells(&self, _wide: bool) -> Vec<String> {
        let addresses = list(self.ways.iter().map(|way| way.address));
        vec![self.name.clone(), addresses, self.way(), self.backends.to_string()]
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
        let expected = "\
NAME  ADDRESSES         WAY                                                    BACKENDS
n1    10.0.0.1          this node                                              1
n2    10.0.0.2,fd00::2  IPv4 eth0 02:00:00:00:00:02 mtu 1500; IPv6 unresolved  2
";
        assert_eq!(output::rows(&rows(&sample::state()), &OutputOptions::default()).unwrap(), expected);
    }

    #[test]
    fn json_is_complete() {
        let expected = json!([
            {"name": "n1", "this_node": true, "ways": [{"address": "10.0.0.1", "hop": null}], "backends": 1},
            {
                "name": "n2", "this_node": false, "backends": 2,
                "ways": [
                    {
                        "address": "10.0.0.2",
                        "hop": {"device": "eth0", "mac": "02:00:00:00:00:02", "mtu_bytes": 1500},
                    },
                    {"address": "fd00::2", "hop": null},
                ],
            },
        ]);
        assert_eq!(serde_json::to_value(rows(&sample::state())).unwrap(), expected);
    }
}
