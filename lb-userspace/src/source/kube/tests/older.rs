//! Answers that are older than what was seen: nobody goes back in time for a server that lags.

use super::*;

#[tokio::test]
async fn a_list_of_a_server_that_lags_changes_nothing() {
    let server = server();
    let mut kube = follow(&server);
    until_services(&mut kube, &["web:80"]).await;
    let watcher = kube.watcher();
    eventually("three watches", || server.watches() == 3 && watcher.state().connected).await;
    server.put(Kind::Services, service("web", 81));
    until_services(&mut kube, &["web:81"]).await;
    let mut old = service("web", 80);
    old["metadata"]["resourceVersion"] = "1".into();
    let list = json!({"metadata": {"resourceVersion": "2"}, "items": [old]});
    server.refuse(Kind::Services, StatusCode::GONE, "too old");
    server.reply(Kind::Services, StatusCode::OK, list.to_string());
    server.cut();
    let expected = "answered with an older state of Services (version 2) than this node has seen (4)";
    eventually(expected, || watcher.state().error.is_some_and(|error| error.contains(expected))).await;
    assert!(!watcher.state().connected);
    assert_eq!(seen(&mut kube).unwrap().0, ["web:81"]);
    server.put(Kind::Services, service("api", 1));
    until_services(&mut kube, &["api:1", "web:81"]).await;
}

#[tokio::test]
async fn a_change_that_is_older_is_not_taken_in() {
    let server = server();
    let mut kube = follow(&server);
    until_services(&mut kube, &["web:80"]).await;
    let watcher = kube.watcher();
    for verb in ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"] {
        eventually("three watches", || server.watches() == 3 && watcher.state().connected).await;
        server.beat();
        let relists = watcher.state().relists;
        let mut old = service("web", 99);
        old["metadata"]["resourceVersion"] = "1".into();
        server.tell(Kind::Services, json!({"type": verb, "object": old}).to_string());
        eventually("all Services to be listed anew", || watcher.state().relists > relists).await;
        assert_eq!(seen(&mut kube).unwrap().0, ["web:80"], "{verb}");
    }
}

/// A server that was put back says nothing to a watch from a version that it does not know yet.
#[tokio::test]
async fn a_cluster_that_was_put_back_is_followed_after_a_while() {
    let server = server();
    let waits = Waits { silence: Duration::from_millis(500), doubt: Duration::from_secs(1) };
    let mut kube = Kube::follow_with(server.client(), "https://api".to_owned(), None, waits);
    until_services(&mut kube, &["web:80"]).await;
    server.put(Kind::Services, service("web", 81));
    until_services(&mut kube, &["web:81"]).await;
    let before = Instant::now();
    server.put_back();
    server.put_unheard(Kind::Services, service("old", 1));
    let watcher = kube.watcher();
    let is_doubted = || watcher.state().error.is_some_and(|error| error.contains("older state of"));
    eventually("the older state to be told", is_doubted).await;
    until_services(&mut kube, &["old:1"]).await;
    assert!(before.elapsed() >= waits.doubt, "{:?}", before.elapsed());
    eventually("all kinds to be followed", || watcher.state().connected && server.watches() == 3).await;
    server.put(Kind::Services, service("old", 2));
    until_services(&mut kube, &["old:2"]).await;
}
