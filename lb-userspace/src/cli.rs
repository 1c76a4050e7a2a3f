//! The command line: every command and flag, parsed once into validated values. Nothing reads the environment after it.

mod agent;
mod breaks;
mod clients;

use std::{net::IpAddr, path::PathBuf, str::FromStr};

use clap::{
    Args, CommandFactory, Parser, Subcommand, ValueEnum, builder::NonEmptyStringValueParser, error::ErrorKind,
    value_parser,
};

pub use self::{
    agent::{
        AgentOptions, DEFAULT_TUNNEL_PORT, LimitOptions, ListenOption, ServiceOptions, SourceOption, TellingOptions,
    },
    breaks::{BreaksOptions, Period},
    clients::{BackendReference, ClientOptions, ForgetOptions, SkewOptions, WhyOptions},
};
use crate::dataplane::DEFAULT_ROOT;

/// Where the agent's socket is unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/limpet/agent.sock";
/// The namespace that is meant when none is named.
pub const DEFAULT_NAMESPACE: &str = "default";
/// Flows that `limpet get flows` shows unless told otherwise.
pub const DEFAULT_FLOW_LIMIT: u32 = 1000;

/// A layer-4 load balancer for Kubernetes that keeps clients where they were.
///
/// An XDP program on every node sends each packet to a Pod; `limpet agent` keeps its tables in step with Kubernetes;
/// the other commands show what is programmed, from the pinned maps and the agent's socket.
#[derive(Debug, Parser)]
#[command(name = "limpet", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  limpet agent --source dir:/etc/limpet --node node-1   balance on this node
  limpet status                                         is all well?
  limpet get services -A -o wide                        every Service with its frontends
  limpet describe service default/web                   one Service, with each Pod's share
  limpet why 198.51.100.7                               which Pod a client gets, and why
  limpet breaks -A                                      who lost their Pod, and why
  limpet detach                                         take everything off this node

Exit codes: 0 done and well; 1 failed, or not well; 2 wrong usage.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Where this node's things are.
    #[command(flatten)]
    pub places: Places,
}

/// Where the things of one node are.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Places")]
pub struct Places {
    /// Directory on a BPF file system that maps and links are pinned below
    #[arg(long, global = true, env = "LIMPET_PIN_DIR", value_name = "DIR", default_value = DEFAULT_ROOT)]
    pub pin_dir: PathBuf,
    /// The agent's Unix socket
    #[arg(long, global = true, env = "LIMPET_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
}

/// What `limpet` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Balance on this node: keep the datapath in step with Kubernetes objects
    ///
    /// Runs until SIGTERM or Ctrl-C. The datapath outlives it: it goes on with what was last programmed until an agent
    /// takes over again or `limpet detach` removes it.
    #[command(after_help = "\
Examples:
  limpet agent --source dir:/etc/limpet --node node-1
  limpet agent --source dir:./manifests --node node-1 --uplink eth0 --uplink eth1
  LIMPET_NODE=node-1 LIMPET_UPLINK=eth0,eth1 limpet agent --source dir:/etc/limpet")]
    Agent(Box<AgentOptions>),

    /// Take programs, links and maps off this node: nothing of Limpet is left in the kernel
    ///
    /// Connections that run through Limpet end. Refuses while an agent runs, which would put everything back.
    #[command(after_help = "\
Examples:
  limpet detach
  limpet detach --force                        although an agent still runs
  limpet detach --pin-dir /sys/fs/bpf/other    what was pinned there")]
    Detach(DetachOptions),

    /// Show whether the agent runs and is in step, how full the maps are, and what is wrong
    ///
    /// Works without an agent, with what pins and maps know. Exit code 0: an agent runs, everything it read is
    /// programmed, and no problem is an error. Exit code 1: anything else. Exit code 2: wrong usage.
    #[command(after_help = "\
Examples:
  limpet status
  limpet status -o json
  limpet status > /dev/null && echo all is well")]
    Status(StatusOptions),

    /// List Services, backends, clients, flows, nodes or counters as they are programmed on this node
    #[command(after_help = "\
Examples:
  limpet get services
  limpet get svc -A -o wide
  limpet get backends -n shop -o json
  limpet get clients web
  limpet get flows web --client 198.51.100.7
  limpet get counters --no-headers | sort -k4 -n")]
    Get(GetOptions),

    /// Show one thing with all that belongs to it
    #[command(after_help = "\
Examples:
  limpet describe service default/web
  limpet describe svc -n default web -o json")]
    Describe(DescribeOptions),

    /// Show how often clients were given another backend, why, and the latest such breaks one by one
    ///
    /// Totals are those since the Service port was programmed on this node, whatever --since says; they are exact, and
    /// need no agent. Single breaks are told by the agent, which keeps the newest of them; where more happen in a second
    /// than are told, the rest is counted alone.
    #[command(after_help = breaks::help())]
    Breaks(BreaksOptions),

    /// Say which backend a client's next connection gets on this node, and why that one
    ///
    /// For each Service port that holds its clients, or of the Service that is named: where the client is held and for how
    /// long, what the lookup table says, what would happen without that Pod, its flows, and its breaks as far as the agent
    /// can still tell them. Decided by the code of the datapath itself; nothing is changed.
    #[command(after_help = "\
Examples:
  limpet why 198.51.100.7
  limpet why 198.51.100.7 shop/cart
  limpet why 2001:db8::7 -A -o json")]
    Why(WhyOptions),

    /// Show how a Service's clients are spread over its Pods
    ///
    /// The share of each Pod beside the fair one, the networks (/24 of IPv4, /64 of IPv6) that most clients come from, and
    /// addresses with so many connections at once that they look like many clients behind NAT.
    #[command(after_help = "\
CLIENTS are those that are held, also at Pods that are not usable any more. RATIO is SHARE by FAIR: 1.00 is perfect.

Examples:
  limpet skew shop/cart
  limpet skew cart -n shop -o json")]
    Skew(SkewOptions),

    /// Have clients choose their Pods anew
    ///
    /// Takes the clients' affinity away, on this node: of a client, of a Pod, of a Service, or of all that is named
    /// together. At its next connection each chooses by the lookup table; one that gets another Pod is counted as
    /// `forgotten` in `limpet breaks`. Established connections are not touched.
    ///
    /// Asks before. Exit code 0: done; 1: nobody matches, or the answer was no; 2: wrong usage, or nobody could be asked.
    #[command(after_help = "\
Examples:
  limpet forget 198.51.100.7                            at all Services of namespace default
  limpet forget 198.51.100.7 shop/cart
  limpet forget --backend shop/cart-1 --dry-run         who is held at a Pod
  limpet forget --backend cart-1 --service shop/cart --yes")]
    Forget(ForgetOptions),
}

/// Flags of `limpet detach`.
#[derive(Debug, Args)]
pub struct DetachOptions {
    /// Even though an agent still runs
    #[arg(long)]
    pub force: bool,
}

/// Flags of `limpet status`.
#[derive(Debug, Args)]
pub struct StatusOptions {
    /// How to print it.
    #[command(flatten)]
    pub output: OutputOptions,
}

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

/// Namespaces that are meant.
#[derive(Clone, Debug, Default, Args)]
pub struct Scope {
    /// Only this namespace [default: default]
    #[arg(short, long, global = true, value_name = "NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    pub namespace: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long, global = true, conflicts_with = "namespace")]
    pub all_namespaces: bool,
}

impl Scope {
    /// The one namespace that is meant; none for all.
    pub fn namespace(&self) -> Option<&str> {
        (!self.all_namespaces).then(|| self.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE))
    }

    /// Whether this namespace is meant.
    pub fn covers(&self, namespace: &str) -> bool {
        self.namespace().is_none_or(|only| only == namespace)
    }

    /// The same, narrowed to the namespace that `reference` names.
    ///
    /// # Errors
    /// Wrong usage, when `-n` names another.
    pub fn narrowed_to(&self, reference: &ServiceReference) -> Result<Self, clap::Error> {
        let Some(named) = &reference.namespace else {
            return Ok(self.clone());
        };
        match &self.namespace {
            Some(flag) if flag != named => Err(Cli::command().error(
                ErrorKind::ArgumentConflict,
                format!("the Service is named in namespace {named:?}, but -n says {flag:?}"),
            )),
            _ => Ok(Self { namespace: Some(named.clone()), all_namespaces: false }),
        }
    }
}

/// A Service, as it is named on the command line: NAME or NAMESPACE/NAME.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceReference {
    /// The namespace, when it is named.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl FromStr for ServiceReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        if name.is_empty() || name.contains('/') || namespace == Some("") {
            return Err("a Service is named as NAME or as NAMESPACE/NAME".to_owned());
        }
        // No Service has such a name: there are neither dots nor colons in them.
        if name.parse::<IpAddr>().is_ok() {
            return Err("a Service is named as NAME or as NAMESPACE/NAME, not by an address".to_owned());
        }
        Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned() })
    }
}

/// How to print.
#[derive(Clone, Debug, Default, Args)]
pub struct OutputOptions {
    /// How to print
    #[arg(short = 'o', long = "output", global = true, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    pub format: Format,
    /// Tables without their first line
    #[arg(long, global = true)]
    pub no_headers: bool,
}

/// Formats of output.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For people, with all there is
    Wide,
    /// For programs: one document
    Json,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::dataplane::Sizes;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    fn agent(line: &str) -> AgentOptions {
        match parse(line).unwrap().command {
            Command::Agent(options) => *options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_work_before_and_after_the_command() {
        let lines = [
            "limpet --pin-dir /p --socket /s agent --source dir:/d --node n1",
            "limpet agent --pin-dir /p --source dir:/d --node n1 --socket /s",
            "limpet --socket /s agent --source dir:/d --node n1 --pin-dir /p",
        ];
        for line in lines {
            let options = agent(line);
            assert_eq!(options.places.pin_dir, Path::new("/p"), "{line}");
            assert_eq!(options.places.socket, Path::new("/s"), "{line}");
        }
        for line in ["limpet --pin-dir /p get -A svc", "limpet get svc --pin-dir /p", "limpet status --pin-dir /p"] {
            assert_eq!(parse(line).unwrap().places.pin_dir, Path::new("/p"), "{line}");
        }
    }

    #[test]
    fn an_agent_without_more_flags_has_the_default_sizes() {
        let options = agent("limpet agent --source dir:relative/path --node n1");
        assert_eq!(options.limits.sizes(), Sizes::default());
        assert_eq!(options.source, SourceOption::Directory("relative/path".into()));
        assert_eq!(options.source.to_string(), "dir:relative/path");
        assert!(options.uplinks.is_empty());
        assert_eq!(options.tunnel_port, DEFAULT_TUNNEL_PORT);
        assert!(!options.log_drops);
        assert_eq!(options.places.pin_dir, Path::new(DEFAULT_ROOT));
        assert_eq!(options.places.socket, Path::new(DEFAULT_SOCKET));
        let options = agent("limpet agent --source dir:d --node n1 --uplink eth0,eth1 --uplink eth2 --log-drops");
        assert_eq!(options.uplinks, ["eth0", "eth1", "eth2"]);
        assert!(options.log_drops);
    }

    #[test]
    fn wrong_usage_is_refused_with_what_there_is() {
        let cases = [
            ("limpet agent --source file:/d --node n1", "there is: dir:PATH"),
            ("limpet agent --source dir: --node n1", "needs a path"),
            ("limpet agent --source dir:/d --node n1 --max-slots 0", "1..=2147483648"),
            ("limpet agent --source dir:/d --node n1 --max-backends 16777216", "1..=16777215"),
            ("limpet agent --source dir:/d --node n1 --tunnel-port 0", "1..=65535"),
            ("limpet get svc -n a -A", "cannot be used with"),
            ("limpet get flows a/b/c", "NAMESPACE/NAME"),
            ("limpet get flows --limit 0", "1..=4294967295"),
            ("limpet get flows --client web", "an IPv4 or IPv6 address"),
            ("limpet get clients 198.51.100.7", "not by an address"),
            ("limpet get pods", "unrecognized subcommand"),
            ("limpet get svc -o yaml", "[possible values: table, wide, json]"),
        ];
        for (line, expected) in cases {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn namespaces_are_those_of_kubectl() {
        let scope = |line: &str| match parse(line).unwrap().command {
            Command::Get(options) => options.scope,
            other => panic!("{other:?}"),
        };
        let default = scope("limpet get svc");
        assert!(default.covers("default") && !default.covers("shop"));
        let named = scope("limpet get -n shop svc");
        assert!(named.covers("shop") && !named.covers("default"));
        let all = scope("limpet get svc -A");
        assert!(all.covers("shop") && all.covers("default"));

        let reference: ServiceReference = "shop/cart".parse().unwrap();
        assert_eq!(all.narrowed_to(&reference).unwrap().namespace(), Some("shop"));
        assert_eq!(named.narrowed_to(&reference).unwrap().namespace(), Some("shop"));
        let other = scope("limpet get svc -n default");
        assert_eq!(other.narrowed_to(&reference).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn output_flags_work_on_every_level() {
        for line in ["limpet get -o json svc", "limpet get svc -ojson", "limpet get svc -o json --no-headers"] {
            match parse(line).unwrap().command {
                Command::Get(options) => assert_eq!(options.output.format, Format::Json, "{line}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
