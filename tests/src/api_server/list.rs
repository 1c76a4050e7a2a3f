//! Lists: at which version, and page by page.

use std::fmt::Write;

use hyper::StatusCode;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::kind::Kind;
use super::refusal::Refusal;
use super::selector::Selector;
use super::store::{Forgotten, Key, Page, Store};
use super::target::Target;

/// The text of the list that was asked for, or of one page of it.
pub(super) fn list(store: &Store, target: &Target) -> Result<String, Refusal> {
    let selector = Selector::parse(&target.query)?;
    let limit = number(target, "limit")?;
    let start = match target.query.get("continue") {
        Some(token) => Start::parse(target.kind, token)?,
        None => first_page(store, target)?,
    };
    // From memory a real server gives everything, whatever the limit.
    let from_memory = target.query.get("resourceVersion") == Some("0");
    let limit = limit.filter(|limit| *limit > 0 && !from_memory);
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let version = start.version.unwrap_or_else(|| store.version());
    let matches = |key: &Key, object: &Value| is_in(target, key) && selector.matches(object);
    let page = store.page(target.kind, version, start.after.as_ref(), limit, matches);
    let page = page.map_err(|forgotten| too_old(version, forgotten, &start))?;
    Ok(text(target.kind, version, &page, selector.is_empty()))
}

/// One object, as it is shown.
pub(super) fn get(store: &Store, key: &Key) -> Result<Value, Refusal> {
    let object = store.get_at(key, store.version()).ok().flatten();
    object.map(|object| object.as_ref().clone()).ok_or_else(|| Refusal::not_found(key.kind.plural(), &key.name))
}

/// Whether an object is in the namespace that was asked for.
pub(super) fn is_in(target: &Target, key: &Key) -> bool {
    target.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
}

/// A parameter that is a number.
pub(super) fn number(target: &Target, name: &str) -> Result<Option<u64>, Refusal> {
    let text = target.query.get(name);
    let number = text.map(str::parse).transpose();
    number.map_err(|_| Refusal::bad_request(format!("{name} is {:?}, which is no number", text.unwrap_or_default())))
}

/// Where a list begins.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Start {
    /// None: whatever is the newest.
    version: Option<u64>,
    after: Option<Key>,
}

impl Start {
    /// `VERSION.NAMESPACE/NAME` in hexadecimal digits, so that nobody is tempted to read it; no version is 0.
    fn token(version: Option<u64>, after: &Key) -> String {
        let text = format!("{}.{}/{}", version.unwrap_or(0), after.namespace, after.name);
        text.bytes().fold(String::new(), |mut token, byte| {
            // A string takes whatever is written to it.
            let _ = write!(token, "{byte:02x}");
            token
        })
    }

    fn parse(kind: Kind, token: &str) -> Result<Self, Refusal> {
        let refused = || Refusal::bad_request("continue key is not valid");
        let bytes = token.as_bytes().chunks(2).map(|pair| {
            let text = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(text, 16).ok()
        });
        let text = bytes.collect::<Option<Vec<u8>>>().and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or_else(refused)?;
        let (version, key) = text.split_once('.').ok_or_else(refused)?;
        let (namespace, name) = key.split_once('/').ok_or_else(refused)?;
        let version: u64 = version.parse().map_err(|_| refused())?;
        let after = Key { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        Ok(Self { version: (version != 0).then_some(version), after: Some(after) })
    }
}

/// By `resourceVersion` and `resourceVersionMatch`: the newest version, unless an exact one is wanted.
fn first_page(store: &Store, target: &Target) -> Result<Start, Refusal> {
    let (wanted, newest) = (number(target, "resourceVersion")?, store.version());
    match wanted.filter(|wanted| *wanted != 0) {
        Some(wanted) if wanted > newest => Err(Refusal::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("Too large resource version: {wanted}, current: {newest}"),
        )
        .after(1)),
        Some(wanted) if target.query.get("resourceVersionMatch") == Some("Exact") => {
            Ok(Start { version: Some(wanted), after: None })
        }
        _ => Ok(Start { version: None, after: None }),
    }
}

fn too_old(version: u64, forgotten: Forgotten, start: &Start) -> Refusal {
    match &start.after {
        Some(after) => Refusal::gone(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter, or use the continue token in this response to retrieve the remainder of \
             the results. Continuing with the provided token results in an inconsistent list",
        )
        .with_continue(Start::token(None, after)),
        None => Refusal::gone(format!("too old resource version: {version} ({})", forgotten.oldest)),
    }
}

fn text(kind: Kind, version: u64, page: &Page, counts_remaining: bool) -> String {
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let Some(last) = &page.last {
        metadata["continue"] = json!(Start::token(Some(version), last));
        if counts_remaining {
            metadata["remainingItemCount"] = json!(page.remaining);
        }
    }
    let (name, api_version) = (kind.name(), kind.api_version());
    let items: Vec<Item<'_>> = page.objects.iter().map(|object| Item(object)).collect();
    // What was read from JSON can be written as JSON.
    let items = serde_json::to_string(&items).unwrap_or_default();
    format!(r#"{{"kind":"{name}List","apiVersion":"{api_version}","metadata":{metadata},"items":{items}}}"#)
}

/// An object in a list: a real server leaves out there what the list says already.
struct Item<'a>(&'a Value);

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Value::Object(fields) = self.0 else { return self.0.serialize(serializer) };
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in fields.iter().filter(|(name, _)| !["kind", "apiVersion"].contains(&name.as_str())) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::*;

    fn store() -> Store {
        let mut store = Store::new(100, 1_000);
        for name in ["a", "b", "c", "d"] {
            let key = Key { kind: Kind::Node, namespace: String::new(), name: name.to_owned() };
            store.put(key, json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}}));
        }
        store
    }

    fn ask(store: &Store, query: &str) -> Result<Value, Value> {
        let target = Target::parse(&Method::GET, &format!("/api/v1/nodes?{query}").parse().unwrap()).unwrap();
        list(store, &target).map(|text| serde_json::from_str(&text).unwrap()).map_err(|refusal| refusal.status())
    }

    fn names(list: &Value) -> String {
        list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn pages_are_of_one_version_until_it_is_forgotten() {
        let mut store = store();
        let first = ask(&store, "limit=2").unwrap();
        assert_eq!((names(&first).as_str(), &first["metadata"]["remainingItemCount"]), ("ab", &json!(2)));
        assert_eq!(first["items"][0].get("kind"), None);
        let token = first["metadata"]["continue"].as_str().unwrap();
        let key = Key { kind: Kind::Node, namespace: String::new(), name: "c".to_owned() };
        store.remove(&key).unwrap();
        let second = ask(&store, &format!("limit=2&continue={token}")).unwrap();
        assert_eq!(names(&second), "cd", "as it was");
        assert_eq!(second["metadata"], json!({"resourceVersion": "104"}));

        store.forget();
        let refused = ask(&store, &format!("limit=2&continue={token}")).unwrap_err();
        assert_eq!((&refused["code"], &refused["reason"]), (&json!(410), &json!("Expired")));
        let token = refused["metadata"]["continue"].as_str().unwrap();
        let rest = ask(&store, &format!("limit=2&continue={token}")).unwrap();
        assert_eq!((names(&rest).as_str(), &rest["metadata"]["resourceVersion"]), ("d", &json!("105")));
    }

    #[test]
    fn the_version_is_the_newest_unless_an_exact_one_is_wanted() {
        let store = store();
        for (query, expected) in [
            ("", "abcd"),
            ("resourceVersion=0&limit=1", "abcd"),
            ("resourceVersion=102", "abcd"),
            ("resourceVersion=102&resourceVersionMatch=NotOlderThan", "abcd"),
            ("resourceVersion=102&resourceVersionMatch=Exact", "ab"),
        ] {
            assert_eq!(names(&ask(&store, query).unwrap()), expected, "{query}");
        }
        for (query, code) in [
            ("resourceVersion=99&resourceVersionMatch=Exact", 410),
            ("resourceVersion=105", 504),
            ("resourceVersion=x", 400),
            ("limit=x", 400),
            ("continue=x", 400),
            ("continue=ää", 400),
            ("labelSelector=a%20b", 400),
        ] {
            assert_eq!(ask(&store, query).unwrap_err()["code"], code, "{query}");
        }
    }
}
