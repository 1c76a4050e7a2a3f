//! The agent with the API server as its source, while everything between the two goes wrong that can.
//!
//! Each scenario ends with `limpet status` in step and the maps read back equal to what the model makes of the final
//! objects (`Place::missing_steps`). Needs root and a BPF file system.
//!
//! `LIMPET_TEST_KUBECONFIG=FILE` runs them against the real cluster of that kubeconfig, as whoever it says: objects are made in
//! namespaces `limpet-test-*`, which are removed at the end, and our faults stand between the cluster and the agent. What
//! needs a store of our own is left out then, and said so.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod cases;
mod cluster;
#[path = "../support/enter.rs"]
mod enter;
mod objects;
mod place;

use cases::{away, following, huge, impossible, refusals, start};
use cluster::VARIABLE;
use limpet_lab::api_server::{ApiServer, Kind, Options};
use place::Place;

/// A short name, how large pages of lists are, and what happens.
type Scenario = (&'static str, Option<u32>, fn(&mut Place));

/// What can be done with any cluster.
const WITH_ANY_CLUSTER: [Scenario; 16] = [
    ("churn", None, following::churn_is_followed),
    ("cut", None, following::cut_watches),
    ("mid-line", None, following::watches_cut_within_a_line),
    ("gone", None, following::versions_that_are_gone),
    ("slow", None, following::slow_answers),
    ("pages", Some(2), following::pages_that_expire),
    ("garbage", None, refusals::garbage),
    ("errors", None, refusals::server_errors),
    ("forbidden", None, refusals::forbidden),
    ("token", None, refusals::a_token_that_expires),
    ("certificates", None, start::certificates_that_cannot_be_trusted),
    ("incomplete", None, start::lists_of_which_one_hangs),
    ("away", None, away::a_server_that_is_away),
    ("hidden", None, away::another_certificate_later),
    ("restart", None, away::an_agent_that_restarts_meanwhile),
    ("late", None, away::a_server_that_comes_late),
];

/// Takes the minute for which kube's client keeps a token, and nothing in it depends on what is behind the faults.
const LONG: &str = "token";

#[test]
fn churn_is_followed() {
    run("churn");
}

#[test]
fn cut_watches_lose_nothing() {
    run("cut");
}

#[test]
fn watches_cut_within_a_line_lose_nothing() {
    run("mid-line");
}

#[test]
fn a_watch_that_is_gone_leads_to_a_new_list() {
    run("gone");
}

#[test]
fn slow_answers_are_waited_for() {
    run("slow");
}

#[test]
fn a_list_whose_pages_expire_is_begun_anew() {
    run("pages");
}

#[test]
fn garbage_is_nothing_new() {
    run("garbage");
}

#[test]
fn server_errors_and_throttling_pass() {
    run("errors");
}

#[test]
fn what_is_forbidden_is_named() {
    run("forbidden");
}

#[test]
fn a_token_that_expires_is_read_anew() {
    run("token");
}

#[test]
fn certificates_that_cannot_be_trusted_are_named_and_nothing_is_programmed() {
    run("certificates");
}

#[test]
fn nothing_is_programmed_while_one_list_is_missing() {
    run("incomplete");
}

#[test]
fn a_deletion_that_nobody_told_of_is_found() {
    run("away");
}

#[test]
fn a_server_that_cannot_be_trusted_any_more_changes_nothing() {
    run("hidden");
}

#[test]
fn an_agent_that_restarts_while_the_server_is_away_leaves_the_datapath_as_it_was() {
    run("restart");
}

#[test]
fn a_server_that_comes_later_than_the_agent_is_found() {
    run("late");
}

#[test]
fn an_old_view_passes() {
    run_with_own_store("old", None, away::an_old_view);
}

#[test]
fn another_history_is_listed_anew() {
    run_with_own_store("history", None, away::another_history);
}

#[test]
fn pages_of_a_compacted_history_are_asked_for_anew() {
    run_with_own_store("compacted", Some(2), following::pages_of_a_compacted_history);
}

#[test]
fn impossible_objects_are_named_and_harm_nobody() {
    run_with_own_store("impossible", None, impossible::impossible_objects);
}

#[test]
fn a_hundred_thousand_endpoints_take_nobody_along() {
    run_with_own_store("huge", None, huge::a_hundred_thousand_endpoints);
}

/// The way that `LIMPET_TEST_KUBECONFIG` takes, with our own server as the cluster: it is a real one to the scenarios, which
/// know it by its kubeconfig alone.
#[test]
fn what_any_cluster_can_do_passes_through_the_proxy() {
    let server = ApiServer::start(Options::default()).unwrap();
    for (name, last) in [("n1", 1), ("n2", 2)] {
        server.apply(objects::node(name, last)).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("cluster");
    server.kubeconfig(&kubeconfig).unwrap();
    for (name, pages, scenario) in WITH_ANY_CLUSTER.into_iter().filter(|(name, _, _)| *name != LONG) {
        scenario(&mut Place::beside(name, pages, Some(&kubeconfig)));
        assert_eq!(server.objects(Kind::Namespace).unwrap(), Vec::<serde_json::Value>::new(), "{name} leaves nothing");
        assert_eq!(server.objects(Kind::Service).unwrap(), Vec::<serde_json::Value>::new(), "{name} leaves nothing");
    }
}

fn run(name: &str) {
    let (name, pages, scenario) = WITH_ANY_CLUSTER.into_iter().find(|(other, _, _)| *other == name).unwrap();
    scenario(&mut Place::new(name, pages));
}

fn run_with_own_store(name: &str, pages: Option<u32>, scenario: fn(&mut Place)) {
    if std::env::var_os(VARIABLE).is_some() {
        println!("left out: {name} needs faults of the store, which a real cluster's ({VARIABLE}) cannot be given");
        return;
    }
    scenario(&mut Place::new(name, pages));
}
