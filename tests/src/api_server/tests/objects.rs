//! Objects: made, changed, removed, listed.

use hyper::Method;
use serde_json::json;

use super::client::Client;
use super::{node, server, service};
use crate::api_server::{ApiServer, Kind, Options, Verb};

const SERVICES: &str = "/api/v1/namespaces/lab/services";

#[tokio::test]
async fn objects_are_written_as_kubernetes_lets_them_be() {
    let server = server();
    let client = Client::of(&server);
    let mut web = service("web");
    web["status"] = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}});
    let made = client.send(Method::POST, SERVICES, &web).await;
    assert_eq!(made.code, 201);
    let made = made.json();
    assert_eq!(made.get("status"), None, "a status is not taken with the object");
    assert!(made["metadata"]["uid"].is_string() && made["metadata"]["creationTimestamp"].is_string());

    let again = client.send(Method::POST, SERVICES, &web).await;
    assert_eq!((again.code, again.json()["reason"].as_str()), (409, Some("AlreadyExists")));
    let web_path = format!("{SERVICES}/web");
    let status = client.send(Method::PATCH, &format!("{web_path}/status"), &json!({"status": web["status"]})).await;
    assert_eq!(status.json()["status"], web["status"]);

    let mut newer = client.get(&web_path).await.json();
    newer["spec"]["ports"][0]["port"] = json!(81);
    newer["status"] = json!({});
    let replaced = client.send(Method::PUT, &web_path, &newer).await.json();
    assert_eq!((&replaced["spec"]["ports"][0]["port"], &replaced["status"]), (&json!(81), &web["status"]));
    assert_eq!(replaced["metadata"]["uid"], made["metadata"]["uid"]);
    let conflict = client.send(Method::PUT, &web_path, &newer).await;
    assert_eq!((conflict.code, conflict.json()["reason"].as_str()), (409, Some("Conflict")));

    let patch = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"clusterIP": null}});
    let patched = client.send(Method::PATCH, &web_path, &patch).await.json();
    assert_eq!(patched["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(client.send(Method::DELETE, &web_path, &json!({})).await.code, 200);
    assert_eq!(client.get(&web_path).await.code, 404);
    assert_eq!(client.send(Method::DELETE, &web_path, &json!({})).await.code, 404);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_status() {
    let server = server();
    let client = Client::of(&server);
    let check = async |method: Method, path: &str, content_type: &str, body: &str, code: u16| {
        let said = client.ask(method, path, content_type, body).await.unwrap();
        let status = said.json();
        assert_eq!(
            (said.code, status["kind"].as_str(), status["code"].as_u64()),
            (code, Some("Status"), Some(code.into())),
            "{path} {body}"
        );
    };
    let json = "application/json";
    check(Method::POST, SERVICES, json, "{", 400).await;
    check(Method::POST, SERVICES, json, "[]", 400).await;
    check(Method::POST, SERVICES, json, "{\"kind\": \"Node\", \"metadata\": {\"name\": \"x\"}}", 400).await;
    check(Method::POST, SERVICES, json, "{\"metadata\": {\"name\": \"x\", \"namespace\": \"other\"}}", 400).await;
    check(Method::POST, SERVICES, json, "{}", 400).await;
    check(Method::POST, SERVICES, json, "{\"metadata\": {}}", 422).await;
    check(Method::PUT, &format!("{SERVICES}/web"), json, "{}", 404).await;
    check(Method::GET, "/api/v1/pods", "", "", 404).await;
    check(Method::GET, "/api/v1/services?labelSelector=a%20b", "", "", 400).await;
    let huge = "x".repeat(4 << 20);
    check(Method::POST, SERVICES, json, &huge, 413).await;
    server.apply(service("web")).unwrap();
    check(Method::PATCH, &format!("{SERVICES}/web"), "application/apply-patch+yaml", "{}", 415).await;
    check(
        Method::PATCH,
        &format!("{SERVICES}/web"),
        "application/merge-patch+json",
        "{\"metadata\": {\"name\": \"x\"}}",
        400,
    )
    .await;
}

#[tokio::test]
async fn a_namespace_takes_what_is_in_it_along() {
    let server = server();
    let client = Client::of(&server);
    client.send(Method::POST, "/api/v1/namespaces", &json!({"metadata": {"name": "lab"}})).await;
    server.apply(service("web")).unwrap();
    let mut other = service("web");
    other["metadata"]["namespace"] = json!("other");
    server.apply(other).unwrap();
    assert_eq!(client.send(Method::DELETE, "/api/v1/namespaces/lab", &json!({})).await.code, 200);
    let left = client.get("/api/v1/services").await.json();
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    assert_eq!(client.get("/api/v1/namespaces").await.json()["items"], json!([]));
}

#[tokio::test]
async fn lists_are_selected_and_paged() {
    let server = ApiServer::start(Options { tls: false, largest_page: Some(2), ..Options::default() }).unwrap();
    let client = Client::of(&server);
    for name in ["a", "b", "c", "d", "e"] {
        let mut service = service(name);
        if name == "b" {
            service["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": ""});
        }
        if name == "d" {
            service["spec"]["clusterIP"] = json!("None");
        }
        server.apply(service).unwrap();
    }
    let query = "labelSelector=%21service.kubernetes.io%2Fservice-proxy-name&fieldSelector=spec.clusterIP%21%3DNone";
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/api/v1/services?{query}&limit=500{token}")).await.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        assert_eq!(page["metadata"].get("remainingItemCount"), None, "not with selectors");
        names.extend(items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()));
        match page["metadata"]["continue"].as_str() {
            Some(next) => token = format!("&continue={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["a", "c", "e"]);
    let verbs: Vec<_> = server.asked().iter().filter_map(|asked| asked.what).collect();
    assert_eq!(verbs, [(Verb::List, Kind::Service), (Verb::NextPage, Kind::Service)]);
}

#[tokio::test]
async fn tokens_are_checked_and_expire() {
    let server = server();
    let client = Client::of(&server);
    assert_eq!(client.get("/version").await.json()["gitVersion"], "v1.36.0+limpet-lab");
    server.expire_tokens();
    let refused = client.get("/version").await;
    assert_eq!((refused.code, refused.json()["reason"].as_str()), (401, Some("Unauthorized")));
    assert_eq!(Client::of(&server).get("/version").await.code, 200);
}

#[tokio::test]
async fn events_of_both_apis_are_kept() {
    let server = server();
    let client = Client::of(&server);
    for (path, name) in [("/api/v1", "core"), ("/apis/events.k8s.io/v1", "new")] {
        let event = json!({"metadata": {"name": name, "namespace": "lab"}, "reason": "Test"});
        let path = format!("{path}/namespaces/lab/events");
        assert_eq!(client.send(Method::POST, &path, &event).await.code, 201);
        assert_eq!(client.send(Method::POST, &path, &event).await.code, 409);
    }
    let names: Vec<_> = server.events().unwrap().iter().map(|event| event["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["core", "new"]);
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let server = server();
    assert!(server.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}})).is_err());
    assert!(server.apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}})).is_err());
    assert!(server.apply(json!({"apiVersion": "v1", "kind": "Node", "metadata": {}})).is_err());
    assert!(server.delete(Kind::Node, "", "n1").is_err());
    server.apply(node("n1")).unwrap();
    server.delete(Kind::Node, "", "n1").unwrap();
    server.store_as(Kind::Service, "lab", "broken", json!("no object")).unwrap();
    assert_eq!(server.objects(Kind::Service).unwrap(), [json!("no object")]);
}
