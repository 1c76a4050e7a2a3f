//! The plugin of kubectl on the command line: the commands that show one node, asked of all.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand, builder::NonEmptyStringValueParser, value_parser};

use super::{
    BreaksOptions, DescribeOptions, ForgetOptions, GetOptions, SkewOptions, StatusOptions, WhyOptions, breaks,
};

/// Seconds that a node has to answer, unless told otherwise.
const DEFAULT_TIMEOUT_SECONDS: u64 = 15;
/// Nodes that are asked at a time, unless told otherwise.
const DEFAULT_AT_ONCE: u16 = 16;

/// The plugin of kubectl: asks all nodes of a cluster.
#[derive(Debug, Args)]
#[command(after_help = "\
Pods of Limpet are found by their label, app.kubernetes.io/name=limpet, and asked through `kubectl exec`: your own kubectl, \
with its context and your rights (get and list Pods, create pods/exec).

Examples:
  kubectl limpet status                        is all well, everywhere?
  kubectl limpet get services -A --merge       rows that are equal on several nodes once
  kubectl limpet get backends --node node-1 -o wide
  kubectl limpet breaks -A                     who lost their Pod, by Service
  kubectl limpet why 198.51.100.7              which Pod a client gets at each node
  kubectl limpet forget 198.51.100.7 --yes     at all nodes

Exit codes: 0 done and well; 1 failed, or not well; 2 wrong usage; 5 some nodes did not answer (they are listed below).")]
pub struct Plugin {
    /// What to ask.
    #[command(subcommand)]
    pub question: Question,
    /// Whom, and how.
    #[command(flatten)]
    pub cluster: ClusterOptions,
}

impl Plugin {
    /// Reads the arguments of a program that is called as kubectl calls its plugins.
    ///
    /// # Errors
    /// Wrong usage; also where help or the version is asked for.
    pub fn parse(arguments: &[OsString]) -> Result<(Self, ArgMatches), clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(arguments)?;
        let plugin = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        Ok((plugin, matches))
    }

    /// What there is on the plugin's command line.
    pub fn command() -> Command {
        let command = Command::new("kubectl-limpet")
            .bin_name("kubectl limpet")
            .version(env!("CARGO_PKG_VERSION"))
            .propagate_version(true)
            .disable_help_subcommand(true)
            .about("Ask Limpet on all nodes of a cluster");
        Self::augment_args(command).subcommand_required(true).arg_required_else_help(true)
    }
}

/// Whom to ask, and how. None of this is told to the nodes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterOptions {
    /// Only this node; may be repeated
    #[arg(
        long = "node", global = true, value_name = "NAME", value_delimiter = ',',
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub nodes: Vec<String>,
    /// The namespace that Limpet runs in [default: all are looked through]
    #[arg(long, global = true, value_name = "NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    pub limpet_namespace: Option<String>,
    /// The kubectl context
    #[arg(long, global = true, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub context: Option<String>,
    /// The kubeconfig of kubectl
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// How long each node has to answer, in seconds
    #[arg(
        long, global = true, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT_SECONDS,
        value_parser = value_parser!(u64).range(1..=3600)
    )]
    pub timeout: u64,
    /// Nodes that are asked at a time
    #[arg(
        long, global = true, value_name = "N", default_value_t = DEFAULT_AT_ONCE,
        value_parser = value_parser!(u16).range(1..=256)
    )]
    pub at_once: u16,
    /// Rows that are equal on several nodes only once, with all of these nodes
    #[arg(long, global = true)]
    pub merge: bool,
}

/// What nodes can be asked.
#[derive(Debug, Subcommand)]
pub enum Question {
    /// Show for each node whether its agent runs and is in step, and what is wrong
    ///
    /// Exit code 0: all nodes answered and are well. 1: all answered, some are not well. 5: some did not answer.
    #[command(after_help = "\
Examples:
  kubectl limpet status
  kubectl limpet status --node node-1 -o json")]
    Status(StatusOptions),
    /// List Services, backends, clients, flows, nodes or counters as they are programmed on each node
    #[command(after_help = "\
NODE is the node that was asked; that of a backend is BACKEND-NODE.

Examples:
  kubectl limpet get services -A
  kubectl limpet get services -A --merge
  kubectl limpet get clients shop/cart --client 198.51.100.7")]
    Get(GetOptions),
    /// Show one thing with all that belongs to it, as each node has it
    #[command(after_help = "\
Nodes that say the same are told together.

Examples:
  kubectl limpet describe service shop/cart")]
    Describe(DescribeOptions),
    /// Show how often clients were given another backend, by Service, and the latest such breaks of all nodes
    ///
    /// Totals are summed over the nodes that answered; `-o wide` also shows those of each node.
    #[command(after_help = breaks::help())]
    Breaks(BreaksOptions),
    /// Say which backend a client's next connection gets at each node
    #[command(after_help = "\
Nodes that say the same are told together.

Examples:
  kubectl limpet why 198.51.100.7
  kubectl limpet why 198.51.100.7 shop/cart --node node-1")]
    Why(WhyOptions),
    /// Show how a Service's clients are spread over its Pods, as each node knows them
    #[command(after_help = "\
Examples:
  kubectl limpet skew shop/cart
  kubectl limpet skew shop/cart --node node-1 -o json")]
    Skew(SkewOptions),
    /// Have clients choose their Pods anew, at all nodes
    ///
    /// Needs --yes or --dry-run: nobody is asked in between.
    #[command(after_help = "\
Examples:
  kubectl limpet forget 198.51.100.7 shop/cart --dry-run
  kubectl limpet forget 198.51.100.7 shop/cart --yes")]
    Forget(ForgetOptions),
}
