//! Lists: how they are asked for, and answers that are none.

use super::*;

#[tokio::test]
async fn lists_come_in_pages_and_with_kube_proxys_selectors() {
    let server = server();
    for number in 0..1200 {
        server.put(Kind::Services, service(&format!("s{number}"), 80));
    }
    let mut kube = follow(&server);
    until(&mut kube, "all Services", |(services, ..)| services.len() == 1201).await;
    eventually("three watches", || server.watches() == 3).await;
    let of = |path: &str| -> Vec<String> {
        server.requests().into_iter().filter(|request| request.starts_with(&format!("{path}?"))).collect()
    };
    let services = of("/api/v1/services");
    assert_eq!(services.len(), 4, "three pages and a watch: {services:?}");
    for request in &services {
        assert!(request.contains("labelSelector=%21service.kubernetes.io%2Fservice-proxy-name"), "{request}");
        assert!(request.contains("fieldSelector=spec.clusterIP%21%3DNone"), "{request}");
    }
    assert!(services[1].contains("continue=500") && services[2].contains("continue=1000"), "{services:?}");
    assert!(services[3].contains("watch=true") && services[3].contains("allowWatchBookmarks=true"), "{services:?}");
    for request in of("/apis/discovery.k8s.io/v1/endpointslices") {
        assert!(request.contains("labelSelector=%21service.kubernetes.io%2Fheadless"), "{request}");
    }
    for request in of("/api/v1/nodes") {
        assert!(!request.contains("Selector"), "{request}");
    }
}

#[tokio::test]
async fn a_list_that_is_none_changes_nothing() {
    let server = server();
    let mut kube = follow(&server);
    until_services(&mut kube, &["web:80"]).await;
    let watcher = kube.watcher();
    for (body, expected) in [
        ("{\"kind\": \"ServiceList\", \"items\": [", "EOF"),
        ("{\"kind\": \"ServiceList\", \"metadata\": {}, \"items\": []}", "without resourceVersion"),
        ("[1, 2]", "something else than Services"),
        ("{\"metadata\": {\"resourceVersion\": \"7\"}}", "missing field `items`"),
    ] {
        eventually("three watches", || server.watches() == 3 && watcher.state().connected).await;
        server.refuse(Kind::Services, StatusCode::GONE, "too old");
        server.reply(Kind::Services, StatusCode::OK, body);
        server.beat();
        server.cut();
        eventually(expected, || watcher.state().error.is_some_and(|error| error.contains(expected))).await;
        assert_eq!(seen(&mut kube).unwrap().0, ["web:80"], "{body}");
    }
}

#[tokio::test]
async fn a_list_that_never_ends_is_told_and_asked_for_anew() {
    let server = server();
    let page = "{\"metadata\": {\"resourceVersion\": \"7\", \"continue\": \"more\"}, \"items\": null}";
    // Two lists of two pages: the first failure of this kind is not told.
    for _ in 0..4 {
        server.reply(Kind::Services, StatusCode::OK, page);
    }
    let mut kube = follow(&server);
    let watcher = kube.watcher();
    eventually("the end of it", || watcher.state().error.is_some_and(|error| error.contains("does not end"))).await;
    assert_eq!(seen(&mut kube), None);
    until_services(&mut kube, &["web:80"]).await;
}

#[tokio::test]
async fn what_changes_between_two_pages_is_not_lost() {
    let server = server();
    let mut old = service("web", 80);
    old["metadata"]["resourceVersion"] = "1".into();
    let page = json!({"metadata": {"resourceVersion": "3", "continue": "1"}, "items": [old]});
    server.reply(Kind::Services, StatusCode::OK, page.to_string());
    server.put_unheard(Kind::Services, service("web", 81));
    server.put_unheard(Kind::Services, service("xyz", 1));
    // The second page is of a later version than the first, and does not have what was on that.
    until_services(&mut follow(&server), &["web:81", "xyz:1"]).await;
}

/// After an outage there once was half a minute between the list and the watch.
#[tokio::test]
async fn after_a_list_changes_are_followed_at_once_however_long_it_failed() {
    let server = server();
    for _ in 0..3 {
        server.refuse(Kind::Services, StatusCode::SERVICE_UNAVAILABLE, "etcd is away");
    }
    let mut kube = follow(&server);
    until_services(&mut kube, &["web:80"]).await;
    let begun = Instant::now();
    server.put(Kind::Services, service("web", 81));
    until_services(&mut kube, &["web:81"]).await;
    // The pause after a third failure is a second and more.
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
}
