//! The task that tells, against an API server that is a router in this process.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use k8s_openapi::api::core::v1::{Node, Service};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{super::http::client::troubles, *};
use crate::{
    model::Protocol,
    source::{Origin, Sourced},
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Windows that a test can wait for.
const PACE: Pace = Pace { breaks: Duration::from_secs(1), limits: Duration::from_secs(3600) };

/// An API server that knows Events alone, and what it was asked.
#[derive(Clone, Default)]
struct Server {
    state: Arc<Mutex<Recorded>>,
}

#[derive(Default)]
struct Recorded {
    /// Answered instead of taking what is posted.
    refusal: Option<(u16, Value)>,
    events: Vec<Value>,
    refused: Vec<Value>,
}

impl Server {
    fn client(&self) -> Client {
        let router =
            Router::new().route("/api/v1/namespaces/{namespace}/events", post(create)).with_state(self.clone());
        Client::new(router, "default")
    }

    fn state(&self) -> MutexGuard<'_, Recorded> {
        self.state.lock().unwrap()
    }

    /// Waits until so much was posted.
    async fn wait(&self, is_enough: impl Fn(&Recorded) -> bool) {
        let enough = async {
            while !is_enough(&self.state()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, enough).await.expect("Events are posted");
    }
}

async fn create(State(server): State<Server>, Path(namespace): Path<String>, Json(event): Json<Value>) -> Response {
    let mut state = server.state();
    assert_eq!(event["metadata"]["namespace"], namespace.as_str());
    if let Some((code, status)) = &state.refusal {
        let answer = (StatusCode::from_u16(*code).unwrap(), Json(status.clone())).into_response();
        state.refused.push(event);
        return answer;
    }
    if state.events.iter().any(|other| other["metadata"]["name"] == event["metadata"]["name"]) {
        state.refused.push(event);
        return (StatusCode::CONFLICT, Json(status(409, "AlreadyExists", "it is there"))).into_response();
    }
    state.events.push(event.clone());
    (StatusCode::CREATED, Json(event)).into_response()
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

fn sourced<T>(object: T) -> Sourced<T> {
    Sourced { object: Arc::new(object), origin: Origin::default() }
}

fn metadata(name: &str) -> kube::api::ObjectMeta {
    kube::api::ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("lab".to_owned()),
        uid: Some(format!("uid-of-{name}")),
        ..kube::api::ObjectMeta::default()
    }
}

/// Two nodes, and these Services.
fn snapshot(services: &[&str]) -> Snapshot {
    let service = |name: &&str| sourced(Service { metadata: metadata(name), ..Service::default() });
    let node = |name: &&str| sourced(Node { metadata: metadata(name), ..Node::default() });
    Snapshot {
        services: services.iter().map(service).collect(),
        nodes: ["n1", "n2"].iter().map(node).collect(),
        complete: true,
        ..Snapshot::default()
    }
}

fn port(service: &str, port: &str) -> ServicePortName {
    ServicePortName {
        namespace: "lab".to_owned(),
        name: service.to_owned(),
        port: port.to_owned(),
        protocol: Protocol::Tcp,
    }
}

/// A node that tells what its counter of cart's breaks and its events say.
struct Teller {
    announcer: Announcer,
    counted: Arc<AtomicU64>,
    problems: Box<dyn Fn() -> Vec<Problem>>,
}

/// Returns when it has read the counter for the first time: what it grows by afterwards is told.
async fn start(node: &str, server: &Server, services: &[&str]) -> Teller {
    let (troubles, problems) = troubles();
    let teller = Teller { announcer: Announcer::default(), counted: Arc::default(), problems: Box::new(problems) };
    teller.announcer.synced(snapshot(services), &[]);
    let counted = Arc::clone(&teller.counted);
    let is_read = Arc::new(Notify::new());
    let reads = Arc::clone(&is_read);
    let counts = move || {
        let key = (port("cart", "tcp-80"), BreakReason::Draining);
        let counts = Counts::from([(key, counted.load(Ordering::Relaxed))]);
        reads.notify_one();
        Ok(counts)
    };
    let reporter =
        Reporter { client: server.client(), node: node.to_owned(), counts: Arc::new(counts), troubles, pace: PACE };
    tokio::spawn(teller.announcer.clone().tell(reporter));
    timeout(PATIENCE, is_read.notified()).await.expect("the counter is read");
    teller
}

fn texts<'a>(events: &'a [Value], field: &str) -> Vec<&'a str> {
    events.iter().map(|event| event[field].as_str().unwrap()).collect()
}

#[tokio::test]
async fn breaks_of_a_window_are_one_event_of_their_exact_number() {
    let server = Server::default();
    let teller = start("n1", &server, &["cart"]).await;
    for _ in 0..3 {
        teller.announcer.broken(&port("cart", "tcp-80"), BreakReason::Draining);
    }
    // More than single events told.
    teller.counted.store(26, Ordering::Relaxed);
    teller.announcer.broken(&port("deleted", ""), BreakReason::BackendGone);
    server.wait(|it| !it.events.is_empty()).await;
    let event = server.state().events[0].clone();
    let message = event["message"].as_str().unwrap();
    assert!(message.contains("tcp-80 got another Pod because theirs is draining"), "{message}");
    assert_eq!(event["involvedObject"]["uid"], "uid-of-cart");
    assert_eq!((&event["reason"], &event["type"]), (&json!("SessionAffinityBroken"), &json!("Normal")));
    assert_eq!(event["source"]["host"], "n1");

    // The next one: nothing was told twice, and nothing of a Service that is gone.
    teller.counted.store(31, Ordering::Relaxed);
    server.wait(|it| it.events.iter().map(|it| it["count"].as_u64().unwrap()).sum::<u64>() >= 31).await;
    let state = server.state();
    let sum: u64 = state.events.iter().map(|event| event["count"].as_u64().unwrap()).sum();
    assert_eq!(sum, 31, "{:?}", state.events);
    assert!(texts(&state.events, "message").iter().all(|message| message.contains("lab/cart")));
    assert_eq!((teller.problems)(), []);
}

/// Both create the Event of a window under one name; the API server takes the first.
#[tokio::test]
async fn of_two_nodes_one_tells() {
    let server = Server::default();
    let tellers = [start("n1", &server, &["cart"]).await, start("n2", &server, &["cart"]).await];
    // In one window, which a test cannot choose: so again until it was.
    for round in 1.. {
        for teller in &tellers {
            teller.counted.store(round * 5, Ordering::Relaxed);
        }
        let all = |it: &Recorded| it.events.len() + it.refused.len();
        let known = all(&server.state());
        server.wait(|it| all(it) >= known + 2).await;
        let is_refused = !server.state().refused.is_empty();
        if is_refused {
            break;
        }
        assert!(round < 20, "never in one window");
    }
    let state = server.state();
    let name = |event: &Value| event["metadata"]["name"].as_str().unwrap().to_owned();
    let names: BTreeSet<String> = state.events.iter().map(name).collect();
    assert_eq!(names.len(), state.events.len());
    assert!(state.refused.iter().all(|event| names.contains(&name(event))));
    assert!(tellers.iter().all(|teller| (teller.problems)().is_empty()), "409 is no trouble");
}

#[tokio::test]
async fn a_limit_is_told_at_once_and_not_again() {
    let server = Server::default();
    let teller = start("n1", &server, &["cart", "shop"]).await;
    let why = "no room for its frontends (16); raise --max-frontends";
    let limited = |names: &[&str]| -> Vec<Problem> {
        // What is about a node is told in `limpet status` alone.
        let node = Problem::error("node table full (8); raise --max-nodes").about("Node n9");
        let service = |name: &&str| Problem::error(why).about(format!("Service lab/{name}"));
        names.iter().map(service).chain([node]).collect()
    };
    teller.announcer.synced(snapshot(&["cart", "shop"]), &limited(&["cart"]));
    server.wait(|it| !it.events.is_empty()).await;
    teller.announcer.synced(snapshot(&["cart", "shop"]), &[]);
    teller.announcer.synced(snapshot(&["cart", "shop"]), &limited(&["cart", "shop"]));
    server.wait(|it| it.events.len() >= 2).await;
    let state = server.state();
    let services: Vec<_> = state.events.iter().map(|event| event["involvedObject"]["name"].as_str().unwrap()).collect();
    assert_eq!(services, ["cart", "shop"], "cart's is told");
    assert_eq!(texts(&state.events, "reason"), ["LimitReached", "LimitReached"]);
    assert_eq!(texts(&state.events, "message")[0], format!("{why} (on node n1)"));
}

#[tokio::test]
async fn a_refusal_is_told_plainly_and_what_was_refused_is_told_later() {
    let server = Server::default();
    let words = "events is forbidden: User \"system:serviceaccount:kube-system:limpet\" cannot create resource";
    server.state().refusal = Some((403, status(403, "Forbidden", words)));
    let teller = start("n1", &server, &["cart"]).await;
    teller.counted.store(1, Ordering::Relaxed);
    server.wait(|it| !it.refused.is_empty()).await;
    let told = async {
        while (teller.problems)().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, told).await.unwrap();
    let line = (teller.problems)()[0].to_string();
    for part in ["warning: Kubernetes Events: ", "forbids", words, "`create` on `events`", "--break-events false"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    server.state().refusal = None;
    // Of this window nothing is left after two seconds, but later ones are told.
    teller.counted.store(2, Ordering::Relaxed);
    server.wait(|it| !it.events.is_empty()).await;
    let quiet = async {
        while !(teller.problems)().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, quiet).await.expect("no longer a problem");
}

#[tokio::test]
async fn answers_are_understood() {
    let terminating = json!({
        "kind": "Status", "code": 403, "reason": "Forbidden", "message": "being terminated",
        "details": {"causes": [{"reason": "NamespaceTerminating", "message": "m", "field": "metadata.namespace"}]},
    });
    let gone =
        json!({"kind": "Status", "code": 404, "reason": "NotFound", "details": {"kind": "namespaces", "name": "lab"}});
    let cases = [
        ("taken", None, "Told"),
        ("another node was first", Some((409, status(409, "AlreadyExists", "there"))), "ToldByAnother"),
        ("its namespace is being deleted", Some((403, terminating)), "TooLate"),
        ("its namespace is gone", Some((404, gone)), "TooLate"),
        ("not allowed", Some((403, status(403, "Forbidden", "no"))), "Failed"),
        ("too many requests", Some((429, status(429, "TooManyRequests", "later"))), "Failed"),
        ("broken", Some((500, status(500, "InternalError", "oh"))), "Failed"),
        ("wrong", Some((422, status(422, "Invalid", "wrong"))), "Refused"),
    ];
    let window = Window::of(Timestamp::UNIX_EPOCH, Duration::from_secs(300));
    let service = ServiceName { namespace: "lab".to_owned(), name: "cart".to_owned() };
    let statement = Statement { service, subject: Subject::LimitReached(String::new()), window };
    let event = statement.event(None, "n1", Timestamp::UNIX_EPOCH);
    for (description, refusal, expected) in cases {
        let server = Server::default();
        server.state().refusal = refusal;
        let posted = post::create(&server.client(), &event).await;
        assert!(format!("{posted:?}").starts_with(expected), "{description}: {posted:?}");
    }
}
