//! `limpet why`: which backend a client's next connection gets, and why that one.
//!
//! Decided by the programs' own code ([`trial`]), on what the pinned maps say.

mod asking;
pub mod text;
pub mod trial;

use std::net::IpAddr;

use anyhow::Result;
use serde::Serialize;

use self::asking::Asking;
use super::{Said, client as agent, held::ClientState, output, read, state::ServicePort, suggest};
use crate::{
    api::Break,
    cli::{Format, Places, Scope, WhyOptions},
    dataplane::Pins,
    plan::FrontendAffinity,
};

/// A client at each Service port that was asked about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Why {
    /// The client's address.
    pub client: IpAddr,
    /// The Service ports, sorted.
    pub services: Vec<PortWhy>,
}

/// A client at a Service port.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PortWhy {
    /// The Service port.
    pub service: ServicePort,
    /// How it holds its clients; none where it does not.
    pub affinity: Option<AffinityRule>,
    /// What decides where the next connection goes.
    pub by: By,
    /// Why the client's connections do not get as far as that, everywhere or at some frontends; none where they do.
    pub kept_out: Option<KeptOut>,
    /// Where it goes; none where that is not one backend.
    pub next: Option<Target>,
    /// What is remembered of the client; none where nothing is.
    pub held: Option<Held>,
    /// The backend that the lookup table names for the client.
    pub table: Option<String>,
    /// The reason that is counted where the next connection goes to another backend than the one before.
    pub counts_as_break: Option<&'static str>,
    /// The backend that it then had before, also where a full map forgot that; none when it is gone.
    pub had: Option<String>,
    /// Where the connection would go if the Pod of `next` were gone.
    pub if_gone: Option<IfGone>,
    /// Backends that take new connections.
    pub active_backends: usize,
    /// Connections of the client to this Service port.
    pub flows: u32,
    /// Those of its breaks that the agent can still tell; none when it could not be asked.
    pub breaks: Option<Vec<Break>>,
}

/// How a Service port holds its clients.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct AffinityRule {
    /// As the Service says.
    #[serde(flatten)]
    pub settings: FrontendAffinity,
    /// What is the client: the address, or the prefix that the Service takes for one.
    pub client: String,
}

/// What decides where a connection goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The client is held there.
    Map,
    /// The lookup table names it for the client.
    Table,
    /// The lookup table, by the connection's addresses and ports.
    Connection,
    /// No backend takes new connections.
    NoBackend,
    /// The Service is not reached by the client's address family.
    NoFrontend,
}

/// Why nobody decides about a client's connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeptOut {
    /// Nobody could answer to such an address: loopback, multicast, reserved.
    BadSource,
    /// The client is a node or a Pod of the cluster: its packets are left to kube-proxy.
    FromInside,
    /// `spec.loadBalancerSourceRanges` do not let it in at the load-balancer IPs.
    SourceRange,
}

/// A backend that a connection goes to.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Target {
    /// `namespace/name` of the Pod, or address and port.
    pub backend: String,
    /// The node that it is on.
    pub node: Option<String>,
}

/// What is remembered of a client.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Held {
    /// The backend; none when it is gone.
    pub backend: Option<String>,
    /// How long ago the client was given to it.
    pub age_seconds: u32,
    /// How long ago it last began a connection.
    pub last_used_seconds_ago: u32,
    /// How long it is held if it begins none; 0: its time is over.
    pub expires_in_seconds: u32,
    /// How often its time was over.
    pub expiries: u32,
    /// Whether its next connection goes there.
    pub state: ClientState,
    /// Why it does not, if it does not: the name of a reason for a break.
    pub over: Option<&'static str>,
    /// The same in words.
    #[serde(skip)]
    pub over_because: Option<&'static str>,
}

/// What happens when a Pod goes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct IfGone {
    /// The backend that is gone.
    pub backend: String,
    /// The one that the table names without it; none when there is no other.
    pub next: Option<String>,
}

/// Carries the command out.
///
/// # Errors
/// When the maps cannot be read, or a Service that is asked for is not there.
pub fn run(options: &WhyOptions, places: &Places) -> Result<Said> {
    let opened = read::open(&Pins::new(&places.pin_dir))?;
    let state = opened.state()?;
    let scope = match &options.service {
        Some(service) => options.scope.narrowed_to(service)?,
        None => options.scope.clone(),
    };
    if let Some(service) = &options.service {
        suggest::require(&state, service, &scope)?;
    }
    let client = options.client.to_canonical();
    let mut asking = Asking::new(&opened, &state, client)?;
    let mut notes = Vec::new();
    match agent::breaks(&places.socket, 0, None) {
        Ok(told) => asking.breaks = Some(told.events.into_iter().map(|event| event.told).collect()),
        Err(error) => notes.push(format!("{}; this is what was last programmed", error.sentence())),
    }
    let named = options.service.as_ref().map(|service| service.name.as_str());
    let services = asking.services(&scope, named)?;
    if services.is_empty() && options.output.format != Format::Json {
        notes.push(nothing_found(&scope));
    }
    let why = Why { client, services };
    let text = match options.output.format {
        Format::Json => output::json(&why)?,
        Format::Table | Format::Wide => text::of(&why),
    };
    Ok(Said { text, notes, unwell: false })
}

fn nothing_found(scope: &Scope) -> String {
    match scope.namespace() {
        Some(namespace) => format!(
            "no Service in namespace {namespace} holds clients of this address family; -A asks all namespaces, and a \
             Service that is named is shown in any case"
        ),
        None => "no Service holds clients of this address family".to_owned(),
    }
}
