//! Watches, as long as nothing goes wrong.

use std::time::Duration;

use serde_json::json;

use super::client::Client;
use super::{node, server, service};
use crate::api_server::{ApiServer, Kind, Options};

#[tokio::test]
async fn a_watch_tells_what_changed_since_the_list() {
    let server = server();
    let client = Client::of(&server);
    server.apply(service("a")).unwrap();
    let list = client.get("/api/v1/services").await.json();
    server.apply(service("b")).unwrap();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = client.watch(&format!("/api/v1/services?watch=1&resourceVersion={version}")).await;
    let first = watch.next().await.unwrap().unwrap();
    assert_eq!((first["type"].as_str(), &first["object"]["kind"]), (Some("ADDED"), &json!("Service")));
    let mut changed = service("a");
    changed["spec"]["clusterIP"] = json!("10.96.0.9");
    server.apply(changed).unwrap();
    server.apply(node("n1")).unwrap();
    server.delete(Kind::Service, "lab", "b").unwrap();
    assert_eq!(watch.event().await, "MODIFIED a");
    let gone = watch.next().await.unwrap().unwrap();
    assert_eq!((gone["type"].as_str(), gone["object"]["metadata"]["name"].as_str()), (Some("DELETED"), Some("b")));
    assert_eq!(gone["object"]["metadata"]["resourceVersion"], server.version().unwrap().to_string());
}

#[tokio::test]
async fn without_a_version_a_watch_begins_with_what_is_there() {
    let server = server();
    let client = Client::of(&server);
    server.apply(node("n1")).unwrap();
    for query in ["watch=1", "watch=true&resourceVersion=0"] {
        assert_eq!(client.watch(&format!("/api/v1/nodes?{query}")).await.event().await, "ADDED n1");
    }
}

#[tokio::test]
async fn what_begins_or_stops_to_match_is_added_or_deleted() {
    let server = server();
    let client = Client::of(&server);
    let path = "/api/v1/namespaces/lab/services?watch=1&labelSelector=%21proxy&fieldSelector=spec.clusterIP%21%3DNone";
    let mut watch = client.watch(path).await;
    let labelled = |is_labelled: bool, cluster_ip: &str| {
        let mut object = service("a");
        object["metadata"]["labels"] = if is_labelled { json!({"proxy": ""}) } else { json!({}) };
        object["spec"]["clusterIP"] = json!(cluster_ip);
        server.apply(object).unwrap()
    };
    labelled(true, "10.0.0.1");
    labelled(false, "10.0.0.1");
    assert_eq!(watch.event().await, "ADDED a");
    labelled(false, "10.0.0.2");
    assert_eq!(watch.event().await, "MODIFIED a");
    labelled(true, "10.0.0.3");
    let gone = watch.next().await.unwrap().unwrap();
    assert_eq!(gone["type"], "DELETED");
    assert_eq!(gone["object"]["spec"]["clusterIP"], "10.0.0.2", "as it was when it matched");
    labelled(false, "None");
    labelled(false, "10.0.0.4");
    assert_eq!(watch.event().await, "ADDED a");
    server.delete(Kind::Service, "lab", "a").unwrap();
    assert_eq!(watch.event().await, "DELETED a");
}

#[tokio::test]
async fn bookmarks_say_how_far_it_has_come_and_time_ends_it() {
    let options = Options { tls: false, bookmarks: Duration::from_millis(10), ..Options::default() };
    let server = ApiServer::start(options).unwrap();
    let client = Client::of(&server);
    server.apply(node("n1")).unwrap();
    let version = server.version().unwrap();
    let path = format!("/api/v1/services?watch=1&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion={version}");
    let mut watch = client.watch(&path).await;
    let bookmark = watch.next().await.unwrap().unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["kind"], "Service");
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], version.to_string());
    server.apply(node("n2")).unwrap();
    let mut last = bookmark;
    while let Some(line) = watch.next().await.unwrap() {
        assert_eq!(line["type"], "BOOKMARK");
        last = line;
    }
    assert_eq!(last["object"]["metadata"]["resourceVersion"], (version + 1).to_string());
}

#[tokio::test]
async fn no_bookmarks_are_told_to_whom_they_mean_nothing() {
    let options = Options { tls: false, bookmarks: Duration::from_millis(10), ..Options::default() };
    let server = ApiServer::start(options).unwrap();
    let client = Client::of(&server);
    let mut watch = client.watch("/api/v1/services?watch=1&timeoutSeconds=1").await;
    assert_eq!(watch.next().await.unwrap(), None, "nothing but the end");
    let refused = client.get("/api/v1/services?watch=1&sendInitialEvents=true").await;
    assert_eq!(refused.code, 422);
}

#[tokio::test]
async fn a_version_that_is_forgotten_is_gone() {
    let server = ApiServer::start(Options { tls: false, history: 2, ..Options::default() }).unwrap();
    let client = Client::of(&server);
    let version = server.version().unwrap();
    for name in ["a", "b", "c"] {
        server.apply(service(name)).unwrap();
    }
    let mut watch = client.watch(&format!("/api/v1/services?watch=1&resourceVersion={version}")).await;
    let line = watch.next().await.unwrap().unwrap();
    assert_eq!((line["type"].as_str(), line["object"]["code"].as_u64()), (Some("ERROR"), Some(410)));
    assert_eq!(watch.next().await.unwrap(), None);
    let mut watch = client.watch(&format!("/api/v1/services?watch=1&resourceVersion={}", version + 1)).await;
    assert_eq!(watch.event().await, "ADDED b");
    server.compact().unwrap();
    server.apply(service("d")).unwrap();
    assert_eq!(watch.event().await, "ADDED c");
}
