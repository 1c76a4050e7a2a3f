//! A server that answers, but not with what was asked for.

use std::fs;

use hyper::StatusCode;
use limpet_lab::api_server::{Fault, Garbage, Kind, Times, Verb, Which, Wrong};

use super::{KINDS, begin, churn, end, said};
use crate::place::Place;

/// Whatever comes instead of lists and watches, nobody takes it for objects, or for there being none.
pub(crate) fn garbage(place: &mut Place) {
    begin(place);
    for (round, garbage) in (2..).zip(Garbage::ALL) {
        for kind in KINDS {
            for verb in [Verb::Watch, Verb::List] {
                place.fault(Fault::Answers(Wrong::Garbage(garbage), Which::both(verb, kind), Times::Next(1)));
            }
        }
        let before = place.asked(Verb::Watch, Kind::Service);
        place.fault(Fault::CutWatches);
        churn(place, round);
        place.until("the watch to be answered with garbage", |place| {
            assert!(place.served().contains(&1), "nothing is taken away");
            place.asked(Verb::Watch, Kind::Service) > before
        });
        end(place, round);
        // Whether it also lists anew after what it could not read is the agent's business.
        place.heal();
    }
}

pub(crate) fn server_errors(place: &mut Place) {
    begin(place);
    let unavailable = Wrong::Status(StatusCode::SERVICE_UNAVAILABLE, Some(1));
    for (round, wrong) in (2..).zip([Wrong::INTERNAL_ERROR, Wrong::too_many_requests(1), unavailable]) {
        place.fault(Fault::Answers(wrong, Which::ALL, Times::Next(6)));
        place.fault(Fault::CutWatches);
        churn(place, round);
        place.until("the errors to be used up", |place| !place.front().has_faults_left());
        end(place, round);
    }
}

/// The Role may have been changed by mistake: what is programmed stays, and the status says what to grant.
pub(crate) fn forbidden(place: &mut Place) {
    begin(place);
    let before = place.applied();
    place.fault(Fault::Answers(Wrong::FORBIDDEN, Which::kind(Kind::EndpointSlice), Times::UntilHealed));
    place.fault(Fault::CutWatches);
    place.until("the refusal to be told", |place| {
        let said = said(place);
        said.contains("403") && said.contains("EndpointSlices") && said.contains("grant")
    });
    assert_eq!(place.agent()["source"]["connected"], false);
    assert_eq!(place.applied(), before);
    churn(place, 2);
    place.heal();
    end(place, 2);
}

/// The kubeconfig names a file with the token, whose content changes.
pub(crate) fn a_token_that_expires(place: &mut Place) {
    let token_file = place.path("token");
    fs::write(&token_file, place.front().issue_token()).unwrap();
    place.front().kubeconfig_with_token_file(&place.kubeconfig(), &token_file).unwrap();
    begin(place);
    place.front().expire_tokens();
    place.fault(Fault::CutWatches);
    churn(place, 2);
    place.until("the refusal to be told", |place| {
        let said = said(place);
        said.contains("401") && said.contains("credentials")
    });
    assert_eq!(place.served(), [1, 2], "as it was");
    fs::write(&token_file, place.front().issue_token()).unwrap();
    end(place, 2);
}
