//! A server that is away, or comes back as another one.

use limpet_lab::api_server::{Fault, Kind, Times, Verb, Which, Wrong, WrongCertificate};

use super::{begin, churn, end, said};
use crate::place::Place;

/// Deletions meanwhile are told by nobody: only what is missing in the lists says so.
pub(crate) fn a_server_that_is_away(place: &mut Place) {
    begin(place);
    let before = place.applied();
    place.fault(Fault::RefuseConnections);
    place.until("the agent to say that it is cut off", |place| {
        place.agent()["source"]["connected"] == false && said(place).contains("nobody listens there")
    });
    for round in 2..5 {
        churn(place, round);
    }
    let text = place.status_text();
    assert!(text.contains("nobody listens there"), "{text}");
    assert_eq!(place.applied(), before, "as it was, whatever happened");
    if place.cluster.is_own() {
        // What happened is not to be had change by change.
        place.front().compact().unwrap();
    }
    place.heal();
    end(place, 4);
    assert_eq!(place.agent()["source"]["error"], serde_json::Value::Null);
}

/// Somebody else answers, who cannot show that he is the cluster.
pub(crate) fn another_certificate_later(place: &mut Place) {
    begin(place);
    let before = place.applied();
    place.fault(Fault::Certificate(WrongCertificate::UnknownCa));
    place.until("the stranger to be told", |place| said(place).contains("not of an authority that the agent trusts"));
    churn(place, 2);
    assert_eq!(place.applied(), before);
    place.heal();
    end(place, 2);
}

/// The new agent knows of no object at all, and takes nothing away for that.
pub(crate) fn an_agent_that_restarts_meanwhile(place: &mut Place) {
    begin(place);
    place.fault(Fault::RefuseConnections);
    place.kill_agent();
    let before = place.applied();
    place.start_agent();
    place.until("the agent to say that nobody is there", |place| said(place).contains("nobody listens there"));
    churn(place, 2);
    assert_eq!(place.agent()["in_step"], false);
    assert_eq!(place.applied(), before, "as the agent before it left it");
    place.heal();
    end(place, 2);
}

pub(crate) fn a_server_that_comes_late(place: &mut Place) {
    place.fault(Fault::RefuseConnections);
    place.serve(1, &[1, 2]);
    place.serve(2, &[3, 4]);
    place.start_agent();
    place.until("the agent to say that nobody is there", |place| said(place).contains("nobody listens there"));
    assert!(place.has_nothing());
    churn(place, 2);
    place.heal();
    end(place, 2);
}

/// After a reconnect lists are answered by a server that lags behind. What it says may be followed, but not for longer than
/// it lags.
pub(crate) fn an_old_view(place: &mut Place) {
    begin(place);
    let old = place.front().version().unwrap();
    churn(place, 2);
    end(place, 2);
    place.fault(Fault::OldView(old));
    let before = place.asked(Verb::List, Kind::Service);
    place.fault(Fault::Answers(Wrong::Gone, Which::verb(Verb::Watch), Times::Next(3)));
    place.fault(Fault::CutWatches);
    place.until("everything to be listed anew", |place| place.asked(Verb::List, Kind::Service) > before);
    churn(place, 3);
    place.heal();
    end(place, 3);
}

/// As when a cluster's data were put back from a backup, with a jump of versions, as etcd's manual demands.
pub(crate) fn another_history(place: &mut Place) {
    begin(place);
    place.fault(Fault::RefuseConnections);
    place.withdraw(2);
    place.front().begin_anew(1_000_000_000).unwrap();
    place.serve(3, &[12, 22]);
    place.serve(1, &[1, 102]);
    place.heal();
    end(place, 2);
    assert!(place.agent()["source"]["relists"].as_u64().unwrap() >= 1);
}
