//! `limpet forget` changes what it should, and nothing else.

use std::{
    fs::File,
    io::{Read, Write},
    net::IpAddr,
    os::fd::{FromRawFd, OwnedFd},
    process::Stdio,
};

use lb_common::layout::{Affinity, affinity_flags};
use lb_userspace::{dataplane::Pins, inspect::read};
use serde_json::json;

use super::{
    command, limpet,
    pinned::{self, Pinned, brief, cart, entry, now_seconds, web},
    text,
};

/// A client's address, and what it is held for.
type Name = (String, [u32; 2]);
type Arguments<'a> = &'a [&'a str];
/// Clients as the maps have them.
type Clients = Vec<(IpAddr, [u32; 2], bool, Affinity)>;

/// Those that are there and have been forgotten by now, or are there no more.
fn changed(before: &Clients, after: &Clients) -> Vec<Name> {
    assert!(after.len() <= before.len());
    let is_changed = |client: &&(IpAddr, [u32; 2], bool, Affinity)| {
        let (address, held_for, is_new, value) = client;
        let now = after.iter().find(|it| (&it.0, &it.1, &it.2) == (address, held_for, is_new));
        match now {
            // Clients of one packet are not worth a mark.
            None => {
                assert!(is_new, "{address} is gone");
                true
            }
            Some((.., now)) => {
                let same = Affinity { flags: value.flags, ..*now };
                assert_eq!(same, *value, "nothing but flags is changed");
                assert!(now.flags == value.flags || now.flags == value.flags | affinity_flags::FORGOTTEN);
                now.flags != value.flags
            }
        }
    };
    before.iter().filter(is_changed).map(|(address, held_for, ..)| (address.to_string(), *held_for)).collect()
}

#[test]
fn just_those_that_match_are_forgotten() {
    let web = |client: &str| (client.to_owned(), web());
    let cases: [(&str, Arguments<'_>, Vec<Name>); 9] = [
        ("the client", &["198.51.100.7"], vec![("198.51.100.7".to_owned(), brief()), web("198.51.100.7")]),
        ("the client at a Service", &["198.51.100.7", "web"], vec![web("198.51.100.7")]),
        ("one of one packet", &["198.51.100.10"], vec![web("198.51.100.10")]),
        ("of IPv6", &["2001:db8::7"], vec![web("2001:db8::7")]),
        ("an address in a prefix", &["203.0.113.99", "shop/cart"], vec![("203.0.113.0".to_owned(), cart())]),
        ("all of a Pod, by either family", &["--backend", "web-1"], vec![web("198.51.100.10"), web("2001:db8::7")]),
        ("of a Pod's address", &["--backend", "10.1.1.10:8080"], vec![web("198.51.100.10")]),
        ("of a Service", &["--service", "shop/cart"], vec![("203.0.113.0".to_owned(), cart())]),
        ("all that is said", &["2001:db8::7", "web", "--backend", "default/web-1"], vec![web("2001:db8::7")]),
    ];
    for (index, (description, arguments, mut expected)) in cases.into_iter().enumerate() {
        let pinned = Pinned::with_clients(&format!("some-{index}"));
        let before = pinned.clients();
        let output = limpet(pinned.root(), &[&["forget", "--yes"], arguments].concat());
        assert!(output.status.success(), "{description}: {output:?}");
        expected.sort();
        let mut seen = changed(&before, &pinned.clients());
        seen.sort();
        assert_eq!(seen, expected, "{description}");
        assert!(text(&output.stdout).contains("chooses by the lookup table"), "{description}: {output:?}");

        let again = limpet(pinned.root(), &[&["forget", "--yes"], arguments].concat());
        assert_eq!(again.status.code(), Some(1), "{description}: {again:?}");
        assert!(text(&again.stderr).contains("limpet: nothing to forget"), "{again:?}");
    }
}

#[test]
fn a_dry_run_lists_and_changes_nothing() {
    let pinned = Pinned::with_clients("dry");
    let before = pinned.clients();
    let output = limpet(pinned.root(), &["forget", "--backend", "default/web-0", "--dry-run", "--no-headers"]);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).starts_with("198.51.100.7  default/web:http/TCP  default/web-0  held"), "{output:?}");
    let said = "would forget 1 client of Services in namespace default held at default/web-0; nothing is changed";
    assert!(text(&output.stderr).contains(said), "{output:?}");
    assert_eq!(pinned.clients(), before);
}

#[test]
fn nothing_is_forgotten_where_nobody_can_be_asked() {
    let pinned = Pinned::with_clients("nobody");
    let before = pinned.clients();
    let output = limpet(pinned.root(), &["forget", "198.51.100.7"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("say --yes, or --dry-run"), "{output:?}");
    assert_eq!(pinned.clients(), before);
    assert_eq!(limpet(pinned.root(), &["forget"]).status.code(), Some(2), "whom?");
    assert_eq!(limpet(pinned.root(), &["forget", "198.51.100.7", "wep", "--yes"]).status.code(), Some(1));
}

#[test]
fn json_tells_how_many() {
    let pinned = Pinned::with_clients("count");
    let value = super::json(&limpet(pinned.root(), &["forget", "--service", "web", "--yes", "-o", "json"]));
    // One of the five was forgotten before.
    assert_eq!((&value["matched"], &value["forgotten"], &value["dry_run"]), (&json!(4), &json!(4), &json!(false)));
    assert_eq!(value["clients"].as_array().map(Vec::len), Some(4));
}

#[test]
fn what_is_forgotten_chooses_by_the_table() {
    let mut pinned = Pinned::new("then");
    let client = "198.51.100.7";
    // Where its slot does not lead.
    let elsewhere = if pinned::slot_of(client) == 1 { 2 } else { 1 };
    pinned.hold(client, web(), entry(elsewhere, now_seconds()));
    let why = || super::json(&limpet(pinned.root(), &["why", client, "web", "-o", "json"]))["services"][0].clone();
    assert_eq!(why()["by"], json!("map"));
    assert!(limpet(pinned.root(), &["forget", client, "--yes"]).status.success());
    let after = why();
    assert_eq!((&after["by"], &after["counts_as_break"]), (&json!("table"), &json!("forgotten")));
    assert_eq!(after["next"]["backend"], json!(format!("default/web-{}", pinned::slot_of(client) - 1)));
}

#[test]
fn a_client_that_moved_meanwhile_is_left_alone() {
    let mut pinned = Pinned::new("moved");
    let now = now_seconds();
    pinned.hold("198.51.100.7", web(), entry(1, now));
    pinned.note("198.51.100.8", web(), entry(1, now));
    let mut opened = read::open(&Pins::new(pinned.root())).unwrap();
    let (seen, _) = opened.clients(usize::MAX, |_| true).unwrap();
    assert_eq!(seen.len(), 2);
    // The first one gets another Pod, the second packet of the second one comes.
    pinned.hold("198.51.100.7", web(), entry(2, now));
    pinned.maps().v4.new_affinity.remove(&pinned::key4("198.51.100.8", web())).unwrap();
    pinned.hold("198.51.100.8", web(), entry(1, now));
    for client in &seen {
        let is_second = client.address.to_string() == "198.51.100.8";
        assert_eq!(opened.forget(client).unwrap(), is_second, "{client:?}");
    }
    let flags: Vec<u32> = pinned.clients().iter().map(|(.., value)| value.flags).collect();
    assert_eq!(flags, [0, affinity_flags::FORGOTTEN]);
    // And one that is there no more does not come back.
    pinned.maps().v4.affinity.remove(&pinned::key4("198.51.100.8", web())).unwrap();
    assert!(seen.iter().all(|client| !opened.forget(client).unwrap()));
    assert_eq!(pinned.clients().len(), 1);
}

/// A terminal: the end that a person sits at, and the end that a program has.
fn terminal() -> (File, OwnedFd) {
    let (mut person, mut program) = (-1, -1);
    let none: *mut libc::c_void = std::ptr::null_mut();
    // SAFETY: the two numbers outlive the call; no name, settings or size are asked for.
    let outcome = unsafe { libc::openpty(&raw mut person, &raw mut program, none.cast(), none.cast(), none.cast()) };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: open, and nobody else's.
    let person = unsafe { File::from_raw_fd(person) };
    // SAFETY: open, and nobody else's.
    let program = unsafe { OwnedFd::from_raw_fd(program) };
    (person, program)
}

#[test]
fn a_person_is_asked_and_only_yes_will_do() {
    for (answer, code, forgotten) in [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0)] {
        let pinned = Pinned::with_clients(&format!("ask-{}", answer.trim()));
        let before = pinned.clients();
        let (mut person, program) = terminal();
        person.write_all(answer.as_bytes()).unwrap();
        let mut child = command(pinned.root(), &["forget", "--service", "shop/cart"])
            .stdin(program)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{answer:?}: {said}");
        assert!(said.starts_with("Forget 1 client of shop/cart? [y/N] "), "{said}");
        assert_eq!(said.contains("nothing is forgotten"), forgotten == 0, "{said}");
        assert_eq!(changed(&before, &pinned.clients()).len(), forgotten, "{answer:?}");
    }
}
