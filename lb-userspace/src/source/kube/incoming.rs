//! One object as the API server sent it, read by itself: one of the wrong shape must not take others along.

use jiff::Timestamp;
use serde_json::Value;

use super::kind::Kind;
use crate::source::{
    Problem,
    document::{Key, Object},
    validate::{Checked, check},
};

/// Annotation of a slice that says when its Pods or its Service changed, in RFC 3339.
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// An object that came, and what is told apart of it.
pub(super) struct Incoming {
    pub(super) key: Key,
    pub(super) checked: Checked,
    /// Its version, to watch from; none where there is none.
    pub(super) version: Option<String>,
    /// When what it reports happened, of slices that say so.
    pub(super) trigger: Option<Timestamp>,
}

impl Incoming {
    /// Reads an object.
    pub(super) fn read(kind: Kind, mut value: Value) -> Self {
        // Often the largest part, and of interest to the API server alone.
        if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            metadata.remove("managedFields");
        }
        let key = key(kind, &value);
        let text = |pointer| value.pointer(pointer).and_then(Value::as_str);
        let version = text("/metadata/resourceVersion").filter(|version| !version.is_empty()).map(str::to_owned);
        let annotation = value.pointer("/metadata/annotations").and_then(|annotations| annotations.get(TRIGGER));
        let trigger = annotation.and_then(Value::as_str).and_then(|time| time.parse().ok());
        let checked = match kind.parse(value) {
            Ok(object) => check(object),
            Err(error) => Checked { object: None, refused: true, problems: vec![unreadable(&key, &error)] },
        };
        Self { key, checked, version, trigger }
    }

    /// The object of an event that says it is gone.
    pub(super) fn gone(kind: Kind, value: &Value) -> (Key, Option<String>) {
        let version = value.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        (key(kind, value), version.filter(|version| !version.is_empty()).map(str::to_owned))
    }
}

/// What names the object, also where the rest of it cannot be read.
fn key(kind: Kind, value: &Value) -> Key {
    let text = |pointer| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let namespace = match text("/metadata/namespace") {
        _ if !kind.has_namespaces() => "",
        "" => "default",
        namespace => namespace,
    };
    Key { kind: kind.singular(), namespace: namespace.to_owned(), name: text("/metadata/name").to_owned() }
}

fn unreadable(key: &Key, error: &serde_json::Error) -> Problem {
    Problem::error(format!(
        "the API server sent what cannot be one ({error}); what was known of it before stays, without that it is left out"
    ))
    .about(key.to_string())
}

/// The object, if it is one; for comparing.
pub(super) fn is_same(before: Option<&Object>, now: Option<&Object>) -> bool {
    match (before, now) {
        (None, None) => true,
        (Some(Object::Service(before)), Some(Object::Service(now))) => before == now,
        (Some(Object::Slice(before)), Some(Object::Slice(now))) => before == now,
        (Some(Object::Node(before)), Some(Object::Node(now))) => before == now,
        (None | Some(Object::Service(_) | Object::Slice(_) | Object::Node(_)), _) => false,
    }
}
