//! The store as all connections share it, and what is written into it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::StatusCode;
use serde_json::Value;
use tokio::sync::watch;

use super::defaults::{self, Given};
use super::kind::Kind;
use super::refusal::Refusal;
use super::store::{Key, Store};
use crate::patch::merge;

/// Objects that are shared, and who waits for their changes.
#[derive(Debug)]
pub(super) struct Objects {
    inner: Mutex<Inner>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    given: Given,
}

impl Objects {
    pub(super) fn new(store: Store) -> Self {
        Self { inner: Mutex::new(Inner { store, given: Given::default() }), changed: watch::Sender::new(()) }
    }

    /// Told after each change, of objects or of what is shown.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Looks at the store.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&self.lock().store)
    }

    /// Changes the store and tells those who wait.
    pub(super) fn write<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        self.write_all(|inner| change(&mut inner.store))
    }

    fn write_all<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let outcome = change(&mut self.lock());
        // Nobody may wait, which is fine.
        self.changed.send_replace(());
        outcome
    }

    /// A panic elsewhere leaves nothing half-written in here.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores an object, whether there is one of its name or not, its status included; fills in what is missing.
    pub(super) fn apply(&self, key: Key, object: Value) -> Value {
        self.write_all(|inner| inner.put(key, object))
    }

    /// Stores what was sent by POST: nothing of that name may be there, and a status is not taken.
    pub(super) fn create(&self, kind: Kind, namespace: Option<&str>, object: Value) -> Result<Value, Refusal> {
        self.write_all(|inner| {
            let mut object = of_kind(kind, object)?;
            let version = inner.store.next_version();
            let metadata = &mut object["metadata"];
            if metadata["name"].as_str().unwrap_or_default().is_empty()
                && let Some(beginning) = metadata["generateName"].as_str()
            {
                metadata["name"] = Value::from(defaults::generate_name(beginning, version));
            }
            let key = named(kind, namespace, None, &mut object)?;
            if inner.store.get(&key).is_some() {
                return Err(Refusal::already_exists(kind.plural(), &key.name));
            }
            if kind.has_status() {
                take_status(&mut object, None);
            }
            Ok(inner.put(key, object))
        })
    }

    /// Stores what was sent by PUT, for an object that is there: all but the status, or the status alone.
    pub(super) fn replace(&self, key: Key, is_status: bool, object: Value) -> Result<Value, Refusal> {
        self.write_all(|inner| inner.update(key, is_status, |_| object))
    }

    /// Merges what was sent by PATCH into an object that is there (RFC 7396).
    pub(super) fn patch(&self, key: Key, is_status: bool, patch: &Value) -> Result<Value, Refusal> {
        self.write_all(|inner| {
            inner.update(key, is_status, |mut object| {
                merge(&mut object, patch);
                object
            })
        })
    }

    /// Removes an object, and with a namespace what is in it; returns it as it was last.
    pub(super) fn delete(&self, key: &Key) -> Result<Value, Refusal> {
        self.write_all(|inner| {
            let gone = inner.store.remove(key).ok_or_else(|| Refusal::not_found(key.kind.plural(), &key.name))?;
            if key.kind == Kind::Namespace {
                for key in inner.store.keys_in(&key.name) {
                    inner.store.remove(&key);
                }
            }
            Ok(gone.as_ref().clone())
        })
    }
}

impl Inner {
    fn put(&mut self, key: Key, mut object: Value) -> Value {
        let old = self.store.get(&key);
        defaults::fill(key.kind, &mut object, old.as_deref(), self.store.next_version(), &mut self.given);
        self.store.put(key, object).as_ref().clone()
    }

    fn update(&mut self, key: Key, is_status: bool, change: impl FnOnce(Value) -> Value) -> Result<Value, Refusal> {
        let old = self.store.get(&key).ok_or_else(|| Refusal::not_found(key.kind.plural(), &key.name))?;
        let mut object = of_kind(key.kind, change(old.as_ref().clone()))?;
        let namespace = key.kind.is_namespaced().then_some(key.namespace.as_str());
        named(key.kind, namespace, Some(&key.name), &mut object)?;
        let version = &object["metadata"]["resourceVersion"];
        if version.as_str().is_some_and(|version| !version.is_empty() && *version != old["metadata"]["resourceVersion"])
        {
            return Err(Refusal::new(
                StatusCode::CONFLICT,
                format!(
                    "Operation cannot be fulfilled on {} {:?}: the object has been modified; please apply your changes \
                     to the latest version and try again",
                    key.kind.plural(),
                    key.name
                ),
            ));
        }
        if is_status {
            let status = object["status"].take();
            object = old.as_ref().clone();
            take_status(&mut object, Some(status));
        } else if key.kind.has_status() {
            take_status(&mut object, Some(old["status"].clone()));
        }
        Ok(self.put(key, object))
    }
}

/// Gives an object another status, or none.
fn take_status(object: &mut Value, status: Option<Value>) {
    if let Some(object) = object.as_object_mut() {
        match status {
            None | Some(Value::Null) => object.remove("status"),
            Some(status) => object.insert("status".to_owned(), status),
        };
    }
}

/// The object, if it is one and of this kind; with kind and version, which a client may leave out.
fn of_kind(kind: Kind, mut object: Value) -> Result<Value, Refusal> {
    for (field, expected) in [("kind", kind.name()), ("apiVersion", kind.api_version())] {
        let fields = object.as_object_mut();
        let fields = fields.ok_or_else(|| Refusal::bad_request("the body is no object"))?;
        let found = fields.entry(field).or_insert_with(|| Value::from(expected));
        if found != expected {
            return Err(Refusal::bad_request(format!("{field} is {found}, but this path is for {expected}")));
        }
    }
    Ok(object)
}

/// The key of an object; fails when the object and its path do not agree about it.
fn named(kind: Kind, namespace: Option<&str>, name: Option<&str>, object: &mut Value) -> Result<Key, Refusal> {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    let metadata = metadata.ok_or_else(|| Refusal::bad_request("the object has no metadata"))?;
    let mut agree = |field: &str, in_path: Option<&str>| match (metadata.get(field).and_then(Value::as_str), in_path) {
        (Some(found), Some(in_path)) if found != in_path => {
            Err(Refusal::bad_request(format!("metadata.{field} is {found:?}, but the path says {in_path:?}")))
        }
        (None | Some(""), None) => Err(Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("metadata.{field}: Required value: name or generateName is required"),
        )),
        (Some(found), _) if !found.is_empty() => Ok(found.to_owned()),
        (_, in_path) => {
            let in_path = in_path.unwrap_or_default().to_owned();
            metadata.insert(field.to_owned(), Value::from(in_path.as_str()));
            Ok(in_path)
        }
    };
    let name = agree("name", name)?;
    let namespace = if kind.is_namespaced() { agree("namespace", namespace)? } else { String::new() };
    Ok(Key { kind, namespace, name })
}
