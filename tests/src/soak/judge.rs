//! Whether what went wrong had to: pure judging of one request by what happened at its time.
//!
//! "Possible" is what the node of the request may have had programmed meanwhile: see [`History::possible`]. The rules:
//!
//! | what was seen | explained where |
//! | --- | --- |
//! | a Pod answered a new request | the Pod was usable in something possible, and the client allowed in something possible |
//! | a new request was refused, or told of no way | possibly the Service was not there, or nobody was usable; or the server of a usable Pod was dead |
//! | a new request was reset or closed | a usable Pod was dead, or possibly not one of the Service any more |
//! | a new request was not answered | possibly the Service was not there, where it was not by node port (the kernel tells a client once a second that there is no way); the server of a usable Pod was dead; possibly the client was not allowed; the node of the request, or of a usable Pod, was cut off; or the node of a usable Pod had possibly not heard of it yet |
//! | a held connection ended | possibly its Pod was not one of the Service, or the Service was not there; or its Pod was dead. An uplink that was down for less than [`LONG_CUT`](super::history::LONG_CUT) explains nothing: TCP sends again |
//! | a held client got another Pod | possibly its Pod was not usable, the Service not there, or its affinity another or shorter than the pause |
//! | a datagram was not answered | as a new request; but only what happened while it was on its way counts |
//! | wrong content, another Pod on an open connection, an address that is not the client's | never |

use std::fmt;
use std::time::Duration;

use super::history::{History, Said, Window};
use crate::world::FrontendKind;

/// A client's time is over up to this much earlier or later than its pause says: Limpet counts in whole seconds, from
/// when the SYN arrived.
const WHOLE_SECONDS: Duration = Duration::from_secs(1);
/// How long a datagram and its answer are on their way at most, on a machine that is busy. What happens later, while its
/// client still waits for an answer, explains nothing.
const ON_ITS_WAY: Duration = Duration::from_millis(500);
/// The client machine that Services are for while they are restricted.
pub(super) const ALLOWED_CLIENT: u8 = 1;

/// How a request failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    Refused,
    Unreachable,
    Reset,
    TimedOut,
    /// An answer that cannot be.
    Wrong(String),
    /// By a Pod that was not in the Service at the time, or not usable.
    WrongPod(String),
    /// Of the lab itself, such as a socket that cannot be made.
    Other(String),
}

impl Failure {
    /// Its kind in words.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "no way",
            Self::Reset => "reset",
            Self::TimedOut => "time-out",
            Self::Wrong(_) => "wrong answer",
            Self::WrongPod(_) => "wrong Pod",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(what) | Self::WrongPod(what) | Self::Other(what) => write!(f, "{}: {what}", self.name()),
            Self::Refused | Self::Unreachable | Self::Reset | Self::TimedOut => f.write_str(self.name()),
        }
    }
}

/// What explains a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    ServiceGone,
    NobodyUsable,
    NotAllowed,
    PodDead,
    PodRemoved,
    PodNotYetKnown,
    UplinkDown,
}

impl Cause {
    /// In words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ServiceGone => "the Service was not there",
            Self::NobodyUsable => "no Pod was usable",
            Self::NotAllowed => "source ranges kept the client out",
            Self::PodDead => "a Pod's server was dead",
            Self::PodRemoved => "its Pod was removed",
            Self::PodNotYetKnown => "the Pod's node had not heard of it yet",
            Self::UplinkDown => "an uplink was down",
        }
    }
}

/// A request, or a part of a conversation, that is to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) service: String,
    /// The node that it arrived at.
    pub(super) node: u8,
    pub(super) kind: FrontendKind,
    /// The client machine.
    pub(super) client: u8,
    pub(super) window: Window,
}

impl Asked {
    /// The same for a datagram, which nobody sends again.
    pub(super) fn datagram(mut self) -> Self {
        self.window.to = self.window.to.min(self.window.from + ON_ITS_WAY);
        self
    }

    fn possible<'a>(&self, history: &'a History) -> Vec<&'a Said> {
        history.possible(&self.service, self.node, self.window).collect()
    }

    /// Source ranges are for load-balancer IPs alone.
    fn is_allowed(&self, said: &Said) -> bool {
        !said.restricted || self.client == ALLOWED_CLIENT || self.kind != FrontendKind::LoadBalancerIp
    }
}

/// Whether this Pod may have answered a new request; else why not.
pub(super) fn answer(history: &History, asked: &Asked, pod: &str) -> Result<(), Failure> {
    let possible = asked.possible(history);
    let usable: Vec<_> = possible.iter().filter(|said| said.usable().contains(&pod)).collect();
    if usable.is_empty() {
        return Err(Failure::WrongPod(format!("{pod} answered, which was not usable")));
    }
    if !usable.iter().any(|said| asked.is_allowed(said)) {
        return Err(Failure::Wrong(format!("{pod} answered a client that was not allowed")));
    }
    Ok(())
}

/// What explains that a new request failed; none where nothing does.
pub(super) fn request(history: &History, asked: &Asked, failure: &Failure) -> Option<Cause> {
    let possible = asked.possible(history);
    let refused = matches!(failure, Failure::Refused | Failure::Unreachable);
    let silent = matches!(failure, Failure::TimedOut | Failure::Unreachable);
    // What is for an address that nobody has any more is the kernel's, which tells each client once a second.
    let ignored = failure == &Failure::TimedOut && asked.kind != FrontendKind::NodePort;
    let ended = failure == &Failure::Reset;
    if matches!(failure, Failure::Wrong(_) | Failure::WrongPod(_) | Failure::Other(_)) {
        return None;
    }
    let usable = || possible.iter().flat_map(|said| said.usable());
    let on_cut_node = |pod: &str| history.node_of(pod).is_some_and(|node| history.was_cut_off(node, asked.window));
    let rules = [
        ((refused || ignored) && possible.iter().any(|said| !said.is_there), Cause::ServiceGone),
        (refused && possible.iter().any(|said| said.is_there && said.usable().is_empty()), Cause::NobodyUsable),
        (usable().any(|pod| history.was_dead(pod, asked.window)), Cause::PodDead),
        (silent && (history.was_cut_off(asked.node, asked.window) || usable().any(on_cut_node)), Cause::UplinkDown),
        (failure == &Failure::TimedOut && possible.iter().any(|said| !asked.is_allowed(said)), Cause::NotAllowed),
        (ended && usable().any(|pod| possible.iter().any(|said| !said.has(pod))), Cause::PodRemoved),
        (
            failure == &Failure::TimedOut && usable().any(|pod| may_be_unknown_at_home(history, asked, pod)),
            Cause::PodNotYetKnown,
        ),
    ];
    rules.into_iter().find_map(|(holds, cause)| holds.then_some(cause))
}

/// What explains that an open connection to a Pod ended. The window begins with its last exchange that went well.
pub(super) fn held(history: &History, asked: &Asked, pod: &str, failure: &Failure) -> Option<Cause> {
    if matches!(failure, Failure::Wrong(_) | Failure::WrongPod(_) | Failure::Other(_)) {
        return None;
    }
    let possible = asked.possible(history);
    let nodes = [Some(asked.node), history.node_of(pod)];
    let for_long = nodes.into_iter().flatten().any(|node| history.was_cut_off_for_long(node, asked.window));
    let rules = [
        (history.was_dead(pod, asked.window), Cause::PodDead),
        (possible.iter().any(|said| !said.is_there), Cause::ServiceGone),
        (possible.iter().any(|said| !said.has(pod)), Cause::PodRemoved),
        (failure == &Failure::TimedOut && for_long, Cause::UplinkDown),
    ];
    rules.into_iter().find_map(|(holds, cause)| holds.then_some(cause))
}

/// Whether a held client may have been given another Pod than the one that it had. The window is from its request before
/// to this one.
pub(super) fn may_move(history: &History, asked: &Asked, had: &str) -> bool {
    let pause = asked.window.to.saturating_sub(asked.window.from);
    let possible = asked.possible(history);
    let kept = |said: &&Said| {
        let affinity = said.affinity.map(|seconds| Duration::from_secs(seconds.into()));
        said.usable().contains(&had) && affinity.is_some_and(|affinity| pause + WHOLE_SECONDS < affinity)
    };
    !possible.iter().all(kept)
}

/// Whether the node that a Pod runs on may still have had something programmed from before the Pod came. That it went is
/// another matter: nodes go on taking packets for it for a while.
fn may_be_unknown_at_home(history: &History, asked: &Asked, pod: &str) -> bool {
    let Some(home) = history.node_of(pod) else { return false };
    let mut possible = history.possible(&asked.service, home, asked.window);
    possible.any(|said| !said.has(pod)) && possible.any(|said| said.has(pod))
}

#[cfg(test)]
mod tests;
