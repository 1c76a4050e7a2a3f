//! Floods of datagrams that Pods answer: what each of them leaves stays apart from connections, until more comes of it.

use lb_common::{
    Action, Reason, Stage,
    host::{FrameSpec, Memory, run_and_check},
    reason::Program,
    wire::Protocol,
};

use crate::world::{DEVICE, HERE, POD_PORT, client, handle, pod, request, world};

/// A datagram of the Pod's for the client.
fn answer(memory: &Memory) -> Reason {
    let spec = FrameSpec::udp((pod(HERE, false), POD_PORT), (client(9, false), 40_000), &[9; 16]);
    let outcome =
        run_and_check(memory, Program::Egress, &spec.build(), DEVICE).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(outcome.verdict.action, Action::Pass);
    outcome.verdict.reason
}

fn ask(memory: &Memory) -> Reason {
    handle(memory, &request(false, Protocol::UDP).build()).0.reason
}

/// How many notes there are, of connections and of single packets.
fn notes(memory: &Memory) -> (usize, usize) {
    let count = |stage: Stage| memory.v4.replies[stage as usize].borrow().len();
    (count(Stage::Established), count(Stage::New))
}

#[test]
fn one_answer_leaves_a_note_where_it_is() {
    let memory = world();
    assert_eq!(ask(&memory), Reason::LocalNew);
    assert_eq!(answer(&memory), Reason::ReplyRestored);
    assert_eq!(notes(&memory), (0, 1));
}

/// As of a subscription, whose client says nothing any more.
#[test]
fn a_pod_that_goes_on_sending_is_none_of_a_flood() {
    let memory = world();
    ask(&memory);
    for _ in 0..2 {
        assert_eq!(answer(&memory), Reason::ReplyRestored);
    }
    assert_eq!(notes(&memory), (1, 1));
    memory.v4.replies[Stage::New as usize].borrow_mut().clear();
    assert_eq!(answer(&memory), Reason::ReplyRestored);
}

#[test]
fn a_client_that_asks_again_is_none_of_a_flood() {
    let memory = world();
    ask(&memory);
    answer(&memory);
    ask(&memory);
    assert_eq!(notes(&memory), (1, 1));
    // What is known stays as it is, however often the Pod answers.
    answer(&memory);
    ask(&memory);
    assert_eq!(notes(&memory), (1, 1));
}
