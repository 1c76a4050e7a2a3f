//! An API server that may answer with anything, and an agent that may stop anywhere.

mod made;

use lb_common::host::Input;
use lb_userspace::source::Told;
use tokio::runtime::Builder;

use crate::node::Node;

/// Most steps of one input.
const MAX_STEPS: usize = 24;
/// The first byte of an input of which the rest are decisions, not text.
const IS_MADE: u8 = 0;

/// Where the first byte is 0, the rest decides which objects come and go ([`made`]). Else each line is a step, and its first
/// character says which: `S`, `E`, `N` the answer to a list of Services, EndpointSlices, Nodes; `s`, `e`, `n` a line of a watch;
/// `*` the agent is started anew; anything else: a minute passes. A `!` before it: the agent stops in the middle of its writes.
pub fn objects(input: &[u8]) {
    // For the client that is never used. What it leaves behind goes with the runtime.
    let Ok(runtime) = Builder::new_current_thread().build() else { return };
    let _within = runtime.enter();
    match input.split_first() {
        Some((&IS_MADE, rest)) => {
            let mut input = Input::new(rest);
            let node = Node::new(&mut input);
            play(node, made::steps(&mut input));
        }
        _ => {
            let text = String::from_utf8_lossy(input);
            play(Node::new(&mut Input::new(&[])), text.lines().map(Step::read));
        }
    }
}

/// What the agent does about it all.
fn play(mut node: Node, steps: impl IntoIterator<Item = Step>) {
    let mut told = Told::nothing();
    for Step { what, ends_at } in steps.into_iter().take(MAX_STEPS) {
        match what {
            What::List(kind, body) => told.list(kind, &body),
            What::Event(kind, line) => told.event(kind, &line),
            What::Restart => node.restart(),
            What::Wait(seconds) => node.wait(seconds),
        }
        let Some((snapshot, problems)) = told.read() else { continue };
        match ends_at {
            Some(share) => node.crash(&snapshot, &problems, share),
            None => node.sync(&snapshot, &problems),
        }
    }
}

/// Something happens, and the agent does a round.
#[derive(Clone, Debug)]
struct Step {
    what: What,
    /// After which share (of 256) of its writes the agent ends; none when it does not.
    ends_at: Option<u8>,
}

/// What happens.
#[derive(Clone, Debug)]
enum What {
    /// The answer to a list of a kind, by its place in what is followed.
    List(usize, String),
    /// A line of a watch of a kind.
    Event(usize, String),
    /// The agent is started anew.
    Restart,
    /// Seconds pass.
    Wait(u64),
}

impl Step {
    /// The step that a line tells.
    fn read(line: &str) -> Self {
        let (ends_at, line) = line.strip_prefix('!').map_or((None, line), |line| (Some(128), line));
        let mut letters = line.chars();
        let first = letters.next().unwrap_or('+');
        let rest = letters.as_str().to_owned();
        let what = match (first, "SENsen".find(first)) {
            ('*', _) => What::Restart,
            (_, Some(kind @ 0..3)) => What::List(kind, rest),
            (_, Some(kind)) => What::Event(kind - 3, rest),
            (_, None) => What::Wait(61),
        };
        Self { what, ends_at }
    }
}
