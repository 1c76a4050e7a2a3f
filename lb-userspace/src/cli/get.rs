//! `limpet get` and `limpet describe` on the command line.

use std::net::IpAddr;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser, value_parser};

use super::{ClientOptions, OutputOptions, Scope, ServiceReference, clients};

/// Flows that `limpet get flows` shows unless told otherwise.
pub const DEFAULT_FLOW_LIMIT: u32 = 1000;

/// Arguments of `limpet get`.
#[derive(Debug, Args)]
pub struct GetOptions {
    /// What to list.
    #[command(subcommand)]
    pub resource: Resource,
    /// Of which namespaces.
    #[command(flatten)]
    pub scope: Scope,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputOptions,
}

/// What `limpet get` can list.
#[derive(Debug, Subcommand)]
pub enum Resource {
    /// Service ports with their frontends and backends
    #[command(visible_aliases = ["service", "svc"])]
    #[command(after_help = "\
BACKENDS is active/others: those that get new connections, and those that only keep the ones that they have. `-o wide` \
tells the others apart: draining (the Pod is terminating), not-ready, and excluded (ready, but the Service's rules keep \
it out: externalTrafficPolicy Local on another node, or a second address of the same Pod).

Examples:
  limpet get services
  limpet get svc -A -o wide")]
    Services,
    /// Backends with their share of their Service port's lookup table
    #[command(visible_aliases = ["backend", "be"])]
    #[command(after_help = "\
A Pod that two Service ports have is a backend of each. STATE is `active` for one that gets new connections; others keep \
the ones that they have: `draining` (the Pod is terminating), `not-ready`, `excluded` (ready, but the Service's rules \
keep it out).

Examples:
  limpet get backends
  limpet get be -A -o json")]
    Backends,
    /// Clients that are held by `sessionAffinity` on this node
    #[command(visible_aliases = ["client", "cl"])]
    #[command(after_help = "\
States:
  held       its next connection goes to the same backend
  new        the same; one packet has been seen
  expired    no new connection for longer than the Service's timeout
  broken     the backend takes no new connections
  forgotten  somebody asked for it with `limpet forget`
  unused     no Service with affinity has it; listed with -A alone

AGE counts from when the client was given to the backend, LAST-USED from its last new connection.
A Service with `*` for a port has all its ports share their clients.

Examples:
  limpet get clients
  limpet get clients shop/cart -o wide
  limpet get clients -A --client 2001:db8::7")]
    Clients(ClientOptions),
    /// Connections that came in at this node
    #[command(visible_aliases = ["flow", "fl"])]
    #[command(after_help = "\
STATE is `new` after one packet, `established` after more. AGE counts from when the backend was chosen.

Examples:
  limpet get flows
  limpet get flows shop/cart
  limpet get flows -A --client 2001:db8::7 --limit 50")]
    Flows(FlowOptions),
    /// Nodes and the way to each
    #[command(visible_aliases = ["node", "no"])]
    #[command(after_help = "\
Examples:
  limpet get nodes
  limpet get nodes -o json")]
    Nodes,
    /// Packets by program and reason
    #[command(visible_aliases = ["counter", "co"])]
    #[command(after_help = "\
Shows what is not zero; `-o wide` and `-o json` show all.

Examples:
  limpet get counters
  limpet get counters -o wide")]
    Counters,
}

/// Which flows to list.
#[derive(Debug, Args)]
pub struct FlowOptions {
    /// Only those of this Service: NAME, or NAMESPACE/NAME
    #[arg(value_name = "SERVICE")]
    pub service: Option<ServiceReference>,
    /// Only those of the client with this address
    #[arg(long, value_name = "ADDRESS", value_parser = clients::client_address)]
    pub client: Option<IpAddr>,
    /// At most so many
    #[arg(
        long, value_name = "N", default_value_t = DEFAULT_FLOW_LIMIT, value_parser = value_parser!(u32).range(1..)
    )]
    pub limit: u32,
}

/// Arguments of `limpet describe`.
#[derive(Debug, Args)]
pub struct DescribeOptions {
    /// What to describe.
    #[command(subcommand)]
    pub subject: Subject,
    /// Namespace of the Service [default: default]
    #[arg(short, long, global = true, value_name = "NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    pub namespace: Option<String>,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputOptions,
}

/// What `limpet describe` can describe.
#[derive(Debug, Subcommand)]
pub enum Subject {
    /// A Service: its ports, frontends, backends with their shares, and its problems
    #[command(visible_aliases = ["services", "svc"])]
    #[command(after_help = "\
Examples:
  limpet describe service default/web
  limpet describe service -n default web")]
    Service {
        /// NAMESPACE/NAME, or NAME with `-n`
        #[arg(value_name = "SERVICE")]
        service: ServiceReference,
    },
}
