//! What a request is about: its path and method read.

use hyper::{Method, Uri};

use super::kind::Kind;
use super::query::Query;

/// What is done to objects. A list of which a part was told before is a thing of its own, since it fails by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// All objects, or the first of them.
    List,
    /// The objects after those that were told.
    NextPage,
    /// Changes, as they happen.
    Watch,
    /// One object.
    Get,
    /// POST.
    Create,
    /// PUT.
    Replace,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

/// A request for objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) verb: Verb,
    pub(super) kind: Kind,
    /// None: of all namespaces, or the kind has none.
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    /// Whether it is about the status alone.
    pub(super) is_status: bool,
    pub(super) query: Query,
}

impl Target {
    /// None for a path that holds no objects, or a method that does not go with it.
    pub(super) fn parse(method: &Method, uri: &Uri) -> Option<Self> {
        let mut parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        let version = match parts.first().copied()? {
            "api" => take(&mut parts, 2)?[1].to_owned(),
            "apis" => take(&mut parts, 3)?[1..].join("/"),
            _ => return None,
        };
        let (kind, namespace, rest) = match *parts {
            ["namespaces", namespace, plural, ref rest @ ..] if plural != "status" => {
                let kind = Kind::of_path(&version, plural).filter(|kind| kind.is_namespaced())?;
                (kind, Some(namespace.to_owned()), rest)
            }
            [plural, ref rest @ ..] => {
                let kind = Kind::of_path(&version, plural)?;
                // Of a kind in namespaces this path is for lists of all of them alone.
                if kind.is_namespaced() && !rest.is_empty() {
                    return None;
                }
                (kind, None, rest)
            }
            [] => return None,
        };
        let (name, is_status) = match rest {
            [] => (None, false),
            [name] => (Some((*name).to_owned()), false),
            [name, "status"] if kind.has_status() => (Some((*name).to_owned()), true),
            _ => return None,
        };
        let query = Query::parse(uri.query().unwrap_or_default());
        let verb = verb(method, name.is_some(), kind.is_namespaced() && namespace.is_none(), &query)?;
        Some(Self { verb, kind, namespace, name, is_status, query })
    }
}

fn take<'a>(parts: &mut Vec<&'a str>, count: usize) -> Option<Vec<&'a str>> {
    (parts.len() >= count).then(|| parts.drain(..count).collect())
}

fn verb(method: &Method, is_one: bool, all_namespaces: bool, query: &Query) -> Option<Verb> {
    match (method.as_str(), is_one) {
        ("GET", false) if query.is_true("watch") => Some(Verb::Watch),
        ("GET", false) if query.get("continue").is_some() => Some(Verb::NextPage),
        ("GET", false) => Some(Verb::List),
        ("GET", true) => Some(Verb::Get),
        ("POST", false) if !all_namespaces => Some(Verb::Create),
        ("PUT", true) => Some(Verb::Replace),
        ("PATCH", true) => Some(Verb::Patch),
        ("DELETE", true) => Some(Verb::Delete),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verb, kind, namespace, name, and whether it is about the status.
    type Read<'a> = (Verb, Kind, Option<&'a str>, Option<&'a str>, bool);

    fn check(method: Method, path: &str, expected: Option<Read<'_>>) {
        let target = Target::parse(&method, &path.parse().unwrap());
        let found = target.as_ref().map(|target| {
            (target.verb, target.kind, target.namespace.as_deref(), target.name.as_deref(), target.is_status)
        });
        assert_eq!(found, expected, "{method} {path}");
    }

    #[test]
    fn paths_are_read_as_kubernetes_writes_them() {
        use Verb::{Create, Delete, Get, List, NextPage, Patch, Replace, Watch};
        let (get, post) = (|| Method::GET, || Method::POST);
        check(get(), "/api/v1/services", Some((List, Kind::Service, None, None, false)));
        check(get(), "/api/v1/services?continue=x&limit=5", Some((NextPage, Kind::Service, None, None, false)));
        check(get(), "/api/v1/namespaces/a/services", Some((List, Kind::Service, Some("a"), None, false)));
        check(get(), "/api/v1/namespaces/a/services/web", Some((Get, Kind::Service, Some("a"), Some("web"), false)));
        check(get(), "/api/v1/nodes?watch=true", Some((Watch, Kind::Node, None, None, false)));
        check(get(), "/api/v1/nodes/n1", Some((Get, Kind::Node, None, Some("n1"), false)));
        check(Method::PATCH, "/api/v1/nodes/n1/status", Some((Patch, Kind::Node, None, Some("n1"), true)));
        check(
            Method::PUT,
            "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/web-1",
            Some((Replace, Kind::EndpointSlice, Some("a"), Some("web-1"), false)),
        );
        check(
            post(),
            "/apis/events.k8s.io/v1/namespaces/a/events",
            Some((Create, Kind::Event, Some("a"), None, false)),
        );
        check(post(), "/api/v1/namespaces/a/events", Some((Create, Kind::CoreEvent, Some("a"), None, false)));
        check(post(), "/api/v1/namespaces", Some((Create, Kind::Namespace, None, None, false)));
        check(Method::DELETE, "/api/v1/namespaces/a", Some((Delete, Kind::Namespace, None, Some("a"), false)));
        check(get(), "/api/v1/namespaces/a/status", Some((Get, Kind::Namespace, None, Some("a"), true)));
    }

    #[test]
    fn what_is_no_path_of_ours_is_not_taken_for_one() {
        check(Method::GET, "/", None);
        check(Method::GET, "/version", None);
        check(Method::GET, "/api/v1", None);
        check(Method::GET, "/api/v1/pods", None);
        check(Method::GET, "/api/v1/services/web", None);
        check(Method::GET, "/api/v1/namespaces/a/nodes", None);
        check(Method::GET, "/apis/discovery.k8s.io/v1beta1/endpointslices", None);
        check(Method::POST, "/api/v1/services", None);
        check(Method::DELETE, "/api/v1/namespaces/a/services", None);
        check(Method::GET, "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/web-1/status", None);
    }
}
