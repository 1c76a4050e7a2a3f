//! What the session test relies on in the lab itself, without Limpet: sessions live in one process, and the lab breaks
//! what it says it breaks, and nothing else.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use limpet_lab::address::{self, Family};
use limpet_lab::client::{Client, Session};
use limpet_lab::sessions::{Counts, Crowd, Mode};
use limpet_lab::{Lab, Options, wait};

/// How long it may take until a node that is connected again is reached.
const BACK_LIMIT: Duration = Duration::from_secs(10);

fn lab() -> Lab {
    Lab::start(Options { agents: false, ..Options::default() }).unwrap()
}

fn from(client: &Client, to: SocketAddr, index: u8) -> SocketAddr {
    let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
    SocketAddr::new(client.address(family, index), 0)
}

fn post(client: &Client, to: SocketAddr, index: u8, value: u64) -> Session {
    client.tcp(to, Some(from(client, to, index))).unwrap().post(value).unwrap()
}

fn get(client: &Client, to: SocketAddr, index: u8) -> Option<u64> {
    client.tcp(to, Some(from(client, to, index))).unwrap().get().unwrap().value
}

#[test]
fn a_session_is_in_the_memory_of_one_process() {
    let mut lab = lab();
    let client = lab.client(1);
    let place = |name: &str| lab.world().pod(name).unwrap().socket(Family::V6);
    let (pod, other) = (place("p1-1"), place("p1-2"));
    let stored = post(&client, pod, 2, 7);
    let own = client.address(Family::V6, 2);
    assert_eq!(stored, Session { pod: "p1-1".to_owned(), client: own, value: Some(7) });
    assert_eq!(get(&client, pod, 2), Some(7));
    assert_eq!(get(&client, pod, 3), None, "another client's");
    assert_eq!(get(&client, other, 2), None, "another Pod's");

    lab.stop_server("p1-1").unwrap();
    assert!(client.tcp(pod, None).is_err(), "the server is stopped");
    assert_eq!(get(&client, other, 2), None);
    lab.start_server_again("p1-1").unwrap();
    assert_eq!(get(&client, pod, 2), None, "a new process knows nothing");
    assert!(lab.start_server_again("p1-1").is_err(), "there is one already");
    lab.end().unwrap();
}

#[test]
fn a_crowd_loses_each_session_of_a_server_that_restarts_once_and_no_other() {
    let mut lab = lab();
    let users = |lab: &Lab, number: u8, pod: &str| {
        let client = lab.client(number);
        let to = lab.world().pod(pod).unwrap().socket(Family::V4);
        let users = (2..=41).map(|index| (client.address(Family::V4, index), to)).collect();
        (client, users)
    };
    let crowd = Crowd::new(vec![users(&lab, 1, "p1-1"), users(&lab, 2, "p2-1")]);
    crowd
        .keep_asking(|| {
            crowd.whole_round()?;
            // The last ones say nothing any more: they must not notice.
            assert_eq!(crowd.set_mode(Mode::Quiet, |position, _| position % 40 >= 30), 20);
            lab.stop_server("p2-1")?;
            crowd.someone_tries_again()?;
            lab.start_server_again("p2-1")?;
            crowd.whole_round()
        })
        .unwrap();

    let mut sum = Counts::default();
    for (position, user) in crowd.standings().into_iter().enumerate() {
        let of_restarted = position >= 40;
        assert_eq!(user.pod.unwrap(), if of_restarted { "p2-1" } else { "p1-1" });
        assert_eq!(user.counts.lost, u64::from(of_restarted && position % 40 < 30), "user {position}");
        sum += user.counts;
    }
    assert!(sum.retried > 0 && sum.unanswered == 0, "{sum:?}");
    lab.end().unwrap();
}

#[test]
fn a_node_that_is_cut_off_is_silent_until_it_is_connected_again() {
    let lab = lab();
    let client = lab.client(2);
    let place = |name: &str| lab.world().pod(name).unwrap().socket(Family::V4);
    lab.cut_off(2).unwrap();
    assert!(client.tcp_who(place("p2-1"), None).is_err());
    assert_eq!(client.tcp_who(place("p3-1"), None).unwrap().pod, "p3-1");
    lab.reconnect(2).unwrap();
    // The router asks the failed neighbour again at most once a second.
    let answer = wait::until("an answer from p2-1", BACK_LIMIT, || client.tcp_who(place("p2-1"), None).map(Some));
    assert_eq!(answer.unwrap().pod, "p2-1");
    lab.end().unwrap();
}

#[test]
fn a_client_with_a_way_of_its_own_is_sent_there_and_nobody_else() {
    let lab = lab();
    let ways = || -> Vec<String> {
        let of = |(client, family)| gateway(&lab, client, family);
        [(1, Family::V4), (1, Family::V6), (2, Family::V4), (2, Family::V6)].map(of).to_vec()
    };
    let node = |node: u8| Family::BOTH.map(|family| address::node(family, node).to_string());
    let expected = |c1: u8, c2: u8| [node(c1), node(c2)].concat();
    assert_eq!(ways(), expected(1, 1));
    lab.route_client_via(2, None).unwrap();
    assert_eq!(ways(), expected(1, 1));
    lab.route_client_via(2, Some(3)).unwrap();
    assert_eq!(ways(), expected(1, 3));
    lab.route_frontends_via(2).unwrap();
    assert_eq!(ways(), expected(2, 3));
    lab.route_client_via(2, None).unwrap();
    assert_eq!(ways(), expected(2, 2));
    lab.end().unwrap();
}

/// The node that the router hands a client's packets for load-balancer IPs to.
fn gateway(lab: &Lab, client: u8, family: Family) -> String {
    let router = lab.namespaces().into_iter().find(|namespace| namespace.name().ends_with("-router")).unwrap();
    let to = address::load_balancer_ip(family, 1).to_string();
    let from = address::client(family, client, 9).to_string();
    let port = format!("c{client}");
    let output =
        router.run(|| Ok(Command::new("ip").args(["route", "get", &to, "from", &from, "iif", &port]).output()?));
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "via").unwrap_or_else(|| panic!("no gateway in {text:?}"));
    words[at + 1].to_owned()
}
