//! The command line, as clap reads it.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};

/// Set up, build, lint, test, show and measure Limpet.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "Examples:
  cargo xtask demo            bring up a lab, send traffic through Limpet, show who answers
  cargo xtask test            every test, also those that need the kernel and the lab
  cargo xtask doctor          what this machine lacks, and what to type; changes nothing

`demo`, `scenarios`, `test` and `bench` need root, and install what is missing. Without root:
  sudo -E env \"PATH=$PATH\" cargo xtask demo"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Install what is missing on this machine; does nothing the second time
    #[command(after_help = "Examples:
  cargo xtask setup
  sudo -E env \"PATH=$PATH\" cargo xtask setup     as an ordinary user")]
    Setup,

    /// Say what is there, what is missing and what to type; changes nothing, needs no root
    #[command(after_help = "Examples:
  cargo xtask doctor
  cargo xtask doctor -o json | jq '.checks[] | select(.state == \"missing\")'

Exit code: 0 when everything is there, 1 when something is missing.")]
    Doctor {
        /// How to print it
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },

    /// Build the BPF object, then everything else
    #[command(after_help = "Examples:
  cargo xtask build
  cargo xtask build --release     target/release/limpet")]
    Build {
        /// Build user space with optimisations (the BPF object always is)
        #[arg(long)]
        release: bool,
    },

    /// Check formatting, and run clippy for the host and for BPF, warnings being errors
    #[command(after_help = "Example:
  cargo xtask lint")]
    Lint,

    /// Build, then run every test; what follows goes to `cargo test`
    #[command(after_help = "Examples:
  cargo xtask test
  cargo xtask test maglev                     only tests with `maglev` in their name
  cargo xtask test -p limpet-lab              only the tests of the lab
  cargo xtask test -- --nocapture             with what the tests print")]
    Test {
        /// Arguments for `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },

    /// Build, bring the lab up, show traffic being balanced, and take the lab down
    #[command(after_help = "Examples:
  cargo xtask demo
  cargo xtask demo --keep     leave the lab up and say how to look around
  cargo xtask demo --down     end a lab that was kept")]
    Demo {
        /// Leave the lab up afterwards
        #[arg(long, conflicts_with = "down")]
        keep: bool,
        /// End a lab that was left up
        #[arg(long)]
        down: bool,
    },

    /// Build, count lost sessions in ten scenarios of change and failure, and write docs/scenarios.md
    #[command(after_help = "Examples:
  cargo xtask scenarios
  cargo xtask scenarios --json scenarios.json

Exit code: 0 when in each scenario the numbers agree, 1 when not.")]
    Scenarios {
        /// Write the numbers to this file as well, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },

    /// Render the manifests in deploy/manifests from the Helm chart
    #[command(after_help = "Examples:
  cargo xtask manifests
  cargo xtask manifests --check     lint and validate chart and manifests, as the tests do; writes nothing

Exit code of --check: 0 when everything holds, 1 when not.")]
    Manifests {
        /// Compare, lint and validate instead of writing
        #[arg(long)]
        check: bool,
    },

    /// Build a static `limpet`, and an image with nothing else in it
    #[command(after_help = "Examples:
  cargo xtask image
  cargo xtask image --tag registry.example/limpet:1.0 --output limpet.tar

The image is an OCI archive. To use it:
  skopeo copy oci-archive:target/image/limpet.tar docker://registry.example/limpet:1.0
  ctr --namespace k8s.io images import target/image/limpet.tar     on a node, without a registry")]
    Image {
        /// What it is called, as in registry.example/limpet:1.0 [default: localhost/limpet:VERSION]
        #[arg(long, value_name = "NAME:TAG")]
        tag: Option<String>,
        /// Where to write the archive [default: target/image/limpet.tar]
        #[arg(long, value_name = "FILE.tar")]
        output: Option<PathBuf>,
    },

    /// Measure
    #[command(subcommand)]
    Bench(Bench),
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Nanoseconds a packet for every way through the datapath
    #[command(after_help = "Examples:
  cargo xtask bench datapath
  cargo xtask bench datapath --json datapath.json")]
    Datapath {
        /// Write the figures to this file as well, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },

    /// What a change of the cluster costs an agent: time, memory, CPU, with 100 to 10,000 Services
    #[command(after_help = "Examples:
  cargo xtask bench sync
  cargo xtask bench sync --json sync.json")]
    Sync {
        /// Write the figures to this file as well, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

impl Bench {
    /// The name of what measures it, for `cargo bench`, and the file for the figures.
    pub(crate) fn target(&self) -> (&'static str, Option<&Path>) {
        match self {
            Self::Datapath { json } => ("datapath", json.as_deref()),
            Self::Sync { json } => ("sync", json.as_deref()),
        }
    }
}

/// How `doctor` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Aligned columns, to read
    Table,
    /// One object, for scripts
    Json,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Args, Command};

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn test_hands_every_argument_on() {
        let line = ["cargo xtask", "test", "-p", "lb-common", "maglev", "--", "--nocapture"];
        let Command::Test { args } = Args::try_parse_from(line).unwrap().command else {
            panic!("not read as `test`");
        };
        assert_eq!(args, ["-p", "lb-common", "maglev", "--", "--nocapture"]);
    }

    #[test]
    fn scenarios_take_a_file_for_their_numbers() {
        let json = |line: &[&str]| match Args::try_parse_from(line).unwrap().command {
            Command::Scenarios { json } => json,
            other => panic!("read as {other:?}"),
        };
        assert_eq!(json(&["cargo xtask", "scenarios"]), None);
        assert_eq!(json(&["cargo xtask", "scenarios", "--json", "a.json"]), Some("a.json".into()));
    }

    #[test]
    fn keep_and_down_exclude_each_other() {
        assert!(Args::try_parse_from(["cargo xtask", "demo", "--keep", "--down"]).is_err());
    }
}
