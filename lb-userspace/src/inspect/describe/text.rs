//! A Service's description as text.

use super::{
    super::{
        output::{self, NOTHING_THERE, age, percent},
        status::problem_table,
    },
    PortDescription, ServiceDescription, TableDescription, Traffic,
};
use crate::{
    cli::OutputOptions,
    model::{AffinityExpiry, AffinityKey},
};

/// All of a Service.
pub(super) fn all(service: &ServiceDescription, options: &OutputOptions) -> String {
    let mut text = String::new();
    text += &format!("Name:       {}\nNamespace:  {}\n", service.name, service.namespace);
    for port in &service.ports {
        text += &port_text(port, options);
    }
    match service.problems.as_deref() {
        None => text += "\nProblems:   unknown: only the agent knows them\n",
        Some([]) => text += "\nProblems:   none\n",
        Some(problems) => {
            text += "\nProblems:\n";
            text += &indented(&problem_table(problems, options));
        }
    }
    text
}

fn port_text(port: &PortDescription, options: &OutputOptions) -> String {
    let name = if port.port.is_empty() { "(without a name)" } else { &port.port };
    let table = |table: &TableDescription| {
        let TableDescription { family, slots, backends, fair_share } = table;
        format!("{family}, {slots} slots for {backends} backends, fair share {}", percent(*fair_share))
    };
    let mut tables: Vec<String> = port.tables.iter().map(table).collect();
    if tables.is_empty() {
        tables.push(match port.frontends.as_slice() {
            [] => "none: without a frontend no packet is for this port".to_owned(),
            _ if port.drops_if_empty => {
                "none on this node (policy Local): packets are dropped as `no-local-backend`".to_owned()
            }
            _ => "none: no usable backend, clients are told so by ICMP port unreachable (`rejected`)".to_owned(),
        });
    }
    let mut text = format!("\nPort:       {name} {}\n", port.protocol);
    text += &affinity_text(port);
    for table in tables {
        text += &format!("  Table:      {table}\n");
    }
    text += &traffic_text(port);
    text += &format!("  Frontends:  {}\n", port.frontends.len());
    let frontends = port.frontends.iter().map(|frontend| {
        vec![frontend.kind.to_string(), std::net::SocketAddr::new(frontend.address, frontend.port).to_string()]
    });
    text += &block(&["KIND", "ADDRESS"], frontends.collect(), options);
    text += &format!("  Backends:   {}\n", port.backends.len());
    let backends = port.backends.iter().map(|backend| {
        vec![
            backend.name.clone(),
            backend.address.to_string(),
            backend.node.clone().unwrap_or_else(|| NOTHING_THERE.to_owned()),
            backend.state.to_string(),
            backend.slots.to_string(),
            percent(backend.share),
            percent(backend.fair_share),
        ]
    });
    let header = ["NAME", "ADDRESS", "NODE", "STATE", "SLOTS", "SHARE", "FAIR"];
    text + &block(&header, backends.collect(), options)
}

fn traffic_text(port: &PortDescription) -> String {
    let sources = match port.source_ranges.as_deref() {
        None => String::new(),
        Some([]) => "  Sources:    nobody, for the load-balancer IPs\n".to_owned(),
        Some(ranges) => format!("  Sources:    {}, for the load-balancer IPs\n", ranges.join(", ")),
    };
    let Traffic { packets, bytes, new_flows } = port.traffic;
    format!("{sources}  Traffic:    {packets} packets, {bytes} bytes, {new_flows} new flows, at this node\n")
}

fn affinity_text(port: &PortDescription) -> String {
    let affinity = port.affinity.unwrap_or("not known: there is no frontend that it would matter to");
    let mut text = format!("  Affinity:   {affinity}\n");
    if let Some(seconds) = port.affinity_timeout_seconds {
        text += &format!("  Timeout:    {} ({seconds} s) without a new connection\n", age(seconds.into()));
    }
    text += match port.affinity_key {
        None => "",
        Some(AffinityKey::Port) => "  Key:        port: each port of the Service holds its own clients\n",
        Some(AffinityKey::Service) => "  Key:        service: all ports of the Service hold a client on one Pod\n",
    };
    if port.affinity_key.is_some() {
        let prefixes = port.client_prefix.iter().map(|(family, bits)| format!("{family} /{bits}"));
        text += &format!("  Client:     {}\n", prefixes.collect::<Vec<_>>().join(", "));
    }
    text + match port.affinity_expiry {
        None => "",
        Some(AffinityExpiry::Real) => "  Expiry:     real: a client whose time is over may get another backend\n",
        Some(AffinityExpiry::Stable) => "  Expiry:     stable: a client whose time is over chooses as if it were new\n",
    }
}

fn block(header: &[&str], rows: Vec<Vec<String>>, options: &OutputOptions) -> String {
    if rows.is_empty() {
        return String::new();
    }
    indented(&indented(&output::table(if options.no_headers { &[] } else { header }, rows)))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
