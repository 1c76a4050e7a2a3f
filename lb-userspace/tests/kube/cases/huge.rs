//! More than there is room for.

use limpet_lab::api_server::Kind;
use serde_json::{Value, json};

use super::{begin, churn, end};
use crate::{objects, place::Place};

/// A hundred times what an API server would take in one slice.
const ENDPOINTS: u32 = 100_000;
/// The Service that has them.
const HUGE: u8 = 9;

/// What is too much is named, with the slice and the flag to raise; the Services that were there go on.
pub(crate) fn a_hundred_thousand_endpoints(place: &mut Place) {
    begin(place);
    let namespace = place.cluster.namespace.clone();
    place.cluster.apply(&objects::service(&namespace, HUGE));
    place.front().store_as(Kind::EndpointSlice, &namespace, &objects::name(HUGE), huge(&namespace)).unwrap();
    place.until("both limits to be told", |place| {
        let problems = place.status()["problems"].take();
        let tells = |object: &str, text: &str| {
            problems.as_array().into_iter().flatten().any(|problem| {
                problem["object"].as_str().is_some_and(|name| name.starts_with(object))
                    && problem["message"].as_str().is_some_and(|message| message.contains(text))
            })
        };
        tells("EndpointSlice limpet-test/web-9", "1000") && tells("Service limpet-test/web-9", "--max-backends")
    });
    place.withdraw(2);
    place.serve(1, &[1]);
    // The huge one's frontend has no backends.
    place.until("the others' changes to be followed", |place| place.served() == [1, HUGE]);
    place.serve(2, &[3, 4]);
    place.withdraw(HUGE);
    churn(place, 2);
    end(place, 2);
}

fn huge(namespace: &str) -> Value {
    let mut slice = objects::slice(namespace, HUGE, &[], &["n1".to_owned()]);
    let endpoints = (0..ENDPOINTS).map(|number| {
        let [_, high, middle, low] = number.to_be_bytes();
        json!({"addresses": [format!("10.{}.{middle}.{low}", 128 + high)], "nodeName": "n1"})
    });
    slice["endpoints"] = endpoints.collect();
    slice
}
