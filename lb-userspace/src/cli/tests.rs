//! The command line as a whole: what it understands, and what it refuses.

use std::path::Path;

use clap::CommandFactory;

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
    Plugin::command().debug_assert();
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
        ("limpet agent --source file:/d --node n1", "there are: kube (the API server) and dir:PATH"),
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
