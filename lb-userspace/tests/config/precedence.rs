//! Which value counts, and what `limpet config` says of where it is from.

use serde_json::json;

use super::{FILE, Place};

#[test]
fn the_line_goes_before_the_environment_that_before_the_file_that_before_the_default() {
    let place = Place::new("node: of-file\nmax-flows: 1000\nmax-clients: 2000\nmax-nodes: 30\n");
    let variables = [("LIMPET_CONFIG", FILE), ("LIMPET_MAX_FLOWS", "1001"), ("LIMPET_MAX_CLIENTS", "2001")];
    let said = place.limpet(&variables, "config --max-flows 1002 -o json");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let cases = [
        ("max-flows", "1002", json!({"from": "flag"})),
        ("max-clients", "2001", json!({"from": "environment"})),
        ("max-nodes", "30", json!({"from": "file", "file": FILE, "line": 4})),
        ("node", "of-file", json!({"from": "file", "file": FILE, "line": 1})),
        ("tunnel-port", "6181", json!({"from": "default"})),
    ];
    for (name, value, from) in cases {
        let setting = said.setting(name);
        assert_eq!(setting["value"], value, "{name}");
        for (key, expected) in from.as_object().unwrap() {
            assert_eq!(setting[key], *expected, "{name}: {key}");
        }
    }
    assert_eq!(said.setting("max-flows")["variable"], "LIMPET_MAX_FLOWS");
    assert_eq!(said.setting("kubeconfig")["value"], json!(null));
}

#[test]
fn a_line_for_each_setting_aligned() {
    let place = Place::new("uplink: [eth0, eth1]\nnode-port-addresses: [10.0.0.0/8, 2001:db8::/32]\n");
    let said = place.limpet(&[("LIMPET_LOG", "debug")], "config --node n1 --config limpet.yaml");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let lines: Vec<&str> = said.stdout.lines().collect();
    let from = lines[0].find("FROM").unwrap();
    assert!(lines[0].starts_with("NAME "), "{}", lines[0]);
    for line in &lines {
        assert_ne!(line.as_bytes()[from], b' ', "{line}");
        assert_eq!(line.as_bytes()[from - 1], b' ', "{line}");
    }
    let squeezed: Vec<String> =
        lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for expected in [
        "source kube default",
        "node n1 --node",
        "uplink eth0,eth1 limpet.yaml:1",
        "node-port-addresses 10.0.0.0/8,2001:db8::/32 limpet.yaml:2",
        "log debug LIMPET_LOG",
        "kubeconfig - default",
        "pin-dir /sys/fs/bpf/limpet default",
    ] {
        assert!(squeezed.iter().any(|line| line == expected), "{expected}: {}", said.stdout);
    }
}

#[test]
fn an_empty_file_sets_nothing() {
    for text in ["", "# only a comment\n", "---\n", "{}\n", "uplink: []\n"] {
        let place = Place::new(text);
        let said = place.limpet(&[], "config --node n1 --config limpet.yaml -o json");
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{text:?}: {said:?}");
        assert!(!said.stdout.contains(r#""from": "file""#), "{text:?}: {said:?}");
    }
}

#[test]
fn switches_are_switched_off_where_the_file_switches_them_on() {
    let place = Place::new("log-drops: true\nbreak-events: no\n");
    let value = |line: &str, name: &str| {
        let said = place.limpet(&[], &format!("config --node n1 --config limpet.yaml -o json {line}"));
        said.setting(name)["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(value("", "log-drops"), "true");
    assert_eq!(value("--log-drops=false", "log-drops"), "false");
    assert_eq!(value("--log-drops", "log-drops"), "true");
    assert_eq!(value("", "break-events"), "no");
    assert_eq!(value("--break-events true", "break-events"), "true");
}

#[test]
fn a_value_is_what_is_written() {
    let place = Place::new("node: 007\nservice-class: on\nlog: \"info,lb_userspace=debug\"\nuplink: eth0,eth1\n");
    let said = place.limpet(&[], "config --config limpet.yaml -o json");
    assert_eq!(said.code, Some(0), "{said:?}");
    let cases = [("node", "007"), ("service-class", "on"), ("log", "info,lb_userspace=debug"), ("uplink", "eth0,eth1")];
    for (name, expected) in cases {
        assert_eq!(said.setting(name)["value"], expected, "{name}");
    }
}

#[test]
fn the_other_commands_look_where_the_file_says() {
    let place = Place::new("pin-dir: /nonexistent/pins\nsocket: /nonexistent/of-file.sock\n");
    let said = place.limpet(&[("LIMPET_CONFIG", FILE)], "status");
    assert!(said.stdout.contains("/nonexistent/of-file.sock"), "{said:?}");
    let said = place.limpet(&[("LIMPET_CONFIG", FILE)], "status --socket /nonexistent/of-line.sock");
    assert!(said.stdout.contains("/nonexistent/of-line.sock"), "{said:?}");
}

#[test]
fn without_a_node_the_settings_are_shown_and_the_code_says_that_no_agent_could_start() {
    let place = Place::new("");
    let said = place.limpet(&[], "config");
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stdout.lines().any(|line| line.starts_with("max-flows ")), "{said:?}");
    assert!(said.stderr.contains("--node, LIMPET_NODE, or `node:` in the file"), "{said:?}");
}
