//! An API server in the test's own process: three kinds, versions, pages, watches, and whatever goes wrong.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State as Extract},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use futures::{channel::mpsc, stream};
use serde_json::{Value, json};

use super::super::kind::Kind;

type Line = Result<String, io::Error>;

/// The server. What it is told to do, it does from the next request on.
#[derive(Clone, Default)]
pub(super) struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    version: u64,
    objects: [BTreeMap<String, Value>; 3],
    watches: Vec<(Kind, mpsc::UnboundedSender<Line>)>,
    replies: [VecDeque<(StatusCode, String)>; 3],
    /// Watches from before this are told that it is gone.
    oldest: u64,
    requests: Vec<String>,
    /// Watches that nothing is told any more, and that go on all the same.
    put_back: Vec<(Kind, mpsc::UnboundedSender<Line>)>,
}

impl Server {
    pub(super) fn client(&self) -> kube::Client {
        let route = |kind: Kind| {
            get(move |Extract(server): Extract<Self>, RawQuery(query): RawQuery| async move {
                server.answer(kind, &query.unwrap_or_default())
            })
        };
        let router = Kind::ALL.into_iter().fold(Router::new(), |router, kind| router.route(kind.path(), route(kind)));
        kube::Client::new(router.with_state(self.clone()), "default")
    }

    /// Makes or changes an object, and tells the watches.
    pub(super) fn put(&self, kind: Kind, object: Value) {
        let (object, verb) = self.put_unheard(kind, object);
        self.tell(kind, json!({"type": verb, "object": object}).to_string());
    }

    /// The same, and nobody hears of it.
    pub(super) fn put_unheard(&self, kind: Kind, mut object: Value) -> (Value, &'static str) {
        let mut state = self.state();
        state.version += 1;
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        let before = state.objects[kind.index()].insert(name(&object), object.clone());
        (object, if before.is_some() { "MODIFIED" } else { "ADDED" })
    }

    pub(super) fn delete(&self, kind: Kind, name: &str) {
        if let Some(object) = self.delete_unheard(kind, name) {
            self.tell(kind, json!({"type": "DELETED", "object": object}).to_string());
        }
    }

    pub(super) fn delete_unheard(&self, kind: Kind, name: &str) -> Option<Value> {
        let mut state = self.state();
        state.version += 1;
        let version = state.version.to_string();
        let mut object = state.objects[kind.index()].remove(name)?;
        object["metadata"]["resourceVersion"] = version.into();
        Some(object)
    }

    /// Sends this line to the watches of a kind, whatever it is.
    pub(super) fn tell(&self, kind: Kind, line: String) {
        let mut state = self.state();
        state.watches.retain(|(_, watch)| !watch.is_closed());
        for (_, watch) in state.watches.iter().filter(|(of, _)| *of == kind) {
            let _ = watch.unbounded_send(Ok(line.clone() + "\n"));
        }
    }

    pub(super) fn bookmark(&self, kind: Kind) -> String {
        let mut state = self.state();
        state.version += 1;
        let version = state.version.to_string();
        drop(state);
        let object = json!({"apiVersion": "v1", "kind": "X", "metadata": {"resourceVersion": version}});
        self.tell(kind, json!({"type": "BOOKMARK", "object": object}).to_string());
        version
    }

    /// A bookmark for everybody: a watch that has told something was a good one.
    pub(super) fn beat(&self) {
        for kind in Kind::ALL {
            self.bookmark(kind);
        }
    }

    /// Breaks all watches off, in the middle of a line.
    pub(super) fn cut(&self) {
        for (_, watch) in self.state().watches.drain(..) {
            let _ = watch.unbounded_send(Ok("{\"type\":".to_owned()));
            let _ = watch.unbounded_send(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
        }
    }

    /// Forgets all versions up to now.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        state.version += 1;
        state.oldest = state.version;
    }

    /// Goes back to its beginning, as when it has other data of an older time. Who watches from a version that is still to
    /// come hears nothing.
    pub(super) fn put_back(&self) {
        let mut state = self.state();
        state.version = 0;
        state.objects[Kind::Services.index()].clear();
        let watches: Vec<_> = state.watches.drain(..).collect();
        state.put_back.extend(watches);
    }

    /// The next answer for this kind.
    pub(super) fn reply(&self, kind: Kind, code: StatusCode, body: impl Into<String>) {
        self.state().replies[kind.index()].push_back((code, body.into()));
    }

    /// The next answer is a refusal.
    pub(super) fn refuse(&self, kind: Kind, code: StatusCode, message: &str) {
        self.reply(kind, code, status(code, message).to_string());
    }

    /// The queries so far, each after its kind's path.
    pub(super) fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// How many watches are open.
    pub(super) fn watches(&self) -> usize {
        self.state().watches.iter().filter(|(_, watch)| !watch.is_closed()).count()
    }

    fn answer(&self, kind: Kind, query: &str) -> Response {
        let mut state = self.state();
        state.requests.push(format!("{}?{query}", kind.path()));
        if let Some(reply) = state.replies[kind.index()].pop_front() {
            return reply.into_response();
        }
        let parameter = |name: &str| {
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|(known, _)| *known == name).map(|(_, v)| v)
        };
        if parameter("watch") != Some("true") {
            let start = parameter("continue").and_then(|token| token.parse().ok()).unwrap_or(0);
            let limit = parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
            return state.list(kind, start, limit).to_string().into_response();
        }
        let from: u64 = parameter("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        if from < state.oldest {
            let event = json!({"type": "ERROR", "object": status(StatusCode::GONE, "too old resource version")});
            return format!("{event}\n").into_response();
        }
        let (sender, lines) = mpsc::unbounded();
        // Whoever comes back hears what has changed since, but not what is gone: that only a list shows.
        for object in state.objects[kind.index()].values().filter(|object| version(object) > from) {
            let _ = sender.unbounded_send(Ok(json!({"type": "MODIFIED", "object": object}).to_string() + "\n"));
        }
        state.watches.push((kind, sender));
        Body::from_stream(stream::StreamExt::boxed(lines)).into_response()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn list(&self, kind: Kind, start: usize, limit: usize) -> Value {
        let objects = &self.objects[kind.index()];
        let items: Vec<&Value> = objects.values().skip(start).take(limit).collect();
        let next = start + items.len();
        let token = if next < objects.len() { next.to_string() } else { String::new() };
        json!({
            "apiVersion": "v1", "kind": "List",
            "metadata": {"resourceVersion": self.version.to_string(), "continue": token},
            "items": items,
        })
    }
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn status(code: StatusCode, message: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code.as_u16(), "message": message,
        "reason": code.canonical_reason().unwrap_or_default(), "metadata": {},
    })
}
