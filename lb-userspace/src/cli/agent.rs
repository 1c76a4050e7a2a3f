//! The flags of `limpet agent`.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use clap::{
    ArgAction, Args,
    builder::{BoolishValueParser, NonEmptyStringValueParser},
    value_parser,
};
use lb_common::layout::MAX_BACKEND_ID;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use super::Places;
use crate::{dataplane::Sizes, model::NodePortAddresses};

/// UDP port of the tunnel between nodes: what Geneve is registered for, plus 100, to stay clear of a CNI's own tunnel.
pub const DEFAULT_TUNNEL_PORT: u16 = 6181;

/// Most flows of an address family: about 20 GiB of kernel memory.
const MAX_FLOWS: i64 = 1 << 28;
/// Most slots: 8 GiB, and what an index into them reaches.
const MAX_SLOTS: i64 = 1 << 31;
/// Most Service ports, and frontends.
const MAX_SERVICES: i64 = 1 << 24;
/// Most Service ports with metrics of their own.
const MAX_METRICS_SERVICES: i64 = 100_000;
/// Most nodes.
const MAX_NODES: i64 = 1 << 20;

/// Flags of `limpet agent`.
#[derive(Clone, Debug, Args)]
pub struct AgentOptions {
    /// Where Services, EndpointSlices and Nodes come from: `kube`, the API server, or `dir:PATH`, a directory of Kubernetes
    /// YAML; both are watched
    #[arg(long, env = "LIMPET_SOURCE", value_name = "kube|dir:PATH", default_value = "kube")]
    pub source: SourceOption,
    /// How to reach the API server [default: as a Pod of the cluster, else $KUBECONFIG, else ~/.kube/config]
    #[arg(long, env = "LIMPET_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// This node's name, as in `nodeName` of the endpoints
    #[arg(long, env = "LIMPET_NODE", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub node: String,
    /// A device that outside traffic arrives on; may be repeated [default: the devices of the default routes]
    #[arg(
        long = "uplink", env = "LIMPET_UPLINK", value_name = "DEV", value_delimiter = ',',
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub uplinks: Vec<String>,
    /// UDP port of the tunnel between nodes; the same on all of them
    #[arg(
        long, env = "LIMPET_TUNNEL_PORT", value_name = "PORT", default_value_t = DEFAULT_TUNNEL_PORT,
        value_parser = value_parser!(u16).range(1..)
    )]
    pub tunnel_port: u16,
    /// Which Services are balanced, and where.
    #[command(flatten)]
    pub services: ServiceOptions,
    /// What is told over HTTP and to Kubernetes.
    #[command(flatten)]
    pub telling: TellingOptions,
    /// Write a line for each packet that is dropped: to find a fault, not for every day
    #[arg(
        long, env = "LIMPET_LOG_DROPS", value_name = "true|false", action = ArgAction::Set, default_value = "false",
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = BoolishValueParser::new(), help_heading = "Log"
    )]
    pub log_drops: bool,
    /// Whether what is seen for the first time is kept apart until its second packet; off shows what a flood does without
    /// the guard
    #[arg(
        long, env = "LIMPET_FLOOD_GUARD", value_name = "on|off", default_value = "on", action = ArgAction::Set,
        value_parser = on_or_off, hide_short_help = true, help_heading = "For measurements"
    )]
    pub flood_guard: bool,
    /// Which lines to write: error, warn, info, debug or trace; by module, as in info,lb_userspace=debug
    #[arg(
        long, env = "LIMPET_LOG", value_name = "FILTER", default_value = "info", value_parser = log_filter,
        help_heading = "Log"
    )]
    pub log: String,
    /// How much there is room for.
    #[command(flatten)]
    pub limits: LimitOptions,
    /// Where this node's things are, wherever on the command line that was said.
    #[command(flatten)]
    pub places: Places,
}

/// Which Services are balanced, and on which of this node's addresses.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Services")]
pub struct ServiceOptions {
    /// Only Services of this loadBalancerClass [default: whatever their class]
    #[arg(
        long, env = "LIMPET_SERVICE_CLASS", value_name = "NAME", value_parser = NonEmptyStringValueParser::new()
    )]
    pub service_class: Option<String>,
    /// Only Services whose label service.kubernetes.io/service-proxy-name is this [default: those without the label]
    #[arg(
        long, env = "LIMPET_SERVICE_PROXY_NAME", value_name = "NAME", value_parser = NonEmptyStringValueParser::new()
    )]
    pub service_proxy_name: Option<String>,
    /// Addresses of this node that have node ports: `primary`, those of its Node object, or those within these CIDRs
    #[arg(
        long, env = "LIMPET_NODE_PORT_ADDRESSES", value_name = "primary|CIDR,...",
        default_value_t = NodePortAddresses::Primary
    )]
    pub node_port_addresses: NodePortAddresses,
}

/// What is told over HTTP and to Kubernetes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Health, metrics and Events")]
pub struct TellingOptions {
    /// Where /healthz and /livez are served, or `none`
    #[arg(long, env = "LIMPET_HEALTH_ADDRESS", value_name = "ADDR:PORT|none", default_value = "127.0.0.1:6182")]
    pub health_address: ListenOption,
    /// Where /metrics is served, or `none`
    #[arg(long, env = "LIMPET_METRICS_ADDRESS", value_name = "ADDR:PORT|none", default_value = "127.0.0.1:6183")]
    pub metrics_address: ListenOption,
    /// Service ports with metrics of their own, those with the most packets; the others are summed up
    #[arg(
        long, env = "LIMPET_METRICS_SERVICES", value_name = "N", default_value_t = 1000,
        value_parser = value_parser!(u32).range(0..=MAX_METRICS_SERVICES)
    )]
    pub metrics_services: u32,
    /// Tell of breaks by Kubernetes Events on their Services (with --source kube alone)
    #[arg(
        long, env = "LIMPET_BREAK_EVENTS", value_name = "true|false", default_value_t = true, action = ArgAction::Set,
        value_parser = BoolishValueParser::new()
    )]
    pub break_events: bool,
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("there are: on, off".to_owned()),
    }
}

/// Makes sure that the text chooses log lines, in the syntax of `RUST_LOG`.
fn log_filter(text: &str) -> Result<String, String> {
    let legal = "there are error, warn, info, debug and trace, alone or by module as in info,lb_userspace=debug";
    // A word alone would be the name of a module: so would be a level that is misspelt.
    let is_level = |part: &str| part.contains(['=', '[']) || part.parse::<LevelFilter>().is_ok();
    if let Some(part) = text.split(',').find(|part| !is_level(part)) {
        return Err(format!("{part:?} is no level; {legal}"));
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; {legal}")),
    }
}

/// An address to listen on, or `none`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListenOption(
    /// The address; none where nothing is served.
    pub Option<SocketAddr>,
);

impl FromStr for ListenOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            _ => text
                .parse()
                .map(|address| Self(Some(address)))
                .map_err(|_| "neither an address and port, as 127.0.0.1:6182 or [::]:6182, nor `none`".to_owned()),
        }
    }
}

impl fmt::Display for ListenOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// How much the maps are made for.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits (changed by a restart; what is in the maps is carried over)")]
pub struct LimitOptions {
    /// Flows of each address family; beyond it the one unused for longest is forgotten
    #[arg(
        long, env = "LIMPET_MAX_FLOWS", value_name = "N", default_value_t = Sizes::default().flows,
        value_parser = value_parser!(u32).range(1..=MAX_FLOWS)
    )]
    pub max_flows: u32,
    /// Clients that are held by `sessionAffinity`, of each address family; beyond it the one unused for longest is forgotten
    #[arg(
        long, env = "LIMPET_MAX_CLIENTS", value_name = "N", default_value_t = Sizes::default().clients,
        value_parser = value_parser!(u32).range(1..=MAX_FLOWS)
    )]
    pub max_clients: u32,
    /// Slots of all lookup tables together, 100 and more for each backend of a Service port
    #[arg(
        long, env = "LIMPET_MAX_SLOTS", value_name = "N", default_value_t = Sizes::default().slots,
        value_parser = value_parser!(u32).range(1..=MAX_SLOTS)
    )]
    pub max_slots: u32,
    /// Backends
    #[arg(
        long, env = "LIMPET_MAX_BACKENDS", value_name = "N", default_value_t = Sizes::default().backends,
        value_parser = value_parser!(u32).range(1..=i64::from(MAX_BACKEND_ID))
    )]
    pub max_backends: u32,
    /// Service ports
    #[arg(
        long, env = "LIMPET_MAX_SERVICES", value_name = "N", default_value_t = Sizes::default().services,
        value_parser = value_parser!(u32).range(1..=MAX_SERVICES)
    )]
    pub max_services: u32,
    /// Frontends of both address families together
    #[arg(
        long, env = "LIMPET_MAX_FRONTENDS", value_name = "N", default_value_t = Sizes::default().frontends,
        value_parser = value_parser!(u32).range(1..=MAX_SERVICES)
    )]
    pub max_frontends: u32,
    /// Ranges of `loadBalancerSourceRanges` of both address families together
    #[arg(
        long, env = "LIMPET_MAX_SOURCE_RANGES", value_name = "N", default_value_t = Sizes::default().source_ranges,
        value_parser = value_parser!(u32).range(1..=MAX_SERVICES)
    )]
    pub max_source_ranges: u32,
    /// Nodes
    #[arg(
        long, env = "LIMPET_MAX_NODES", value_name = "N", default_value_t = Sizes::default().nodes,
        value_parser = value_parser!(u32).range(1..=MAX_NODES)
    )]
    pub max_nodes: u32,
}

impl LimitOptions {
    /// The sizes of the maps.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            flows: self.max_flows,
            clients: self.max_clients,
            slots: self.max_slots,
            backends: self.max_backends,
            services: self.max_services,
            frontends: self.max_frontends,
            source_ranges: self.max_source_ranges,
            nodes: self.max_nodes,
        }
    }
}

/// Where Kubernetes objects come from. Shown as it is given: `kube` or `dir:PATH`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SourceOption {
    /// The API server.
    Kube,
    /// A directory of manifests.
    Directory(PathBuf),
}

impl FromStr for SourceOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "kube" {
            return Ok(Self::Kube);
        }
        match text.split_once(':') {
            Some(("dir", "")) => Err("`dir:` needs a path, as in dir:/etc/limpet".to_owned()),
            Some(("dir", path)) => Ok(Self::Directory(path.into())),
            _ => Err(
                "unknown source; there are: kube (the API server) and dir:PATH (a directory of Kubernetes YAML files)"
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for SourceOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kube => f.write_str("kube"),
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
        }
    }
}
