//! Who answers behind the faults: the store here, or a real cluster.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};

use super::body::{self, Body};
use super::list;
use super::objects::Objects;
use super::refusal::Refusal;
use super::store::Key;
use super::target::{Target, Verb};
use super::watching::Watch;

/// An answer that is still to come.
pub type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Somebody who answers requests to a Kubernetes API. Who asks has been checked before.
pub trait Upstream: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: Request<Bytes>) -> Answer;
}

/// The objects of this process.
pub(super) struct Local {
    pub(super) objects: Arc<Objects>,
    /// Time between two bookmarks of a watch.
    pub(super) bookmarks: Duration,
}

impl Upstream for Local {
    fn answer(&self, request: Request<Bytes>) -> Answer {
        let response = self.respond(&request).unwrap_or_else(|refusal| refusal.response());
        Box::pin(async move { response })
    }
}

impl Local {
    fn respond(&self, request: &Request<Bytes>) -> Result<Response<Body>, Refusal> {
        let Some(target) = Target::parse(request.method(), request.uri()) else {
            return other(request.uri().path());
        };
        let (kind, is_status) = (target.kind, target.is_status);
        let key = Key {
            kind,
            namespace: target.namespace.clone().unwrap_or_default(),
            name: target.name.clone().unwrap_or_default(),
        };
        let objects = &self.objects;
        match target.verb {
            Verb::List | Verb::NextPage => {
                let text = objects.read(|store| list::list(store, &target))?;
                Ok(body::with_type(StatusCode::OK, "application/json", body::whole(text)))
            }
            Verb::Watch => self.watch(target),
            Verb::Get => Ok(ok(&objects.read(|store| list::get(store, &key))?)),
            Verb::Create => {
                let object = objects.create(kind, target.namespace.as_deref(), json_body(request)?)?;
                Ok(body::json(StatusCode::CREATED, &object))
            }
            Verb::Replace => Ok(ok(&objects.replace(key, is_status, json_body(request)?)?)),
            Verb::Patch => {
                let patch_type = content_type(request);
                if patch_type != "application/merge-patch+json" {
                    let message = format!("patches of type {patch_type:?} are not known here, merge patches are");
                    return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
                }
                Ok(ok(&objects.patch(key, is_status, &json_body(request)?)?))
            }
            Verb::Delete => Ok(ok(&objects.delete(&key)?)),
        }
    }

    fn watch(&self, target: Target) -> Result<Response<Body>, Refusal> {
        let watch = self.objects.read(|store| Watch::parse(store, target))?;
        let (pieces, body) = body::of_pieces();
        // Ends with the body.
        let _told = tokio::spawn(watch.tell(Arc::clone(&self.objects), self.bookmarks, pieces));
        Ok(body::with_type(StatusCode::OK, "application/json", body))
    }
}

/// Paths without objects.
fn other(path: &str) -> Result<Response<Body>, Refusal> {
    match path {
        "/version" => Ok(ok(&json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.0+limpet-lab", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "linux/amd64",
        }))),
        "/healthz" | "/livez" | "/readyz" => Ok(body::with_type(StatusCode::OK, "text/plain", body::whole("ok"))),
        _ => Err(Refusal::new(StatusCode::NOT_FOUND, "the server could not find the requested resource")),
    }
}

fn ok(value: &Value) -> Response<Body> {
    body::json(StatusCode::OK, value)
}

fn content_type(request: &Request<Bytes>) -> &str {
    request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn json_body(request: &Request<Bytes>) -> Result<Value, Refusal> {
    serde_json::from_slice(request.body())
        .map_err(|error| Refusal::bad_request(format!("the body is no JSON: {error}")))
}
