//! Lists and watches: those that go well, and those that are cut, late or gone.

use std::time::Duration;

use limpet_lab::api_server::{Fault, Kind, Times, Verb, Which, Wrong};
use serde_json::json;

use super::{KINDS, begin, churn, end};
use crate::{objects, place::Place};

/// Also objects that begin or stop to count: by label, by cluster IP, by their slices' label.
pub(crate) fn churn_is_followed(place: &mut Place) {
    begin(place);
    for round in 2..5 {
        churn(place, round);
        end(place, round);
    }
    let namespace = place.cluster.namespace.clone();
    let proxy_label = "service.kubernetes.io/service-proxy-name";
    let mut other = objects::service(&namespace, 5);
    other["metadata"]["labels"] = json!({ proxy_label: "somebody" });
    place.cluster.apply(&other);
    place.until_in_step();
    assert_eq!(place.served(), [1], "the other proxy's");
    // A merge patch takes the label away by null.
    other["metadata"]["labels"] = if place.cluster.is_own() { json!({}) } else { json!({ proxy_label: null }) };
    place.cluster.apply(&other);
    place.until_in_step();
    assert_eq!(place.served(), [1, 5]);

    let mut slice = objects::slice(&namespace, 5, &[7], &place.cluster.nodes);
    slice["metadata"]["labels"]["service.kubernetes.io/headless"] = json!("");
    place.cluster.apply(&slice);
    place.until_in_step();
    let relists = place.agent()["source"]["relists"].clone();
    assert_eq!(relists, 0, "nothing went wrong");
    for kind in KINDS {
        assert_eq!(place.asked(Verb::List, kind), 1);
    }
}

pub(crate) fn cut_watches(place: &mut Place) {
    begin(place);
    for round in 2..6 {
        place.fault(Fault::CutWatches);
        churn(place, round);
        if round == 4 {
            place.until_in_step();
        }
    }
    end(place, 5);
    for kind in KINDS {
        assert!(place.asked(Verb::Watch, kind) > 1, "{kind:?} was cut");
    }
}

pub(crate) fn watches_cut_within_a_line(place: &mut Place) {
    begin(place);
    for round in 2..5 {
        let before = place.asked(Verb::Watch, Kind::Service);
        place.fault(Fault::CutMidLine(Which::ALL));
        churn(place, round);
        place.until("the watch to be cut", |place| place.asked(Verb::Watch, Kind::Service) > before);
    }
    end(place, 4);
}

/// By a line of the watch, as API servers say it, and by the HTTP status.
pub(crate) fn versions_that_are_gone(place: &mut Place) {
    begin(place);
    for (round, gone) in (2..).zip([Wrong::Gone, Wrong::GONE_STATUS]) {
        let before = KINDS.map(|kind| place.asked(Verb::List, kind));
        for kind in KINDS {
            place.fault(Fault::Answers(gone.clone(), Which::both(Verb::Watch, kind), Times::Next(1)));
        }
        place.fault(Fault::CutWatches);
        churn(place, round);
        end(place, round);
        assert!(!place.front().has_faults_left());
        for (kind, before) in KINDS.into_iter().zip(before) {
            assert!(place.asked(Verb::List, kind) > before, "{kind:?} was listed anew");
        }
    }
    assert!(place.agent()["source"]["relists"].as_u64().unwrap() >= 6);
}

pub(crate) fn slow_answers(place: &mut Place) {
    place.fault(Fault::Answers(Wrong::Slow(Duration::from_millis(700)), Which::ALL, Times::UntilHealed));
    begin(place);
    for round in 2..4 {
        place.fault(Fault::CutWatches);
        churn(place, round);
    }
    end(place, 3);
    assert_eq!(place.agent()["source"]["relists"], 0);
}

/// The server says so twice, once in the middle of a list.
pub(crate) fn pages_that_expire(place: &mut Place) {
    for service in 1..=5 {
        place.serve(service, &[service]);
    }
    for kind in [Kind::Service, Kind::EndpointSlice] {
        place.fault(Fault::Answers(Wrong::Gone, Which::both(Verb::NextPage, kind), Times::Next(1)));
    }
    place.start_agent();
    place.until_in_step();
    assert_eq!(place.served(), [1, 2, 3, 4, 5]);
    for kind in [Kind::Service, Kind::EndpointSlice] {
        assert!(place.asked(Verb::List, kind) >= 2, "{kind:?} was begun anew");
        assert!(place.asked(Verb::NextPage, kind) >= 3, "{kind:?} has three pages");
    }
    churn(place, 5);
    place.until_in_step();
    assert_eq!(place.served(), [1, 2, 3, 4, 6]);
}

/// Objects change between two pages, and the history that the second one is of is compacted.
pub(crate) fn pages_of_a_compacted_history(place: &mut Place) {
    for service in 1..=5 {
        place.serve(service, &[service]);
    }
    place.fault(Fault::Answers(Wrong::Hang, Which::both(Verb::NextPage, Kind::Service), Times::UntilHealed));
    place.start_agent();
    place.until("the second page to be asked for", |place| place.asked(Verb::NextPage, Kind::Service) > 0);
    place.withdraw(1);
    place.withdraw(4);
    place.serve(6, &[6]);
    place.front().compact().unwrap();
    assert!(place.has_nothing());
    place.heal();
    place.until_in_step();
    assert_eq!(place.served(), [2, 3, 5, 6], "not the first page's Service 1");
}
