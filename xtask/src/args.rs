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

`demo`, `scenarios`, `soak`, `test` and `bench` need root, and install what is missing. Without root:
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

    /// Build, and look for inputs that break the datapath, the manifests, the API objects or the agent's socket
    #[command(after_help = "Examples:
  cargo xtask fuzz                            every target for a minute, side by side
  cargo xtask fuzz objects --seconds 600

What is learnt on the way stays in target/fuzz-corpus. tests/fuzz/README.md says what to do about a finding.
Exit code: 0 when nothing was found, 1 when something was: the input's path and how to replay it are printed.")]
    Fuzz {
        /// Which targets [default: all]
        #[arg(value_name = "TARGET")]
        targets: Vec<String>,
        /// How long, each
        #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
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

    /// Build for speed, let everything happen at once in the lab for minutes, and explain every error
    #[command(after_help = "Examples:
  cargo xtask soak --minutes 10
  cargo xtask soak --minutes 2 --seed 7 --json soak.json

Traffic of all kinds at all nodes, 50 changes of objects a second, agents that are killed and restarted, uplinks that go \
down, Pods that die. Ctrl-C ends it early, with the report. The last line is
  soak: M minutes, N requests, E errors, U unexplained
Exit code: 0 when everything that went wrong is explained by what happened, 1 when not.")]
    Soak(Soak),

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

    /// Build a static `limpet`, and an image with nothing else in it but the list of what is in that
    #[command(after_help = "Examples:
  cargo xtask image
  cargo xtask image --tag registry.example/limpet:1.0 --output limpet.tar

The image is an OCI archive; beside it, as FILE.cdx.json, and in it at /usr/share/limpet/sbom.cdx.json is the list of all \
that is in it, for scanners (CycloneDX). To use it:
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

    /// Check what Limpet depends on: licences, sources, versions, known holes (.cargo/deny.toml)
    #[command(after_help = "Examples:
  cargo xtask deny
  cargo xtask deny --offline     all but known holes, which are asked of the network

Builds cargo-deny the first time, which takes some minutes; hence neither `setup` nor `test` does this.
Exit code: 0 when everything holds, another one when not.")]
    Deny {
        /// Leave out what needs the network
        #[arg(long)]
        offline: bool,
    },

    /// Measure
    #[command(subcommand)]
    Bench(Bench),
}

/// How to soak.
#[derive(Debug, clap::Args)]
pub(crate) struct Soak {
    /// How long it lasts; 0.5 is half a minute
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    pub(crate) minutes: f64,
    /// What the choices of changes follow from: the same seed, the same choices
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write the report to this file as well, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the report to this file as well, as Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
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
    fn a_soak_may_be_short_and_has_a_seed() {
        let soak = |line: &[&str]| match Args::try_parse_from(line).unwrap().command {
            Command::Soak(soak) => (soak.minutes, soak.seed, soak.json),
            other => panic!("read as {other:?}"),
        };
        assert_eq!(soak(&["cargo xtask", "soak"]), (10.0, 1, None));
        let line = ["cargo xtask", "soak", "--minutes", "0.5", "--seed", "7", "--json", "a.json"];
        assert_eq!(soak(&line), (0.5, 7, Some("a.json".into())));
    }

    #[test]
    fn keep_and_down_exclude_each_other() {
        assert!(Args::try_parse_from(["cargo xtask", "demo", "--keep", "--down"]).is_err());
    }
}
