//! The command line: every command and flag, parsed once into validated values. Nothing reads the environment after it.

mod agent;
mod breaks;
mod clients;
mod cluster;
mod config;
mod get;
mod output;
mod pages;
mod scope;
#[cfg(test)]
mod tests;
mod verify;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use self::{
    agent::{
        AgentOptions, DEFAULT_TUNNEL_PORT, LimitOptions, ListenOption, ServiceOptions, SourceOption, TellingOptions,
    },
    breaks::{BreaksOptions, Period},
    clients::{BackendReference, ClientOptions, ForgetOptions, SkewOptions, WhyOptions},
    cluster::{ClusterOptions, Plugin, Question},
    config::ConfigOptions,
    get::{DEFAULT_FLOW_LIMIT, DescribeOptions, FlowOptions, GetOptions, Resource, Subject},
    output::{Format, OutputOptions},
    pages::{CompletionOptions, ManOptions},
    scope::{DEFAULT_NAMESPACE, Scope, ServiceReference},
    verify::VerifyOptions,
};
use crate::dataplane::DEFAULT_ROOT;

/// Where the agent's socket is unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/limpet/agent.sock";

/// A layer-4 load balancer for Kubernetes that keeps clients where they were.
///
/// An XDP program on every node sends each packet to a Pod; `limpet agent` keeps its tables in step with Kubernetes;
/// the other commands show what is programmed, from the pinned maps and the agent's socket.
#[derive(Debug, Parser)]
#[command(name = "limpet", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  limpet agent --node node-1                            balance on this node, as the API server says
  limpet status                                         is all well?
  limpet get services -A -o wide                        every Service with its frontends
  limpet describe service default/web                   one Service, with each Pod's share
  limpet why 198.51.100.7                               which Pod a client gets, and why
  limpet breaks -A                                      who lost their Pod, and why
  limpet verify                                         is what is programmed what should be?
  limpet detach                                         take everything off this node

Exit codes: 0 done and well; 1 failed, or not well; 2 wrong usage; 3 `limpet verify` found differences; 5 some nodes did not answer (`limpet kubectl`).")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Where this node's things are.
    #[command(flatten)]
    pub places: Places,
    /// YAML file of settings: the long names of the flags of `limpet agent`, as in `max-flows: 1000`
    #[arg(long, global = true, env = "LIMPET_CONFIG", value_name = "FILE", help_heading = "Places")]
    pub config: Option<PathBuf>,
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
  limpet agent --node node-1                                     as the API server says
  limpet agent --node node-1 --kubeconfig ~/.kube/config --uplink eth0 --uplink eth1
  limpet agent --node node-1 --service-class example.com/limpet  only Services of this class
  limpet agent --node node-1 --source dir:/etc/limpet            without a cluster, from YAML files
  limpet agent --config /etc/limpet/limpet.yaml                  settings from a file
  LIMPET_NODE=node-1 LIMPET_UPLINK=eth0,eth1 limpet agent

Each flag is also a variable, LIMPET_ and its name, and a key of the file that --config names. The command line goes \
before the environment, that before the file, that before the default: `limpet config` shows what comes from where.")]
    Agent(Box<AgentOptions>),

    /// Show every setting of the agent with its value and where that comes from
    ///
    /// Takes the flags of `limpet agent`, and refuses what the agent would refuse, without starting one: exit code 2. FROM
    /// is the flag, the variable, FILE:LINE, or `default`. A running agent is not asked: shown is what one would have that
    /// is started from here.
    #[command(after_help = "\
Examples:
  limpet config
  limpet config --config limpet.yaml --node node-1
  limpet config --max-flows 100000 -o wide          with the defaults beside
  limpet config -o json")]
    Config(ConfigOptions),

    /// Take programs, links and maps off this node: nothing of Limpet is left in the kernel
    ///
    /// Connections that run through Limpet end. Refuses while an agent runs, which would put everything back.
    #[command(after_help = "\
Examples:
  limpet detach
  limpet detach --force                        although an agent still runs
  limpet detach --pin-dir /sys/fs/bpf/other    what was pinned there")]
    Detach(DetachOptions),

    /// Mount the BPF file system, unless it is there already
    ///
    /// For a node whose system does not: its image has no other program to do it with.
    #[command(name = "mount-bpffs", hide = true)]
    #[command(after_help = "\
Examples:
  limpet mount-bpffs")]
    MountBpffs(MountBpffsOptions),

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

    /// Compare what is programmed on this node with what should be, and put it right
    ///
    /// The running agent reads its maps back, element by element, and looks at the programs on the uplinks. Whatever is not
    /// what it has programmed, or not what Kubernetes asks for now, is listed: whose it is, what is programmed, what should
    /// be. What only waits for its time, such as the entry of a Pod that has just gone, is no difference.
    ///
    /// With --repair it is written anew, in the order in which an agent always writes: no connection and no client loses its
    /// Pod by that. A lookup table that is wrong is written beside, and its frontends then lead there.
    ///
    /// Exit code 0: nothing is different, or all that was is put right. 3: something is different, and with --repair still
    /// is. 1: no agent runs, or it cannot tell. 2: wrong usage.
    #[command(after_help = "\
Examples:
  limpet verify
  limpet verify --repair
  limpet verify -o json
  limpet verify > /dev/null || limpet verify --repair")]
    Verify(VerifyOptions),

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

    /// Ask all nodes of a cluster, through `kubectl exec`: also as `kubectl limpet`
    ///
    /// A copy of this program, or a link to it, that is called kubectl-limpet and is in the PATH is a plugin of kubectl.
    Kubectl(Plugin),

    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  source <(limpet completion bash)
  limpet completion zsh > ~/.zfunc/_limpet
  limpet completion fish > ~/.config/fish/completions/limpet.fish")]
    Completion(CompletionOptions),

    /// Print the manual page, or write those of all commands
    #[command(after_help = "\
Examples:
  limpet man | man -l -
  limpet man /usr/local/share/man/man1")]
    Man(ManOptions),
}

/// Flags of `limpet detach`.
#[derive(Debug, Args)]
pub struct DetachOptions {
    /// Even though an agent still runs
    #[arg(long)]
    pub force: bool,
    /// Stay until SIGTERM afterwards: for a container that takes the place of the agent's
    #[arg(long)]
    pub stay: bool,
}

/// Arguments of `limpet mount-bpffs`.
#[derive(Debug, Args)]
pub struct MountBpffsOptions {
    /// Where
    #[arg(value_name = "DIR", default_value = "/sys/fs/bpf")]
    pub directory: PathBuf,
}

/// Flags of `limpet status`.
#[derive(Debug, Args)]
pub struct StatusOptions {
    /// How to print it.
    #[command(flatten)]
    pub output: OutputOptions,
}
