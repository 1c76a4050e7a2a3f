//! `limpet describe service`: one Service with all that belongs to it, and its problems.

mod text;

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use lb_common::layout::ServiceCounts;
use serde::Serialize;

use super::{
    Said, client,
    client::Error as Unreachable,
    get, output,
    read::{self, Opened},
    services::{FrontendCell, affinity_name},
    state::{BackendState, Extent, Frontend, ServicePort, State},
    suggest,
};
use crate::{
    api::AgentStatus,
    cli::{DescribeOptions, Format, Places, Scope, Subject},
    dataplane::Pins,
    model::{AffinityExpiry, AffinityKey, Family},
    source::Problem,
};

/// A Service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceDescription {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its ports.
    pub ports: Vec<PortDescription>,
    /// Its problems and those of its EndpointSlices; none when the agent could not be asked.
    pub problems: Option<Vec<Problem>>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PortDescription {
    /// Its name; empty for the only port of a Service.
    pub port: String,
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// `None` or `ClientIP`; none without a frontend, which would say so.
    pub affinity: Option<&'static str>,
    /// How long a client without a new connection stays with its backend.
    pub affinity_timeout_seconds: Option<u32>,
    /// What a client stays with (`limpet.dev/affinity-key`).
    pub affinity_key: Option<AffinityKey>,
    /// What becomes of a client whose time is over (`limpet.dev/affinity-expiry`).
    pub affinity_expiry: Option<AffinityExpiry>,
    /// Leading bits of an address that make a client (`limpet.dev/client-prefix`), for the families of its frontends.
    pub client_prefix: BTreeMap<Family, u8>,
    /// Where it is reached.
    pub frontends: Vec<FrontendCell>,
    /// Who may reach its load-balancer IPs (`loadBalancerSourceRanges`); none: everybody.
    pub source_ranges: Option<Vec<String>>,
    /// Whether packets are dropped in silence where there is no lookup table, because other nodes have usable backends.
    pub drops_if_empty: bool,
    /// What it took in on this node.
    pub traffic: Traffic,
    /// Its lookup tables, one for each family.
    pub tables: Vec<TableDescription>,
    /// Its backends.
    pub backends: Vec<BackendDescription>,
}

/// What a port took in on this node, since it was first programmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Their bytes, from the IP header on.
    pub bytes: u64,
    /// Those of them that began a flow.
    pub new_flows: u64,
}

impl From<ServiceCounts> for Traffic {
    fn from(counts: ServiceCounts) -> Self {
        let ServiceCounts { packets, bytes, new_flows } = counts;
        Self { packets, bytes, new_flows }
    }
}

/// A lookup table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableDescription {
    /// The family of its backends.
    pub family: Family,
    /// How long it is.
    pub slots: u32,
    /// Backends in it.
    pub backends: usize,
    /// What each would have if all had the same, from 0 to 1.
    pub fair_share: f64,
}

/// A backend of one port.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackendDescription {
    /// `namespace/name` of the Pod, or its address and port.
    pub name: String,
    /// Where it listens.
    pub address: std::net::SocketAddr,
    /// The node that it is on.
    pub node: Option<String>,
    /// Whether it takes flows.
    pub state: BackendState,
    /// The slots of the lookup table that name it.
    pub slots: u32,
    /// The part of the table, from 0 to 1.
    pub share: f64,
    /// What it would have if all had the same, from 0 to 1.
    pub fair_share: f64,
}

/// Carries the command out.
///
/// # Errors
/// When the maps cannot be read, or there is no such Service.
pub fn run(options: &DescribeOptions, places: &Places) -> Result<Said> {
    let Subject::Service { service } = &options.subject;
    let scope = Scope { namespace: options.namespace.clone(), all_namespaces: false }.narrowed_to(service)?;
    let opened = read::open(&Pins::new(&places.pin_dir))?;
    let state = opened.state()?;
    let agent = client::status(&places.socket);
    let namespace = scope.namespace().unwrap_or_default();
    let Some(mut description) = describe(&state, namespace, &service.name, &agent) else {
        bail!(suggest::no_such_service(&state, service, &scope));
    };
    add_traffic(&mut description, &state, &opened)?;
    let text = match options.output.format {
        Format::Json => output::json(&description)?,
        Format::Table | Format::Wide => text::all(&description, &options.output),
    };
    Ok(Said { text, notes: get::note_on_agent(&agent).into_iter().collect(), unwell: false })
}

/// Adds what the ports took in.
fn add_traffic(service: &mut ServiceDescription, state: &State, opened: &Opened) -> Result<()> {
    for port in &mut service.ports {
        let is_port = |known: &&ServicePort| {
            (&known.namespace, &known.name, &known.port, &known.protocol)
                == (&service.namespace, &service.name, &port.port, &port.protocol)
        };
        if let Some((id, _)) = state.services.iter().find(|(_, known)| is_port(known)) {
            port.traffic = opened.maps.service_counts(*id)?.into();
        }
    }
    Ok(())
}

/// The Service with this name, without its traffic; none when it is not programmed.
fn describe(
    state: &State,
    namespace: &str,
    name: &str,
    agent: &Result<AgentStatus, Unreachable>,
) -> Option<ServiceDescription> {
    let is_meant = |port: &&ServicePort| port.namespace == namespace && port.name == name;
    let mut ports: Vec<(u32, &ServicePort)> =
        state.services.iter().map(|(id, port)| (*id, port)).filter(|(_, port)| is_meant(port)).collect();
    ports.sort_by_key(|(_, port)| *port);
    let agent = agent.as_ref().ok();
    (!ports.is_empty()).then(|| ServiceDescription {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ports: ports.into_iter().map(|(id, port)| describe_port(state, id, port)).collect(),
        problems: agent.map(|agent| problems_of(&agent.problems, namespace, name)),
    })
}

fn describe_port(state: &State, id: u32, port: &ServicePort) -> PortDescription {
    let frontends = state.frontends_by_service().remove(&id).unwrap_or_default();
    let affinity = frontends.iter().find_map(|frontend| frontend.affinity);
    let prefix = |frontend: &&Frontend| Some((Family::of(frontend.address.ip()), frontend.affinity?.client_prefix));
    let tables = state.tables_by_service().remove(&id).unwrap_or_default();
    let table = |(extent, family): (&Extent, &Family)| {
        let backends = state.tables.get(extent).map_or(0, |table| table.len());
        let fair_share = if backends == 0 { 0.0 } else { 1.0 / backends as f64 };
        TableDescription { family: *family, slots: extent.length, backends, fair_share }
    };
    let described: Vec<TableDescription> = tables.iter().map(table).collect();
    let members = state.backends_by_service().remove(&id).unwrap_or_default();
    let shares = state.shares();
    let backend = |backend_id: u32| {
        let backend = state.backends.get(&backend_id)?;
        let share = shares.get(&backend_id).copied().unwrap_or_default();
        // Only what is in the table has a share of it.
        let family = Family::of(backend.address.ip());
        let table = described.iter().find(|table| share.slots > 0 && table.family == family);
        Some(BackendDescription {
            name: backend.name(),
            address: backend.address,
            node: backend.node.clone(),
            state: backend.state,
            slots: share.slots,
            share: share.fraction(),
            fair_share: table.map_or(0.0, |table| table.fair_share),
        })
    };
    let mut backends: Vec<BackendDescription> = members.into_iter().filter_map(backend).collect();
    backends.sort_by(|one, other| (&one.name, one.address).cmp(&(&other.name, other.address)));
    PortDescription {
        port: port.port.clone(),
        protocol: port.protocol.clone(),
        affinity: affinity_name(&frontends),
        affinity_timeout_seconds: affinity.map(|affinity| affinity.timeout_seconds),
        affinity_key: affinity.map(|affinity| affinity.key),
        affinity_expiry: affinity.map(|affinity| affinity.expiry),
        client_prefix: frontends.iter().filter_map(prefix).collect(),
        source_ranges: source_ranges(state, id, &frontends),
        drops_if_empty: frontends.iter().any(|frontend| frontend.drops_if_empty),
        traffic: Traffic::default(),
        frontends: frontends.into_iter().map(FrontendCell::new).collect(),
        tables: described,
        backends,
    }
}

/// The ranges of a Service port; none where no frontend asks for them.
fn source_ranges(state: &State, id: u32, frontends: &[&Frontend]) -> Option<Vec<String>> {
    let ranges = state.source_ranges.get(&id).into_iter().flatten();
    frontends.iter().any(|frontend| frontend.asks_source).then(|| ranges.map(ToString::to_string).collect())
}

/// The Service's own problems and those of its EndpointSlices, which are named after it: its name, a dash, and five
/// or more characters without one.
fn problems_of(problems: &[Problem], namespace: &str, name: &str) -> Vec<Problem> {
    let service = format!("Service {namespace}/{name}");
    let slice = format!("EndpointSlice {namespace}/{name}");
    let is_own = |object: &str| match object.strip_prefix(&slice) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('-').is_some_and(|suffix| !suffix.contains('-')),
        None => object == service,
    };
    problems.iter().filter(|problem| problem.object.as_deref().is_some_and(is_own)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::state::sample, text::all as to_text, *};
    use crate::cli::OutputOptions;

    fn nobody() -> Result<AgentStatus, Unreachable> {
        Err(Unreachable::NoSocket { path: "/s".into() })
    }

    #[test]
    fn text_of_a_service_with_backends() {
        let service = describe(&sample::state(), "default", "web", &nobody()).unwrap();
        let expected = "\
Name:       web
Namespace:  default

Port:       http TCP
  Affinity:   None
  Table:      IPv4, 251 slots for 2 backends, fair share 50.0%
  Traffic:    0 packets, 0 bytes, 0 new flows, at this node
  Frontends:  2
    KIND            ADDRESS
    LoadBalancerIP  203.0.113.10:80
    NodePort        10.0.0.1:30080
  Backends:   3
    NAME           ADDRESS         NODE  STATE     SLOTS  SHARE  FAIR
    default/web-0  10.1.0.10:8080  n1    active    126    50.2%  50.0%
    default/web-1  10.1.1.10:8080  n2    active    125    49.8%  50.0%
    default/web-2  10.1.1.11:8080  n2    draining  0      0.0%   0.0%

Problems:   unknown: only the agent knows them
";
        assert_eq!(to_text(&service, &OutputOptions::default()), expected);
    }

    #[test]
    fn text_of_a_service_without_backends() {
        let mut service = describe(&sample::state(), "shop", "cart", &nobody()).unwrap();
        service.problems = Some(vec![Problem::error("e").about("Service shop/cart")]);
        let expected = "\
Name:       cart
Namespace:  shop

Port:       (without a name) UDP
  Affinity:   ClientIP
  Timeout:    3h (10800 s) without a new connection
  Key:        service: all ports of the Service hold a client on one Pod
  Client:     IPv6 /64
  Expiry:     real: a client whose time is over may get another backend
  Table:      none: no usable backend, clients are told so by ICMP port unreachable (`rejected`)
  Traffic:    0 packets, 0 bytes, 0 new flows, at this node
  Frontends:  1
    KIND        ADDRESS
    ExternalIP  [2001:db8::20]:53
  Backends:   0

Problems:
  SEVERITY  OBJECT             FIELD  FILE  PROBLEM
  error     Service shop/cart  -      -     e
";
        assert_eq!(to_text(&service, &OutputOptions::default()), expected);
    }

    #[test]
    fn without_frontends_nothing_is_said_to_be_dropped() {
        let mut state = sample::state();
        state.frontends.clear();
        let text = to_text(&describe(&state, "default", "web", &nobody()).unwrap(), &OutputOptions::default());
        let expected = "
  Affinity:   not known: there is no frontend that it would matter to
  Table:      none: without a frontend no packet is for this port
  Traffic:    0 packets, 0 bytes, 0 new flows, at this node
  Frontends:  0
";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn ranges_traffic_and_what_becomes_of_packets_without_a_backend() {
        let mut state = sample::state();
        state.source_ranges.insert(1, ["198.51.100.0/24", "2001:db8::/32"].map(|range| range.parse().unwrap()).into());
        state.frontends[1].asks_source = true;
        state.frontends[2].drops_if_empty = true;
        let mut web = describe(&state, "default", "web", &nobody()).unwrap();
        web.ports[0].traffic = ServiceCounts { packets: 7, bytes: 420, new_flows: 2 }.into();
        let text = to_text(&web, &OutputOptions::default());
        assert!(text.contains("  Sources:    198.51.100.0/24, 2001:db8::/32, for the load-balancer IPs\n"), "{text}");
        assert!(text.contains("  Traffic:    7 packets, 420 bytes, 2 new flows, at this node\n"), "{text}");
        let value = serde_json::to_value(&web).unwrap();
        assert_eq!(value["ports"][0]["traffic"], json!({"packets": 7, "bytes": 420, "new_flows": 2}));
        assert_eq!(value["ports"][0]["source_ranges"], json!(["198.51.100.0/24", "2001:db8::/32"]));

        state.source_ranges.clear();
        let text = to_text(&describe(&state, "default", "web", &nobody()).unwrap(), &OutputOptions::default());
        assert!(text.contains("  Sources:    nobody, for the load-balancer IPs\n"), "{text}");
        let text = to_text(&describe(&state, "shop", "cart", &nobody()).unwrap(), &OutputOptions::default());
        assert!(text.contains("none on this node (policy Local): packets are dropped as `no-local-backend`"), "{text}");
    }

    #[test]
    fn json_is_complete() {
        let service = describe(&sample::state(), "default", "web", &nobody()).unwrap();
        let value = serde_json::to_value(service).unwrap();
        assert_eq!(value["problems"], json!(null));
        let port = &value["ports"][0];
        assert_eq!((&port["affinity_key"], &port["client_prefix"]), (&json!(null), &json!({})));
        let cart = serde_json::to_value(describe(&sample::state(), "shop", "cart", &nobody()).unwrap()).unwrap();
        let cart = &cart["ports"][0];
        assert_eq!(cart["affinity_timeout_seconds"], json!(10_800));
        assert_eq!((&cart["affinity_key"], &cart["affinity_expiry"]), (&json!("service"), &json!("real")));
        assert_eq!(cart["client_prefix"], json!({"IPv6": 64}));
        assert_eq!(port["tables"], json!([{"family": "IPv4", "slots": 251, "backends": 2, "fair_share": 0.5}]));
        let expected = json!({
            "name": "default/web-0", "address": "10.1.0.10:8080", "node": "n1", "state": "active",
            "slots": 126, "share": 126.0 / 251.0, "fair_share": 0.5,
        });
        assert_eq!(port["backends"][0], expected);
    }

    #[test]
    fn problems_are_those_of_the_service_and_its_slices() {
        let objects = [
            ("Service default/web", true),
            ("EndpointSlice default/web", true),
            ("EndpointSlice default/web-x7k2p", true),
            ("EndpointSlice default/web-admin-x7k2p", false),
            ("Service default/web-admin", false),
            ("Service shop/web", false),
        ];
        for (object, expected) in objects {
            let problems = [Problem::warning("w").about(object)];
            assert_eq!(!problems_of(&problems, "default", "web").is_empty(), expected, "{object}");
        }
    }

    #[test]
    fn what_is_not_programmed_is_none() {
        assert_eq!(describe(&sample::state(), "shop", "web", &nobody()), None);
    }
}
