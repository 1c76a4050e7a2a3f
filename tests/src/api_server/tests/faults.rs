//! Each fault, as a client meets it, and that it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::client::Client;
use super::{node, server, service};
use crate::api_server::{
    Answer, ApiServer, Fault, Garbage, Kind, Options, Times, Upstream, Verb, Which, Wrong, WrongCertificate, whole,
};

const NODES: &str = "/api/v1/nodes";
const WATCH: &str = "/api/v1/nodes?watch=1";

#[tokio::test]
async fn connections_are_refused_and_taken_again() {
    let server = server();
    let client = Client::of(&server);
    let mut watch = client.watch(WATCH).await;
    server.fault(Fault::RefuseConnections).unwrap();
    assert!(watch.next().await.is_err(), "cut");
    let refused = client.ask(Method::GET, NODES, "", "").await.unwrap_err();
    assert!(format!("{refused:#}").contains("refused"), "{refused:#}");
    server.apply(node("n1")).unwrap();
    server.heal().unwrap();
    assert_eq!(client.get(NODES).await.json()["items"][0]["metadata"]["name"], "n1");
}

#[tokio::test]
async fn watches_are_cut_before_anything_else_is_told() {
    let server = server();
    let client = Client::of(&server);
    let mut watch = client.watch(WATCH).await;
    server.apply(node("n1")).unwrap();
    assert_eq!(watch.event().await, "ADDED n1");
    server.fault(Fault::CutWatches).unwrap();
    server.apply(node("n2")).unwrap();
    assert!(watch.next().await.is_err());
    assert_eq!(watch.unfinished(), b"");
    let mut watch = client.watch(&format!("{WATCH}&resourceVersion=1001")).await;
    assert_eq!(watch.event().await, "ADDED n2", "a new one is not");
}

#[tokio::test]
async fn a_line_is_cut_in_its_middle() {
    let server = server();
    let client = Client::of(&server);
    let (mut nodes, mut services) = (client.watch(WATCH).await, client.watch("/api/v1/services?watch=1").await);
    server.fault(Fault::CutMidLine(Which::kind(Kind::Node))).unwrap();
    server.apply(service("web")).unwrap();
    assert_eq!(services.event().await, "ADDED web");
    server.apply(node("n1")).unwrap();
    assert!(nodes.next().await.is_err());
    let told = String::from_utf8_lossy(nodes.unfinished()).into_owned();
    assert!(told.starts_with("{\"type\":\"ADDED\"") && !told.ends_with('}'), "{told:?}");
}

#[tokio::test]
async fn wrong_answers_are_given_as_often_as_ordered() {
    let server = server();
    server.apply(node("n1")).unwrap();
    let client = Client::of(&server);
    let lists = Which::both(Verb::List, Kind::Node);
    let check = async |wrong: Wrong, code: u16, retry_after: Option<&str>| {
        server.fault(Fault::Answers(wrong, lists, Times::Next(1))).unwrap();
        assert!(server.has_faults_left());
        assert_eq!(client.get("/api/v1/services").await.code, 200, "not of nodes");
        let said = client.get(NODES).await;
        assert_eq!((said.code, said.retry_after.as_deref()), (code, retry_after));
        assert_eq!(said.json()["code"], code);
        assert!(!server.has_faults_left());
        assert_eq!(client.get(NODES).await.code, 200, "once only");
    };
    check(Wrong::UNAUTHORIZED, 401, None).await;
    check(Wrong::FORBIDDEN, 403, None).await;
    check(Wrong::Gone, 410, None).await;
    check(Wrong::too_many_requests(7), 429, Some("7")).await;
    check(Wrong::INTERNAL_ERROR, 500, None).await;

    server.fault(Fault::Answers(Wrong::Status(StatusCode::BAD_GATEWAY, None), Which::ALL, Times::UntilHealed)).unwrap();
    for _ in 0..3 {
        assert_eq!(client.get("/version").await.code, 502);
    }
    server.heal().unwrap();
    assert_eq!(client.get("/version").await.code, 200);
}

#[tokio::test]
async fn a_watch_is_gone_by_a_line_or_by_its_status() {
    let server = server();
    let client = Client::of(&server);
    let watches = Which::verb(Verb::Watch);
    server.fault(Fault::Answers(Wrong::Gone, watches, Times::Next(1))).unwrap();
    let mut watch = client.watch(WATCH).await;
    let line = watch.next().await.unwrap().unwrap();
    assert_eq!((line["type"].as_str(), line["object"]["reason"].as_str()), (Some("ERROR"), Some("Expired")));
    assert_eq!(watch.next().await.unwrap(), None);
    server.fault(Fault::Answers(Wrong::GONE_STATUS, watches, Times::Next(1))).unwrap();
    assert_eq!(client.get(WATCH).await.code, 410);
}

#[tokio::test]
async fn garbage_is_what_it_says_it_is() {
    let server = server();
    let client = Client::of(&server);
    for garbage in Garbage::ALL {
        for path in [NODES, WATCH] {
            server.fault(Fault::Answers(Wrong::Garbage(garbage), Which::ALL, Times::Next(1))).unwrap();
            let said = client.get(path).await;
            assert_eq!((said.code, &said.bytes[..]), (200, garbage.bytes()), "{path}");
        }
    }
}

#[tokio::test]
async fn slow_answers_are_right_ones_and_hung_ones_come_when_all_is_healed() {
    let server = server();
    server.apply(node("n1")).unwrap();
    let client = Client::of(&server);
    let pause = Duration::from_millis(50);
    server.fault(Fault::Answers(Wrong::Slow(pause), Which::kind(Kind::Node), Times::Next(1))).unwrap();
    let start = Instant::now();
    assert_eq!(client.get(NODES).await.json()["items"][0]["metadata"]["name"], "n1");
    assert!(start.elapsed() >= pause);

    server.fault(Fault::Answers(Wrong::Hang, Which::kind(Kind::Node), Times::UntilHealed)).unwrap();
    let (said, ()) = tokio::join!(client.get(NODES), async {
        // It has been asked, and others are answered.
        while server.asked().len() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(client.get("/api/v1/services").await.code, 200);
        server.apply(node("n2")).unwrap();
        server.heal().unwrap();
    });
    assert_eq!(said.json()["items"][1]["metadata"]["name"], "n2");
}

#[tokio::test]
async fn an_old_view_is_consistent_and_catches_up() {
    let server = server();
    let client = Client::of(&server);
    server.apply(node("n1")).unwrap();
    server.apply(node("n2")).unwrap();
    let old = server.version().unwrap();
    server.delete(Kind::Node, "", "n1").unwrap();
    server.fault(Fault::OldView(old)).unwrap();
    let list = client.get(NODES).await.json();
    assert_eq!(list["metadata"]["resourceVersion"], old.to_string());
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert_eq!(client.get("/api/v1/nodes/n1").await.code, 200);
    let newer = client.get(&format!("{NODES}?resourceVersion={}", old + 1)).await;
    assert_eq!((newer.code, newer.retry_after.as_deref()), (504, Some("1")));

    let mut watch = client.watch(&format!("{WATCH}&resourceVersion={old}")).await;
    server.apply(node("n3")).unwrap();
    server.heal().unwrap();
    assert_eq!(watch.event().await, "DELETED n1");
    assert_eq!(watch.event().await, "ADDED n3");
}

#[tokio::test]
async fn another_history_has_the_same_objects_and_no_past() {
    let server = server();
    let client = Client::of(&server);
    server.apply(node("n1")).unwrap();
    let mut watch = client.watch(WATCH).await;
    assert_eq!(watch.event().await, "ADDED n1");
    let old = server.version().unwrap();
    server.begin_anew(5_000).unwrap();
    assert!(watch.next().await.is_err(), "cut");
    let line = client.watch(&format!("{WATCH}&resourceVersion={old}")).await.next().await.unwrap().unwrap();
    assert_eq!(line["object"]["code"], 410);
    let list = client.get(NODES).await.json();
    assert_eq!(list["metadata"]["resourceVersion"], "5001");
    assert_eq!(list["items"][0]["metadata"]["resourceVersion"], "5001");
}

#[tokio::test]
async fn certificates_are_right_unless_ordered_otherwise() {
    let server = ApiServer::start(Options::default()).unwrap();
    let client = Client::of(&server);
    let mut watch = client.watch(WATCH).await;
    for (wrong, expected) in [
        (WrongCertificate::UnknownCa, "UnknownIssuer"),
        (WrongCertificate::OtherName, "not valid for name"),
        (WrongCertificate::Expired, "expired"),
    ] {
        server.fault(Fault::Certificate(wrong)).unwrap();
        assert!(watch.next().await.is_err(), "cut");
        let error = client.ask(Method::GET, NODES, "", "").await.unwrap_err();
        assert!(format!("{error:?}").contains(expected), "{wrong:?}: {error:?}");
        server.heal().unwrap();
        assert_eq!(client.get(NODES).await.code, 200);
        watch = client.watch(WATCH).await;
    }
}

#[test]
fn faults_are_bounded_and_only_what_can_be_done_is_promised() {
    let server = server();
    assert!(server.fault(Fault::Certificate(WrongCertificate::Expired)).is_err());
    assert!(server.fault(Fault::OldView(1)).is_err());
    let mut ordered = 0;
    while server.fault(Fault::Answers(Wrong::Gone, Which::ALL, Times::UntilHealed)).is_ok() {
        ordered += 1;
        assert!(ordered < 1_000);
    }
    server.heal().unwrap();
    assert!(!server.has_faults_left());
}

/// Answers everything with what it was asked.
struct Echo;

impl Upstream for Echo {
    fn answer(&self, request: Request<Bytes>) -> Answer {
        let text = json!({"uri": request.uri().to_string(), "headers": request.headers().len()}).to_string();
        Box::pin(async move { Response::new(whole(text)) })
    }
}

#[tokio::test]
async fn faults_stand_in_front_of_any_upstream() {
    let upstream: Arc<dyn Upstream> = Arc::new(Echo);
    let options = Options { upstream: Some(upstream), largest_page: Some(3), tls: false, ..Options::default() };
    let server = ApiServer::start(options).unwrap();
    let client = Client::of(&server);
    let said = client.ask(Method::GET, "/api/v1/pods?limit=500", "application/json", "").await.unwrap().json();
    // The content type alone: neither host nor token are the upstream's.
    assert_eq!(said, json!({"uri": "/api/v1/pods?limit=3", "headers": 1}));
    server.fault(Fault::Answers(Wrong::INTERNAL_ERROR, Which::verb(Verb::List), Times::Next(1))).unwrap();
    assert_eq!(client.get(NODES).await.code, 500);
    assert_eq!(client.get(NODES).await.code, 200);
    assert!(server.fault(Fault::OldView(7)).is_err() && server.objects(Kind::Node).is_err());
    assert!(server.begin_anew(7).is_err() && server.apply(node("n1")).is_err());
    server.expire_tokens();
    assert_eq!(client.get(NODES).await.code, 401);
}
