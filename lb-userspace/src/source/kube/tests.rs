//! The whole source against an API server in the same process: what it asks for, and what it makes of the answers.

mod lists;
mod older;
mod server;

use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use self::server::Server;
use super::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn service(name: &str, port: u16) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"ports": [{"port": port}]}})
}

fn slice(name: &str, address: &str, trigger: Option<&str>) -> Value {
    let annotations = trigger.map(|time| json!({"endpoints.kubernetes.io/last-change-trigger-time": time}));
    json!({
        "metadata": {"name": name, "namespace": "default", "annotations": annotations},
        "addressType": "IPv4", "endpoints": [{"addresses": [address]}], "ports": [{"port": 80}],
    })
}

fn node(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}], "conditions": []},
    })
}

/// A server with one object of each kind.
fn server() -> Server {
    let server = Server::default();
    server.put(Kind::Services, service("web", 80));
    server.put(Kind::Slices, slice("web-1", "10.0.0.1", None));
    server.put(Kind::Nodes, node("n1"));
    server
}

fn follow(server: &Server) -> Kube {
    Kube::follow(server.client(), "https://api".to_owned(), None)
}

/// The Services as `name:port`, the numbers of slices and Nodes, and the problems.
type Seen = (Vec<String>, usize, usize, Vec<String>);

fn seen(kube: &mut Kube) -> Option<Seen> {
    let (snapshot, problems, _) = kube.read()?;
    let services = snapshot.services.iter().map(|service| {
        let ports = service.object.spec.as_ref().and_then(|spec| spec.ports.clone()).unwrap_or_default();
        let ports: Vec<String> = ports.iter().map(|port| port.port.to_string()).collect();
        format!("{}:{}", service.object.metadata.name.clone().unwrap_or_default(), ports.join(","))
    });
    let problems = problems.iter().map(ToString::to_string).collect();
    Some((services.collect(), snapshot.slices.len(), snapshot.nodes.len(), problems))
}

/// Reads whenever something has changed, until it is what is awaited.
async fn until(kube: &mut Kube, what: &str, is_it: impl Fn(&Seen) -> bool) -> Seen {
    let deadline = Instant::now() + PATIENCE;
    let mut last = seen(kube);
    loop {
        if let Some(seen) = last.take_if(|seen| is_it(seen)) {
            return seen;
        }
        let in_time = timeout_at(deadline, kube.changed()).await;
        assert!(in_time.is_ok(), "{what}: {last:?}, {:?}", kube.watcher().state());
        last = seen(kube).or(last);
    }
}

async fn until_services(kube: &mut Kube, expected: &[&str]) -> Seen {
    until(kube, &format!("{expected:?}"), |(services, ..)| services == expected).await
}

/// Waits for what nothing announces.
async fn eventually(what: &str, is_it: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_it() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nothing_is_known_before_all_three_lists_are_complete() {
    let server = server();
    for _ in 0..2 {
        server.refuse(Kind::Slices, StatusCode::SERVICE_UNAVAILABLE, "etcd is away");
    }
    let mut kube = follow(&server);
    let watcher = kube.watcher();
    eventually("a failure that is told", || watcher.state().error.is_some()).await;
    let state = watcher.state();
    assert!(!state.connected && state.disconnected_seconds.is_some(), "{state:?}");
    assert!(state.error.unwrap().contains("cannot list EndpointSlices at the moment (503: etcd is away)"));
    eventually("the watches of the others", || server.watches() == 2).await;
    assert_eq!(seen(&mut kube), None);
    assert_eq!(until_services(&mut kube, &["web:80"]).await, (vec!["web:80".to_owned()], 1, 1, vec![]));
    eventually("a connection", || watcher.state().connected).await;
    let state = watcher.state();
    assert_eq!((state.place.as_str(), state.error, state.relists), ("kube (https://api)", None, 0));
    assert_eq!(state.disconnected_seconds, None);
}

#[tokio::test]
async fn changes_are_followed() {
    let server = server();
    let mut kube = follow(&server);
    until_services(&mut kube, &["web:80"]).await;
    server.put(Kind::Services, service("api", 1));
    until_services(&mut kube, &["api:1", "web:80"]).await;
    server.put(Kind::Services, service("api", 2));
    until_services(&mut kube, &["api:2", "web:80"]).await;
    server.delete(Kind::Services, "web");
    until_services(&mut kube, &["api:2"]).await;
    assert_eq!(kube.watcher().seen().0, 4, "one at first, made, changed, deleted");
}

#[tokio::test]
async fn an_object_of_the_wrong_shape_harms_no_other_and_keeps_its_last_good_version() {
    let server = server();
    server.put(Kind::Services, json!({"metadata": {"name": "odd", "namespace": "default"}, "spec": {"ports": 7}}));
    server.put(Kind::Services, json!({"metadata": {"labels": "none at all"}}));
    let mut kube = follow(&server);
    let (_, _, _, problems) = until_services(&mut kube, &["web:80"]).await;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().any(|problem| problem.contains("Service default/odd")), "{problems:?}");

    server.put(Kind::Services, service("odd", 1));
    until_services(&mut kube, &["odd:1", "web:80"]).await;
    for broken in [json!([{"port": "http"}]), json!([{"port": 65_536}])] {
        let what = broken.to_string();
        let metadata = json!({"name": "odd", "namespace": "default"});
        server.put(Kind::Services, json!({"metadata": metadata, "spec": {"ports": broken}}));
        let has_it = |(services, _, _, problems): &Seen| {
            services == &["odd:1", "web:80"] && problems.iter().any(|problem| problem.contains("default/odd"))
        };
        until(&mut kube, &what, has_it).await;
    }
    server.put(Kind::Services, service("odd", 2));
    let (_, _, _, problems) = until_services(&mut kube, &["odd:2", "web:80"]).await;
    assert_eq!(problems.len(), 1, "the nameless one: {problems:?}");
}

#[tokio::test]
async fn a_watch_that_breaks_off_goes_on_from_where_it_was() {
    let server = server();
    let mut kube = follow(&server);
    until_services(&mut kube, &["web:80"]).await;
    eventually("three watches", || server.watches() == 3).await;
    server.put(Kind::Services, service("web", 81));
    until_services(&mut kube, &["web:81"]).await;
    let version = server.bookmark(Kind::Services);
    // The bookmark is behind the change in the same stream, and ahead of the cut.
    server.cut();
    server.put_unheard(Kind::Services, service("web", 82));
    until_services(&mut kube, &["web:82"]).await;
    let requests = server.requests();
    let last = requests.iter().rev().find(|request| request.starts_with("/api/v1/services?")).unwrap();
    assert!(last.contains(&format!("resourceVersion={version}")), "{last}");
    assert_eq!(kube.watcher().state().relists, 0);
    let watcher = kube.watcher();
    eventually("a connection", || watcher.state().connected).await;
}

#[tokio::test]
async fn what_is_gone_is_listed_anew_and_a_deletion_missed_meanwhile_is_found() {
    let server = server();
    server.put(Kind::Services, service("api", 1));
    let mut kube = follow(&server);
    until_services(&mut kube, &["api:1", "web:80"]).await;
    eventually("three watches", || server.watches() == 3).await;
    // As an event of the watch.
    server.delete_unheard(Kind::Services, "api");
    server.forget();
    server.cut();
    until_services(&mut kube, &["web:80"]).await;
    let watcher = kube.watcher();
    eventually("all three relisted", || watcher.state().relists == 3).await;
    eventually("three watches", || server.watches() == 3).await;
    // As the answer to the request.
    server.put_unheard(Kind::Services, service("new", 1));
    server.delete_unheard(Kind::Services, "web");
    server.refuse(Kind::Services, StatusCode::GONE, "too old resource version");
    server.cut();
    until_services(&mut kube, &["new:1"]).await;
    assert_eq!(kube.watcher().state().relists, 4);
}

#[tokio::test]
async fn whatever_is_answered_what_is_known_stays() {
    let server = server();
    let mut kube = follow(&server);
    until_services(&mut kube, &["web:80"]).await;
    let watcher = kube.watcher();
    for (code, body, expected) in [
        (StatusCode::UNAUTHORIZED, None, "does not accept this agent's credentials (401"),
        (StatusCode::FORBIDDEN, None, "does not let this agent read Services (403"),
        (StatusCode::TOO_MANY_REQUESTS, None, "has too much to do to list Services (429"),
        (StatusCode::INTERNAL_SERVER_ERROR, None, "cannot list Services at the moment (500"),
        (StatusCode::BAD_GATEWAY, Some("<html>nobody is at home</html>"), "502"),
        (StatusCode::OK, Some("<html>log in first</html>\n"), "answered with something else than Services"),
    ] {
        eventually("three watches", || server.watches() == 3 && watcher.state().connected).await;
        match body {
            Some(body) => server.reply(Kind::Services, code, body),
            None => server.refuse(Kind::Services, code, "no"),
        }
        server.beat();
        server.cut();
        let is_told = || watcher.state().error.is_some_and(|error| error.contains(expected));
        eventually(expected, is_told).await;
        assert!(!watcher.state().connected);
        assert_eq!(seen(&mut kube).unwrap().0, ["web:80"], "{expected}");
    }
    eventually("a connection", || watcher.state().connected).await;
}

#[tokio::test]
async fn lines_that_are_no_events_lose_no_change() {
    let server = server();
    let mut kube = follow(&server);
    until_services(&mut kube, &["web:80"]).await;
    eventually("three watches", || server.watches() == 3).await;
    for line in ["{\"type\": \"SUDDENLY\", \"object\": {}}", "hello", "{\"type\": \"ADDED\"}"] {
        server.put_unheard(Kind::Services, service("lost", 1));
        server.tell(Kind::Services, line.to_owned());
        until_services(&mut kube, &["lost:1", "web:80"]).await;
        server.delete_unheard(Kind::Services, "lost");
        eventually("three watches", || server.watches() == 3).await;
        server.tell(Kind::Services, line.to_owned());
        until_services(&mut kube, &["web:80"]).await;
        eventually("three watches", || server.watches() == 3).await;
        server.beat();
    }
}

#[tokio::test]
async fn a_node_that_says_it_is_well_is_no_change() {
    let server = server();
    let mut kube = follow(&server);
    until_services(&mut kube, &["web:80"]).await;
    eventually("three watches", || server.watches() == 3).await;
    let mut beat = node("n1");
    beat["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    server.put(Kind::Nodes, beat);
    server.put(Kind::Nodes, node("n2"));
    let (_, _, nodes, _) = until(&mut kube, "the other Node", |(_, _, nodes, _)| *nodes == 2).await;
    assert_eq!(nodes, 2);
    let mut beat = node("n1");
    beat["status"]["conditions"] = json!([{"type": "Ready", "status": "Unknown"}]);
    server.put(Kind::Nodes, beat);
    // Heard, for the bookmark behind it is; and nothing to do.
    let version = server.bookmark(Kind::Nodes);
    server.cut();
    eventually("the bookmark", || {
        server.requests().iter().any(|it| it.contains(&format!("resourceVersion={version}")))
    })
    .await;
    assert!(timeout(Duration::from_millis(100), kube.changed()).await.is_err());
}

#[tokio::test]
async fn the_time_of_changes_is_told_of_those_after_the_start() {
    let server = server();
    server.put(Kind::Slices, slice("old", "10.0.0.2", Some("2020-01-01T00:00:00Z")));
    let mut kube = follow(&server);
    until_services(&mut kube, &["web:80"]).await;
    eventually("three watches", || server.watches() == 3).await;
    let now = (Timestamp::now() + Duration::from_secs(1)).to_string();
    server.put(Kind::Slices, slice("new", "10.0.0.3", Some(&now)));
    server.put(Kind::Slices, slice("odd", "10.0.0.4", Some("yesterday")));
    let mut triggers = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        timeout_at(deadline, kube.changed()).await.unwrap();
        let (snapshot, _, changes) = kube.read().unwrap();
        triggers.extend(changes.triggers);
        if snapshot.slices.len() == 4 {
            assert_eq!(changes.endpoint_changes, 4);
            break;
        }
    }
    assert_eq!(triggers, [now.parse::<Timestamp>().unwrap()]);
}

#[tokio::test]
async fn a_change_is_told_though_nobody_waited_for_it_to_the_end() {
    let server = server();
    let mut kube = follow(&server);
    until_services(&mut kube, &["web:80"]).await;
    eventually("three watches", || server.watches() == 3).await;
    server.put(Kind::Services, service("web", 81));
    // Dropped between the news and the end of its pause.
    let watcher = kube.watcher();
    eventually("the change", || watcher.seen().0 == 2).await;
    let mut is_told = false;
    for _ in 0..3 {
        // A slow machine may come to the end of the pause here.
        is_told |= timeout(Duration::ZERO, kube.changed()).await.is_ok();
    }
    if !is_told {
        timeout(PATIENCE, kube.changed()).await.unwrap();
    }
    assert_eq!(seen(&mut kube).unwrap().0, ["web:81"]);
}

#[tokio::test]
async fn an_api_server_that_is_away_is_named() {
    // A port that was free just now.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let config = kube::Config::new(place.parse().unwrap());
    let mut kube = Kube::follow(Client::try_from(config).unwrap(), place.clone(), None);
    let watcher = kube.watcher();
    eventually("a failure", || watcher.state().error.is_some()).await;
    let error = watcher.state().error.unwrap();
    assert!(error.starts_with(&format!("cannot reach {place}: ")) && error.contains("nobody listens there"), "{error}");
    assert_eq!(seen(&mut kube), None);
}
