//! Hands an Event to the API server, and says what came of it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::{
    Api, Client,
    api::PostParams,
    core::{Status, response::StatusCause},
};
use tokio::time::timeout;

/// So long the API server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The cause by which an API server says that a namespace is going away.
const NAMESPACE_GOES: &str = "NamespaceTerminating";

/// What came of an Event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Posted {
    /// It is told.
    Told,
    /// There is one of its name: another node was first.
    ToldByAnother,
    /// Nobody can be told any more: the namespace goes away.
    TooLate,
    /// It will never be taken; why.
    Refused(String),
    /// It was not taken, which may change; why.
    Failed(String),
}

/// Creates it. Nothing else is ever asked of the API server, so that `create` is all that must be allowed.
pub(super) async fn create(client: &Client, event: &Event) -> Posted {
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    match timeout(PATIENCE, events.create(&PostParams::default(), event)).await {
        Ok(Ok(_)) => Posted::Told,
        Ok(Err(kube::Error::Api(status))) => refusal(&status, namespace),
        Ok(Err(error)) => Posted::Failed(format!("cannot create an Event in namespace {namespace}: {}", chain(&error))),
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            Posted::Failed(format!("the API server did not take an Event within {seconds} s"))
        }
    }
}

fn refusal(status: &Status, namespace: &str) -> Posted {
    let says = if status.message.is_empty() { &status.reason } else { &status.message };
    match status.code {
        409 => Posted::ToldByAnother,
        403 | 404 if is_going(status) => Posted::TooLate,
        403 => Posted::Failed(format!(
            "the API server forbids Limpet to create Events in namespace {namespace} ({says}); allow its ServiceAccount \
             `create` on `events` of the core API group, or set --break-events false"
        )),
        // Of the client's faults, those that time does not heal.
        400 | 404 | 405 | 413 | 415 | 422 => {
            Posted::Refused(format!("the API server refuses an Event in namespace {namespace}: {says}"))
        }
        code => Posted::Failed(format!("the API server did not take an Event in namespace {namespace}: {code} {says}")),
    }
}

fn is_going(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let says_so = |cause: &StatusCause| cause.reason == NAMESPACE_GOES;
    let is_gone = status.code == 404 && status.details.as_ref().is_some_and(|details| details.kind == "namespaces");
    is_gone || causes.into_iter().any(says_so)
}

/// An error with all that it was caused by.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    // Each often repeats the next.
    texts.dedup_by(|later, earlier| earlier.ends_with(later.as_str()));
    texts.join(": ")
}
