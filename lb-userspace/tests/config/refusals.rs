//! What cannot be meant is refused with exit code 2, with its place, by the agent as by `limpet config`.

use super::{FILE, Place, Said};

/// Both commands refuse, and say all of these.
fn refused(file: &str, variables: &[(&str, &str)], line: &str, parts: &[&str]) {
    let place = Place::new(file);
    let variables: Vec<_> = variables.iter().copied().chain([("LIMPET_CONFIG", FILE)]).collect();
    for command in ["agent", "config"] {
        let said: Said = place.limpet(&variables, &format!("{command} --node n1 {line}"));
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{file:?} {line}: {said:?}");
        for part in parts {
            assert!(
                said.stderr.contains(part),
                "{part:?} is not said of {file:?} {variables:?} {line}: {}",
                said.stderr
            );
        }
    }
}

#[test]
fn of_a_file_with_its_line() {
    let cases: [(&str, &[&str]); 17] = [
        ("\nmax-flow: 1000\n", &["limpet.yaml:2: max-flow: ", "no such setting", "did you mean max-flows?"]),
        ("max_flows: 1000\n", &["limpet.yaml:1: max_flows: ", "did you mean max-flows?"]),
        ("frobnicate: 1\n", &["limpet.yaml:1: frobnicate: ", "`limpet agent --help`"]),
        ("config: other.yaml\n", &["limpet.yaml:1: config: ", "no such setting"]),
        ("max-flows: 0\n", &["limpet.yaml:1: max-flows: ", "\"0\"", "no whole number in 1..=268435456"]),
        ("# first\nmax-flows: many\n", &["limpet.yaml:2: max-flows: ", "\"many\"", "no whole number in 1..=268435456"]),
        ("max-flows: 1.5\n", &["limpet.yaml:1: max-flows: ", "\"1.5\""]),
        ("max-flows: [1, 2]\n", &["limpet.yaml:1: max-flows: ", "is a list, where one N is needed"]),
        ("max-flows: {a: 1}\n", &["limpet.yaml:1: max-flows: ", "is a mapping"]),
        ("max-flows:\n", &["limpet.yaml:1: max-flows: ", "has no value"]),
        ("break-events: perhaps\n", &["limpet.yaml:1: break-events: ", "\"perhaps\"", "neither true nor false"]),
        ("source: file:/x\n", &["limpet.yaml:1: source: ", "kube (the API server) and dir:PATH"]),
        ("node-port-addresses: [10.0.0.0/8, x]\n", &["limpet.yaml:1: node-port-addresses: ", "\"x\" is no CIDR"]),
        ("log: debgu\n", &["limpet.yaml:1: log: ", "\"debgu\" is no level", "error, warn, info, debug and trace"]),
        ("max-flows: 1\nnode: n1\nmax-flows: 2\n", &["limpet.yaml:3: max-flows: ", "twice: first in line 1"]),
        ("- max-flows\n", &["limpet.yaml: ", "a mapping of settings, as in `max-flows: 1000`"]),
        ("node: n1\nmax-flows: \"1\n", &["limpet.yaml:"]),
    ];
    for (file, parts) in cases {
        refused(file, &[], "", parts);
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let parts = ["limpet.yaml:1: max-flow: ", "limpet.yaml:2: max-nodes: ", "LIMPET_NOED: "];
    refused("max-flow: 1\nmax-nodes: x\n", &[("LIMPET_NOED", "n1")], "", &parts);
}

#[test]
fn what_the_line_overrides_must_be_legal_all_the_same() {
    refused("max-flows: many\n", &[], "--max-flows 1000", &["limpet.yaml:1: max-flows: "]);
}

#[test]
fn of_a_file_that_cannot_be_read() {
    let place = Place::new("");
    for (name, parts) in [("missing.yaml", "No such file"), (".", "directory")] {
        let said = place.limpet(&[], &format!("agent --node n1 --config {name}"));
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains(name) && said.stderr.contains(parts), "{said:?}");
    }
    let long = format!("# {}\n", "x".repeat(2 << 20));
    refused(&long, &[], "", &["more than 1048576 bytes are no file of settings"]);
    let many: String = format!("uplink: [{}]\n", vec!["a"; 100_000].join(","));
    refused(&many, &[], "", &["limpet.yaml"]);
}

#[test]
fn of_variables() {
    let cases: [(&str, &str, &[&str]); 5] = [
        ("LIMPET_MAX_FLOW", "1", &["LIMPET_MAX_FLOW: there is no such variable", "did you mean LIMPET_MAX_FLOWS?"]),
        ("LIMPET_FROBNICATE", "1", &["LIMPET_FROBNICATE: there is no such variable", "`limpet agent --help`"]),
        ("LIMPET_MAX_FLOWS", "0", &["LIMPET_MAX_FLOWS: \"0\": no whole number in 1..=268435456"]),
        ("LIMPET_BREAK_EVENTS", "perhaps", &["LIMPET_BREAK_EVENTS: \"perhaps\": neither true nor false"]),
        // What a Service called limpet-tunnel does to the Pods of its namespace.
        ("LIMPET_TUNNEL_PORT", "tcp://10.0.0.1:80", &["LIMPET_TUNNEL_PORT: ", "enableServiceLinks: false"]),
    ];
    for (name, value, parts) in cases {
        refused("", &[(name, value)], "", parts);
    }
}

#[test]
fn what_kubernetes_sets_for_services_called_limpet_is_not_ours() {
    let variables = [
        ("LIMPET_SERVICE_HOST", "10.96.0.7"),
        ("LIMPET_SERVICE_PORT", "80"),
        ("LIMPET_PORT", "tcp://10.96.0.7:80"),
        ("LIMPET_METRICS_SERVICE_HOST", "10.96.0.7"),
        ("LIMPET_METRICS_SERVICE_PORT", "6183"),
        ("LIMPET_METRICS_SERVICE_PORT_METRICS", "6183"),
        ("LIMPET_METRICS_PORT", "tcp://10.96.0.7:6183"),
        ("LIMPET_METRICS_PORT_6183_TCP", "tcp://10.96.0.7:6183"),
        ("LIMPET_METRICS_PORT_6183_TCP_PROTO", "tcp"),
        ("LIMPET_METRICS_PORT_6183_TCP_PORT", "6183"),
        ("LIMPET_METRICS_PORT_6183_TCP_ADDR", "10.96.0.7"),
        ("LIMPET_TEST_KUBECONFIG", "/kubeconfig"),
        ("OTHER_LIMPET_THING", "1"),
    ];
    let said = Place::new("").limpet(&variables, "config --node n1");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    // But what looks like one of them and is not, is a slip.
    for (name, value) in [("LIMPET_TUNNEL_PROT", "6181"), ("LIMPET_HEALTH_PORT", "6182")] {
        let said = Place::new("").limpet(&[(name, value)], "config --node n1");
        assert_eq!(said.code, Some(2), "{name}: {said:?}");
    }
}

#[test]
fn other_commands_only_mention_unknown_variables() {
    let said = Place::new("").limpet(&[("LIMPET_SOKCET", "/s")], "status --socket /nonexistent/agent.sock");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("LIMPET_SOKCET: there is no such variable; did you mean LIMPET_SOCKET?"), "{said:?}");
}

/// A file, variables, flags, and what must be said of them.
type Contradiction<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a [&'a str]);

#[test]
fn contradictions_are_told_with_both_places() {
    let cases: [Contradiction<'_>; 8] = [
        (
            "kubeconfig: /k\n",
            &[("LIMPET_SOURCE", "dir:/d")],
            "",
            &["limpet.yaml:1: kubeconfig: ", "source dir:/d (LIMPET_SOURCE)"],
        ),
        ("source: dir:/d\n", &[], "--kubeconfig /k", &["--kubeconfig: ", "(limpet.yaml:1: source)"]),
        (
            "source: dir:/d\nbreak-events: true\n",
            &[],
            "",
            &["limpet.yaml:2: break-events: ", "source dir:/d (limpet.yaml:1: source)"],
        ),
        (
            "",
            &[("LIMPET_HEALTH_ADDRESS", "127.0.0.1:6183")],
            "",
            &["metrics-address (default): 127.0.0.1:6183", "127.0.0.1:6183 (LIMPET_HEALTH_ADDRESS)"],
        ),
        ("metrics-address: 0.0.0.0:6182\n", &[], "", &["limpet.yaml:1: metrics-address: ", "health-address (default)"]),
        ("metrics-address: \"[::]:6182\"\n", &[], "", &["[::]:6182 cannot be listened on beside 127.0.0.1:6182"]),
        ("health-address: 0.0.0.0:7\nmetrics-address: 10.0.0.1:7\n", &[], "", &["(limpet.yaml:1: health-address)"]),
        ("pin-dir: /run\n", &[], "", &["socket (default): ", "(limpet.yaml:1: pin-dir)"]),
    ];
    for (file, variables, line, parts) in cases {
        refused(file, variables, line, parts);
    }
}

#[test]
fn what_only_looks_like_a_contradiction_is_none() {
    let files = [
        // Nobody asked for Events.
        "source: dir:/d\n",
        "source: dir:/d\nbreak-events: false\n",
        "service-class: a\nservice-proxy-name: b\n",
        // UDP and TCP.
        "tunnel-port: 6183\n",
        "health-address: none\nmetrics-address: none\n",
        "health-address: 127.0.0.1:0\nmetrics-address: 127.0.0.1:0\n",
        "health-address: 127.0.0.1:7\nmetrics-address: \"[::1]:7\"\n",
    ];
    for file in files {
        let said = Place::new(file).limpet(&[("LIMPET_CONFIG", FILE)], "config --node n1");
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{file:?}: {said:?}");
    }
}
