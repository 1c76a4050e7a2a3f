//! Objects that no API server would accept, and that a broken one could send all the same.

use std::net::IpAddr;

use limpet_lab::api_server::Kind;
use serde_json::{Value, json};

use super::{begin, churn, end};
use crate::{objects, place::Place};

/// Of what has no name, or one that begins with `bad-`, nothing can be used.
fn is_sound(object: &Value) -> bool {
    object["metadata"]["name"].as_str().is_some_and(|name| !name.starts_with("bad-"))
}

pub(crate) fn impossible_objects(place: &mut Place) {
    begin(place);
    let (impossible, namespace) = (impossible(), place.cluster.namespace.clone());
    let server = place.front();
    let broken = with(objects::service(&namespace, 1), "/spec/ports", json!("none"));
    server.store_as(Kind::Service, &namespace, "web-1", broken).unwrap();
    place.until("what became impossible to be reported", |place| {
        problems(place).iter().any(|problem| names(problem, "web-1"))
    });
    assert_eq!(place.served(), [1, 2], "the last version that was possible counts");

    for (kind, name, object) in &impossible {
        let namespace = if kind.is_namespaced() { namespace.as_str() } else { "" };
        server.store_as(*kind, namespace, name, object.clone()).unwrap();
    }
    let nameless = json!({"metadata": {"namespace": namespace}, "spec": {"ports": [{"port": 80}]}});
    server.store_as(Kind::Service, &namespace, "nameless", nameless).unwrap();
    server.store_as(Kind::Service, &namespace, "text", json!("a Service")).unwrap();
    server.apply(from_the_future(&namespace)).unwrap();
    churn(place, 2);
    place.until_in_step_with(is_sound);
    assert_eq!(place.served(), [1, 3]);
    all_are_reported(place, &impossible);

    // The same by lists.
    place.kill_agent();
    place.start_agent();
    churn(place, 3);
    place.until_in_step_with(is_sound);
    assert_eq!(place.served(), [1, 4]);
    all_are_reported(place, &impossible);

    assert_eq!(owner_of_the_first(place).as_deref(), Some("web-1"), "the older one has it");

    for (kind, name, _) in &impossible {
        let namespace = if kind.is_namespaced() { namespace.as_str() } else { "" };
        place.front().delete(*kind, namespace, name).unwrap();
    }
    for name in ["nameless", "text"] {
        place.front().delete(Kind::Service, &namespace, name).unwrap();
    }
    end(place, 3);
    place.until("nothing to be wrong with any object", |place| {
        !problems(place).iter().any(|problem| names(problem, "bad-"))
    });
}

/// A Service that claims the frontend of another one, and will be made in some hundred years.
fn from_the_future(namespace: &str) -> Value {
    let mut service = objects::service(namespace, 1);
    service["metadata"]["name"] = json!("a-future");
    service["metadata"]["creationTimestamp"] = json!("2999-01-01T00:00:00Z");
    service["spec"]["clusterIP"] = json!("10.96.113.51");
    service
}

/// The Service that has the first frontend.
fn owner_of_the_first(place: &Place) -> Option<String> {
    let applied = place.applied()?;
    let address = IpAddr::from(objects::load_balancer_ip(1));
    let (_, frontend) = applied.frontends.iter().find(|(key, _)| key.address == address)?;
    Some(applied.services.get(&frontend.service)?.name.clone())
}

fn problems(place: &Place) -> Vec<Value> {
    place.status()["problems"].as_array().cloned().unwrap_or_default()
}

/// Whether a problem is about an object whose name has this in it.
fn names(problem: &Value, name: &str) -> bool {
    problem["object"].as_str().is_some_and(|object| object.contains(name))
}

/// Each with its kind and name; those that have no name, without it.
fn all_are_reported(place: &Place, impossible: &[(Kind, &str, Value)]) {
    let expected = impossible.iter().map(|(kind, name, _)| (kind.name(), *name));
    let expected: Vec<_> = expected.chain([("Service limpet-test/", ""), ("Service default/", "")]).collect();
    place.until("every impossible object to be reported", |place| {
        let problems = problems(place);
        let objects: Vec<&str> = problems.iter().filter_map(|problem| problem["object"].as_str()).collect();
        expected.iter().all(|(begin, name)| match *name {
            "" => objects.contains(begin),
            name => objects.iter().any(|object| object.starts_with(begin) && object.contains(name)),
        })
    });
}

/// Kind, the beginning of the name, and the object.
fn impossible() -> Vec<(Kind, &'static str, Value)> {
    let service = |name: &'static str, pointer: &str, value: Value| {
        let mut service = objects::service("limpet-test", 50);
        service["metadata"]["name"] = json!(name);
        service["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        service["spec"]["clusterIP"] = json!("10.96.113.50");
        (Kind::Service, name, with(service, pointer, value))
    };
    let slice = |name: &'static str, pointer: &str, value: Value| {
        let mut slice = objects::slice("limpet-test", 1, &[250], &["n1".to_owned()]);
        slice["metadata"]["name"] = json!(name);
        (Kind::EndpointSlice, name, with(slice, pointer, value))
    };
    let node = |name: &'static str, pointer: &str, value: Value| {
        (Kind::Node, name, with(objects::node(name, 50), pointer, value))
    };
    let long = "bad-long-".to_owned() + &"x".repeat(10_000);
    vec![
        service("bad-port-0", "/spec/ports/0/port", json!(0)),
        service("bad-port-65536", "/spec/ports/0/port", json!(65_536)),
        service("bad-port-text", "/spec/ports/0/port", json!("eighty")),
        service("bad-ports-map", "/spec/ports", json!({"port": 80})),
        service("bad-spec-list", "/spec", json!([1, 2])),
        service("bad-status-text", "/status", json!("fine")),
        service("bad-time", "/metadata/creationTimestamp", json!("yesterday")),
        service("bad-long-", "/metadata/name", json!(long)),
        service("bad-NAME", "/spec/ports/0/port", json!(81)),
        slice("bad-type", "/addressType", json!("IPX")),
        slice("bad-type-missing", "/addressType", Value::Null),
        slice("bad-port", "/ports/0/port", json!(65_536)),
        slice("bad-address", "/endpoints/0/addresses", json!(["10.0.0"])),
        slice("bad-ready", "/endpoints/0/conditions", json!({"ready": "yes"})),
        slice("bad-endpoints", "/endpoints", json!("none")),
        node("bad-addresses", "/status/addresses", json!({"InternalIP": "10.0.0.1"})),
        // That there is such a node can be used, so it counts.
        node("odd-address", "/status/addresses/0/address", json!("fe80::x")),
    ]
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    *object.pointer_mut(pointer).unwrap() = value;
    object
}
