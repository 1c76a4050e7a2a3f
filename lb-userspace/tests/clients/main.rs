//! `limpet get clients`, `why`, `skew` and `forget` on maps of the kernel's, pinned, with no agent. Needs root and a BPF
//! file system.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod agreement;
mod forget;
mod pinned;

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Output, Stdio},
};

use pinned::{Pinned, TIMEOUT_SECONDS, entry, now_seconds, slot_of, web};
use serde_json::{Value, json};

/// Runs `limpet` on these pins, where no agent has ever run and nobody can be asked.
fn limpet(pins: &Path, arguments: &[&str]) -> Output {
    command(pins, arguments).stdin(Stdio::null()).output().unwrap()
}

fn command(pins: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_limpet"));
    command.env_clear().arg("--pin-dir").arg(pins).args(["--socket", "/nonexistent/agent.sock"]).args(arguments);
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Each line's words at these places.
fn columns(output: &Output, places: &[usize]) -> Vec<String> {
    let cut = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        places.iter().map(|place| words[*place]).collect::<Vec<_>>().join(" ")
    };
    text(&output.stdout).lines().map(cut).collect()
}

#[test]
fn clients_are_listed_with_where_and_how_they_are_held() {
    let pinned = Pinned::with_clients("list");
    let of_default = [
        "198.51.100.7 default/brief:/TCP default/brief-0 expired",
        "198.51.100.7 default/web:http/TCP default/web-0 held",
        "198.51.100.8 default/web:http/TCP default/web-1 forgotten",
        "198.51.100.9 default/web:http/TCP default/web-2 broken",
        "198.51.100.10 default/web:http/TCP default/web-1 new",
        "2001:db8::7 default/web:http/TCP default/web-1 held",
    ];
    let cases: [(&[&str], Vec<&str>); 7] = [
        (&[], of_default.to_vec()),
        (&["web"], of_default[1..].to_vec()),
        (&["shop/cart"], vec!["203.0.113.0/24 shop/cart:* shop/cart-0 held"]),
        (&["-n", "shop", "--client", "203.0.113.77"], vec!["203.0.113.0/24 shop/cart:* shop/cart-0 held"]),
        (&["--client", "198.51.100.9"], of_default[3..4].to_vec()),
        (
            &["-A", "--client", "198.51.100.7"],
            vec!["198.51.100.7 - default/web-0 unused", of_default[0], of_default[1]],
        ),
        (&["-n", "nowhere"], vec![]),
    ];
    for (arguments, expected) in cases {
        let arguments = [&["get", "clients", "--no-headers"], arguments].concat();
        let output = limpet(pinned.root(), &arguments);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(columns(&output, &[0, 1, 2, 3]), expected, "{arguments:?}");
        assert!(text(&output.stderr).contains("limpet: agent: not running"), "{output:?}");
    }
    let output = limpet(pinned.root(), &["get", "clients", "--limit", "2"]);
    assert!(text(&output.stderr).contains("these are 2 of more clients"), "{output:?}");
    assert_eq!(limpet(pinned.root(), &["get", "clients", "wep"]).status.code(), Some(1));
}

#[test]
fn clients_as_json_have_no_ids_and_no_clocks() {
    let pinned = Pinned::with_clients("json");
    let value = json(&limpet(pinned.root(), &["get", "clients", "-A", "-o", "json"]));
    let clients = value.as_array().unwrap();
    assert_eq!(clients.len(), 8);
    let find = |client: &str, state: &str| {
        let found = clients.iter().find(|it| it["client"] == client && it["state"] == state);
        found.cloned().unwrap_or_else(|| panic!("{client} {state}: {value}"))
    };
    let cart = find("203.0.113.0/24", "held");
    assert_eq!(cart["service"], json!({"namespace": "shop", "name": "cart", "port": null, "protocol": null}));
    let mut held = find("198.51.100.7", "held");
    let left = held["expires_in_seconds"].take().as_u64().unwrap();
    let limit = u64::from(TIMEOUT_SECONDS);
    assert!((limit - 60..=limit).contains(&left), "{left}");
    for name in ["age_seconds", "last_used_seconds_ago"] {
        assert!(held[name].take().as_u64().unwrap() < 180, "{held}");
    }
    let expected = json!({
        "client": "198.51.100.7", "backend": "default/web-0", "node": "n1", "expiries": 0, "state": "held",
        "service": {"namespace": "default", "name": "web", "port": "http", "protocol": "TCP"},
        "age_seconds": null, "last_used_seconds_ago": null, "expires_in_seconds": null,
    });
    assert_eq!(held, expected);
    let expired = find("198.51.100.7", "expired");
    assert_eq!((&expired["expires_in_seconds"], &expired["expiries"]), (&json!(0), &json!(3)));
    assert_eq!(find("198.51.100.7", "unused")["service"], json!(null));
}

/// The one Service port that is told of.
fn why(pinned: &Pinned, arguments: &[&str]) -> Value {
    let output = limpet(pinned.root(), &[&["why", "-o", "json"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    let mut value = json(&output);
    let services = value["services"].as_array_mut().unwrap();
    assert_eq!(services.len(), 1, "{services:?}");
    services.remove(0)
}

#[test]
fn why_says_where_the_next_connection_goes() {
    let mut pinned = Pinned::with_clients("why");
    pinned.flow("198.51.100.7", 3, 2);
    let name = |id: u32| format!("default/web-{}", id - 1);
    let of_table = |client: &str| json!(name(slot_of(client)));

    let held = why(&pinned, &["198.51.100.7", "web"]);
    assert_eq!((&held["by"], &held["next"]), (&json!("map"), &json!({"backend": "default/web-0", "node": "n1"})));
    assert_eq!((&held["table"], &held["flows"]), (&of_table("198.51.100.7"), &json!(3)));
    assert_eq!(held["if_gone"], json!({"backend": "default/web-0", "next": "default/web-1"}));
    assert_eq!(held["breaks"], json!(null), "no agent runs");

    for (client, state, reason) in [("198.51.100.9", "broken", "draining"), ("198.51.100.8", "forgotten", "forgotten")]
    {
        let moved = why(&pinned, &[client, "web"]);
        assert_eq!((&moved["by"], &moved["next"]["backend"]), (&json!("table"), &of_table(client)));
        assert_eq!((&moved["held"]["state"], &moved["held"]["over"]), (&json!(state), &json!(reason)));
        let is_another = moved["held"]["backend"] != moved["next"]["backend"];
        assert_eq!(moved["counts_as_break"], if is_another { json!(reason) } else { json!(null) });
    }

    let stranger = why(&pinned, &["198.51.100.200", "web"]);
    assert_eq!((&stranger["by"], &stranger["held"]), (&json!("table"), &json!(null)));
    assert_eq!(stranger["next"]["backend"], of_table("198.51.100.200"));

    let v6 = why(&pinned, &["2001:db8::7"]);
    assert_eq!((&v6["by"], &v6["next"]["backend"]), (&json!("map"), &json!("default/web-1")));

    let plain = why(&pinned, &["198.51.100.7", "plain"]);
    assert_eq!((&plain["by"], &plain["affinity"]), (&json!("connection"), &json!(null)));
    let unreached = why(&pinned, &["2001:db8::7", "plain"]);
    assert_eq!(unreached["by"], json!("no-frontend"));
}

#[test]
fn why_tells_of_a_prefix_and_of_ports_that_share_their_clients() {
    let pinned = Pinned::with_clients("prefix");
    let output = limpet(pinned.root(), &["why", "203.0.113.77", "shop/cart", "-o", "json"]);
    let value = json(&output);
    let services = value["services"].as_array().unwrap();
    assert_eq!(services.len(), 2);
    for service in services {
        // The second port has a backend of its own on the same Pod.
        assert_eq!((&service["by"], &service["next"]["backend"]), (&json!("map"), &json!("shop/cart-0")));
        assert_eq!(service["affinity"]["client"], json!("203.0.113.0/24"));
        assert_eq!(service["if_gone"]["next"], json!(null));
    }
    let output = limpet(pinned.root(), &["why", "203.0.113.77", "-n", "shop"]);
    assert!(
        text(&output.stdout).contains("the client is 203.0.113.0/24 (limpet.dev/client-prefix: 24 bits)"),
        "{output:?}"
    );
    assert!(text(&output.stderr).contains("agent: not running"), "{output:?}");
}

#[test]
fn why_without_a_service_asks_all_that_hold_clients() {
    let pinned = Pinned::with_clients("all");
    let names = |arguments: &[&str]| {
        let value = json(&limpet(pinned.root(), &[&["why", "198.51.100.7", "-o", "json"], arguments].concat()));
        let services = value["services"].as_array().unwrap().clone();
        services.iter().map(|it| it["service"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["brief", "web"]);
    assert_eq!(names(&["-A"]), ["brief", "web", "cart", "cart"]);
    let output = limpet(pinned.root(), &["why", "198.51.100.7", "-n", "nowhere"]);
    assert!(output.status.success() && text(&output.stderr).contains("-A asks all namespaces"), "{output:?}");
    assert_eq!(limpet(pinned.root(), &["why", "web-0"]).status.code(), Some(2));
    assert_eq!(limpet(pinned.root(), &["why", "198.51.100.7", "wep"]).status.code(), Some(1));
}

#[test]
fn a_gone_pods_clients_go_where_its_table_without_it_says() {
    let mut pinned = Pinned::new("gone");
    let client = "198.51.100.7";
    let here = slot_of(client);
    pinned.hold(client, web(), entry(here, now_seconds()));
    let before = why(&pinned, &[client, "web"]);
    let left = if here == 1 { (2, "default/web-1") } else { (1, "default/web-0") };
    assert_eq!(before["if_gone"]["next"], json!(left.1));

    // Now it goes.
    let mut backend = pinned.maps().backends.get(&here, 0).unwrap();
    backend.0.state = lb_common::layout::backend_state::GONE;
    pinned.maps().backends.set(here, backend, 0).unwrap();
    let length = pinned::table(&[(1, "default/web-0"), (2, "default/web-1")]).len();
    pinned.maps().slots.write(0, &vec![left.0; length]).unwrap();
    let after = why(&pinned, &[client, "web"]);
    assert_eq!((&after["next"]["backend"], &after["counts_as_break"]), (&json!(left.1), &json!("backend-gone")));
    assert_eq!(after["if_gone"]["next"], json!(null));
}

/// Answers one request on a socket as an agent that tells of this break, and of another client's.
fn agent(socket: &Path) -> std::thread::JoinHandle<()> {
    let told = |client: &str, sequence: u64| {
        json!({
            "sequence": sequence, "seconds_ago": 200, "client": client, "reason": "draining", "held_seconds": 340,
            "service": {"namespace": "default", "name": "web", "port": "http", "protocol": "TCP"},
            "from": "default/web-2", "to": "default/web-0",
        })
    };
    let events = [told("198.51.100.7", 1), told("198.51.100.8", 2)];
    let body = json!({"node": "n1", "first_sequence": 1, "next_sequence": 3, "events": events}).to_string();
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        assert!(text(&request[..length]).starts_with("GET /breaks?"), "{:?}", &request[..length]);
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    })
}

#[test]
fn why_tells_of_breaks_that_the_agent_knows() {
    let pinned = Pinned::with_clients("breaks");
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("agent.sock");
    let agent = agent(&socket);
    let mut command = Command::new(env!("CARGO_BIN_EXE_limpet"));
    command.env_clear().arg("--pin-dir").arg(pinned.root()).arg("--socket").arg(&socket);
    let output = command.args(["why", "198.51.100.7", "web"]).output().unwrap();
    agent.join().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = text(&output.stdout);
    assert!(printed.ends_with("  Breaks:   3m20s ago from default/web-2 to default/web-0 (draining)\n"), "{printed}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn skew_shows_shares_networks_and_suspects() {
    let mut pinned = Pinned::with_clients("skew");
    pinned.flow("198.51.100.7", 70, 1);
    pinned.flow("198.51.100.9", 2, 2);
    let value = json(&limpet(pinned.root(), &["skew", "web", "-o", "json"]));
    let web = &value[0];
    assert_eq!((&web["clients"], &web["not_held"], &web["usable_pods"]), (&json!(4), &json!(1), &json!(2)));
    let pod = |index: usize| {
        let pod = &web["pods"][index];
        (pod["backend"].as_str().unwrap(), pod["clients_v4"].as_u64().unwrap(), pod["clients_v6"].as_u64().unwrap())
    };
    assert_eq!([pod(0), pod(1), pod(2)], [("default/web-0", 1, 0), ("default/web-1", 1, 1), ("default/web-2", 1, 0)]);
    assert_eq!((&web["pods"][1]["ratio"], &web["pods"][2]["ratio"]), (&json!(1.0), &json!(null)));
    assert_eq!(web["prefixes"][0], json!({"prefix": "198.51.100.0/24", "clients": 3, "share": 0.75, "flows": 72}));
    let suspect = json!([{"client": "198.51.100.7", "flows": 70, "backend": "default/web-0"}]);
    assert_eq!((&web["suspects"], &web["median_flows"]), (&suspect, &json!(2)));

    let output = limpet(pinned.root(), &["skew", "default/web"]);
    let printed = text(&output.stdout);
    for expected in
        ["POD            NODE  STATE     CLIENTS  IPV4  IPV6  SHARE", "looks like NAT", "web-2  n2    draining"]
    {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    let value = json(&limpet(pinned.root(), &["skew", "-n", "shop", "cart", "-o", "json"]));
    assert_eq!(
        (value.as_array().unwrap().len(), &value[0]["clients"]),
        (1, &json!(1)),
        "its ports share their clients"
    );
    let output = limpet(pinned.root(), &["skew", "plain"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("connections spread by 5-tuple"), "{output:?}");
}
