//! `limpet`'s inspection commands on maps of the kernel's, pinned, mostly with no agent. Needs root and a BPF file system.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod agent;
mod breaks;
#[path = "../support/enter.rs"]
mod enter;
mod pinned;
#[path = "../uplinks/place.rs"]
#[expect(dead_code, reason = "the tests of uplinks need more of it")]
mod place;

use std::{
    io::Read,
    path::Path,
    process::{Command, Output, Stdio},
};

use pinned::Pinned;
use serde_json::{Value, json};

/// Runs `limpet` on these pins, where no agent has ever run.
fn limpet(pins: &Path, arguments: &[&str]) -> Output {
    command(pins, arguments).output().unwrap()
}

fn command(pins: &Path, arguments: &[&str]) -> Command {
    command_at(Path::new("/nonexistent/agent.sock"), pins, arguments)
}

/// `limpet` on these pins and this socket.
fn command_at(socket: &Path, pins: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_limpet"));
    command.env_clear().arg("--pin-dir").arg(pins).arg("--socket").arg(socket).args(arguments);
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn lists_what_is_programmed_and_says_that_no_agent_runs() {
    let pinned = Pinned::new("lists");
    let cases: [(&[&str], &str); 8] = [
        (
            &["get", "services", "-A"],
            "\
NAMESPACE  NAME  PORT  PROTOCOL  AFFINITY  FRONTENDS                 BACKENDS
default    web   http  TCP       ClientIP  203.0.113.10:80 + 1 more  1/1
shop       dns   -     UDP       None      [2001:db8::53]:53         0/0
",
        ),
        (
            &["get", "backends"],
            "\
NAMESPACE  NAME   ADDRESS         PROTOCOL  NODE  STATE     SERVICE               SHARE
default    web-0  10.1.0.10:8080  TCP       n1    active    default/web:http/TCP  100.0%
default    web-1  10.1.1.10:8080  TCP       n2    draining  default/web:http/TCP  0.0%
",
        ),
        (
            &["get", "nodes", "--no-headers"],
            "\
n1  10.0.0.1  this node                                  1
n2  10.0.0.2  IPv4 lo 02:00:00:00:00:02 mtu 1500         1
n3  fd00::3   IPv6 unresolved                            0
",
        ),
        (
            &["get", "counters"],
            "\
PROGRAM  REASON     CLASS    PACKETS  DESCRIPTION
ingress  local-new  forward  7        new flow to a Pod on this node
ingress  total      -        7        all packets seen
egress   total      -        0        all packets seen
",
        ),
        (
            &["get", "flows", "web", "--no-headers"],
            "\
TCP  198.51.100.7:4000  203.0.113.10:80  default/web-0  established  AGE
TCP  198.51.100.8:4000  203.0.113.10:80  default/web-1  established  AGE
TCP  198.51.100.9:4000  203.0.113.10:80  gone           new          AGE
",
        ),
        (
            &["get", "flows", "-A", "--client", "198.51.100.7", "--no-headers"],
            "\
TCP  198.51.100.7:4000  203.0.113.10:80  default/web-0  established  AGE
TCP  198.51.100.7:4000  203.0.113.99:80  gone           established  AGE
",
        ),
        (&["get", "flows", "--client", "198.51.100.1"], ""),
        (&["get", "services", "-n", "nowhere"], ""),
    ];
    for (arguments, expected) in cases {
        let output = limpet(pinned.root(), arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        let printed = without_ages(text(&output.stdout));
        assert_eq!(squeezed(&printed), squeezed(expected), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains("limpet: agent: not running (no socket at /nonexistent/agent.sock)"), "{said}");
    }
}

/// How wide a column is depends on the ages; tests of the tables themselves look at that.
fn squeezed(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn without_ages(text: &str) -> String {
    let is_flow = |line: &str| line.starts_with("TCP ");
    let cut = |line: &str| match line.trim_end().rsplit_once(' ') {
        Some((rest, _age)) if is_flow(line) => format!("{rest} AGE\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(cut).collect()
}

#[test]
fn flows_are_limited_and_that_is_said() {
    let pinned = Pinned::new("limit");
    let output = limpet(pinned.root(), &["get", "flows", "--limit", "2", "-o", "json"]);
    assert_eq!(json(&output).as_array().map(Vec::len), Some(2));
    assert!(text(&output.stderr).contains("these are 2 of more flows"), "{output:?}");
    let output = limpet(pinned.root(), &["get", "flows", "--limit", "3"]);
    assert!(!text(&output.stderr).contains("of more flows"), "{output:?}");
}

#[test]
fn describes_a_service_or_says_what_there_is() {
    let pinned = Pinned::new("describe");
    let output = limpet(pinned.root(), &["describe", "service", "default/web", "-o", "json"]);
    let value = json(&output);
    assert_eq!(value["ports"][0]["affinity_timeout_seconds"], json!(10_800));
    assert_eq!(value["ports"][0]["affinity_key"], json!("port"));
    assert_eq!(value["ports"][0]["affinity_expiry"], json!("stable"));
    assert_eq!(value["ports"][0]["client_prefix"], json!({"IPv4": 24}));
    assert_eq!(value["ports"][0]["tables"], json!([{"family": "IPv4", "slots": 5, "backends": 1, "fair_share": 1.0}]));
    assert_eq!(value["problems"], json!(null));

    let output = limpet(pinned.root(), &["describe", "service", "-n", "default", "wbe"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("limpet: Service wbe is not programmed in namespace default; there is "));
    let output = limpet(pinned.root(), &["describe", "service", "-n", "default", "shop/dns"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn status_is_not_well_without_an_agent_but_says_what_the_maps_know() {
    let pinned = Pinned::new("status");
    let output = limpet(pinned.root(), &["status"]);
    assert_eq!(output.status.code(), Some(1));
    let first = "agent: not running (no socket at /nonexistent/agent.sock); the datapath goes on with what was last \
                 programmed\nnode: n1\n";
    assert!(text(&output.stdout).starts_with(first), "{output:?}");

    let value = json(&limpet(pinned.root(), &["status", "-o", "json"]));
    assert_eq!(value["agent"]["alive"], json!(false));
    assert_eq!(value["problems"], json!([]));
    let fill = value["datapath"]["fill"].as_array().unwrap();
    let used = |what: &str, family: Value| {
        fill.iter().find(|row| row["what"] == what && row["family"] == family).map(|row| row["used"].clone())
    };
    assert_eq!(used("frontends", json!("IPv4")), Some(json!(2)));
    assert_eq!(used("slots", json!(null)), Some(json!(5)));
    assert_eq!(used("flows", json!("IPv4")), Some(json!(3)));
    assert_eq!(used("flows of one packet", json!("IPv4")), Some(json!(2)));
    assert_eq!(used("clients", json!("IPv4")), Some(json!(1)));
    assert_eq!(used("clients of one packet", json!("IPv6")), Some(json!(0)));
    let lost = 2 * aya::util::nr_cpus().unwrap();
    assert_eq!(value["datapath"]["breaks"], json!({"total": 3, "lost_events": lost}));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let pinned = Pinned::new("pipe");
    let mut child = command(pinned.root(), &["get", "counters", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    assert!(!said.contains("panicked") && !said.contains("pipe"), "{said}");
}

#[test]
fn detach_removes_everything_and_then_finds_nothing() {
    let pinned = Pinned::new("detach");
    let output = limpet(pinned.root(), &["detach"]);
    assert!(output.status.success(), "{output:?}");
    let removed = format!("removed maps ({}): ", lb_userspace::dataplane::maps::names().count());
    assert!(text(&output.stdout).contains(&removed), "{output:?}");
    assert!(!pinned.root().exists());
    let output = limpet(pinned.root(), &["detach"]);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("nothing to remove"), "{output:?}");

    let output = limpet(pinned.root(), &["get", "services"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nothing is pinned in"), "{output:?}");
    let output = limpet(pinned.root(), &["status"]);
    assert!(text(&output.stdout).contains("datapath: nothing is pinned in"), "{output:?}");
}
