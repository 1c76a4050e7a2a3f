//! The scenarios, by what goes wrong, and what they have in common.

pub(crate) mod away;
pub(crate) mod following;
pub(crate) mod huge;
pub(crate) mod impossible;
pub(crate) mod refusals;
pub(crate) mod start;

use limpet_lab::api_server::Kind;

use crate::place::Place;

/// What the agent reads.
const KINDS: [Kind; 3] = [Kind::Service, Kind::EndpointSlice, Kind::Node];

/// An agent in step with two Services.
fn begin(place: &mut Place) {
    place.serve(1, &[1, 2]);
    place.serve(2, &[3, 4]);
    place.start_agent();
    place.until_in_step();
    assert_eq!(place.served(), [1, 2]);
}

/// What happens meanwhile, in rounds from 2 on: Service 1 gets another Pod, the one of the round goes, the next one comes.
fn churn(place: &Place, round: u8) {
    place.serve(1, &[1, round + 100]);
    place.withdraw(round);
    place.serve(round + 1, &[round + 10, round + 20]);
}

/// All is well after the last round.
fn end(place: &Place, round: u8) {
    place.until_in_step();
    assert_eq!(place.served(), [1, round + 1]);
}

/// What the agent says is wrong with its source; empty when nothing is.
fn said(place: &Place) -> String {
    place.agent()["source"]["error"].as_str().unwrap_or_default().to_owned()
}
