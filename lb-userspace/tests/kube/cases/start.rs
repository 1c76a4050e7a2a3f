//! An agent that has not seen everything yet programs nothing.

use limpet_lab::api_server::{Fault, Kind, Times, Verb, Which, Wrong, WrongCertificate};

use super::{KINDS, churn, end, said};
use crate::place::Place;

pub(crate) fn certificates_that_cannot_be_trusted(place: &mut Place) {
    place.serve(1, &[1, 2]);
    place.serve(2, &[3]);
    place.fault(Fault::Certificate(WrongCertificate::UnknownCa));
    place.start_agent();
    for (wrong, expected) in [
        (WrongCertificate::UnknownCa, "not of an authority that the agent trusts"),
        (WrongCertificate::OtherName, "for another name or address"),
        (WrongCertificate::Expired, "has expired"),
    ] {
        place.fault(Fault::Certificate(wrong));
        place.until(expected, |place| said(place).contains(expected));
        let text = place.status_text();
        assert!(text.contains(expected) && text.contains(&place.front().url()), "{text}");
        assert!(place.has_nothing());
        assert_eq!(place.agent()["in_step"], false);
    }
    churn(place, 2);
    place.heal();
    end(place, 2);
}

/// Each of the three lists in its turn: two complete ones are not enough.
pub(crate) fn lists_of_which_one_hangs(place: &mut Place) {
    place.serve(1, &[1, 2]);
    place.serve(2, &[3]);
    for missing in KINDS {
        let before = KINDS.map(|kind| place.asked(Verb::Watch, kind));
        place.fault(Fault::Answers(Wrong::Hang, Which::both(Verb::List, missing), Times::UntilHealed));
        place.start_agent();
        place.until("the other lists to be complete", |place| {
            let watched = KINDS.map(|kind| place.asked(Verb::Watch, kind));
            KINDS.into_iter().zip(before).zip(watched).all(|((kind, before), now)| kind == missing || now > before)
        });
        place.until("the agent to say that it waits", |place| {
            let agent = place.agent();
            agent["in_step"] == false && agent["source"]["complete"] == false
        });
        assert!(place.has_nothing());
        place.kill_agent();
        place.heal();
    }
    place.fault(Fault::Answers(Wrong::Hang, Which::both(Verb::List, Kind::Node), Times::UntilHealed));
    place.start_agent();
    place.until("the list to be asked for", |place| place.asked(Verb::List, Kind::Node) > 1);
    churn(place, 2);
    assert!(place.has_nothing());
    place.heal();
    end(place, 2);
}
