//! What can be made to go wrong.

use std::time::Duration;

use hyper::StatusCode;

use super::kind::Kind;
use super::target::Verb;

/// Longest time that [`Wrong::Slow`] takes, whatever it is told.
pub const MAX_SLOW: Duration = Duration::from_secs(30);

/// Something that goes wrong. What lasts, lasts until [`ApiServer::heal`](super::ApiServer::heal).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens any more, and all connections are cut. Lasts.
    RefuseConnections,
    /// Another certificate is shown, and all connections are cut. Lasts. Only of a server that speaks TLS.
    Certificate(WrongCertificate),
    /// All watches are cut, once, now. Nothing that changes afterwards is told before that.
    CutWatches,
    /// The next line that each of these watches tells is told in half, and then the watch is cut. Watches that begin later are
    /// not.
    CutMidLine(Which),
    /// Some requests are answered wrongly.
    Answers(Wrong, Which, Times),
    /// Lists, objects and watches show nothing newer than this version, as of a server that lags behind the others. Lasts.
    /// Only of a server with objects of its own.
    OldView(u64),
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongCertificate {
    /// Signed by somebody whom nobody knows.
    UnknownCa,
    /// Of another server, signed by the right CA.
    OtherName,
    /// Its time is over.
    Expired,
}

/// A wrong answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The right answer, but so late; at most [`MAX_SLOW`].
    Slow(Duration),
    /// No answer until all is healed, and then the right one.
    Hang,
    /// Only this status, with a `Status` object that goes with it, and a `Retry-After` if there is a number of seconds.
    Status(StatusCode, Option<u64>),
    /// 410, what is asked for is forgotten. A watch says it by a line of its own.
    Gone,
    /// No answer of a Kubernetes API.
    Garbage(Garbage),
}

impl Wrong {
    /// 401: the token is not accepted (any more).
    pub const UNAUTHORIZED: Self = Self::Status(StatusCode::UNAUTHORIZED, None);
    /// 403: this must not be done.
    pub const FORBIDDEN: Self = Self::Status(StatusCode::FORBIDDEN, None);
    /// 410 by the HTTP status, also of a watch.
    pub const GONE_STATUS: Self = Self::Status(StatusCode::GONE, None);
    /// 500: something inside the server failed.
    pub const INTERNAL_ERROR: Self = Self::Status(StatusCode::INTERNAL_SERVER_ERROR, None);

    /// 429: too many requests, try again after so long.
    #[must_use]
    pub fn too_many_requests(seconds: u64) -> Self {
        Self::Status(StatusCode::TOO_MANY_REQUESTS, Some(seconds))
    }
}

/// What is said instead of an answer, with status 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbage {
    /// A page of some proxy.
    Html,
    /// Bytes that are no text.
    Bytes,
    /// Nothing at all.
    Nothing,
    /// JSON that is no answer to this.
    OtherJson,
    /// JSON that ends before its end.
    HalfJson,
}

impl Garbage {
    /// All of it.
    pub const ALL: [Self; 5] = [Self::Html, Self::Bytes, Self::Nothing, Self::OtherJson, Self::HalfJson];

    /// What is sent.
    #[must_use]
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::Html => b"<html><body><h1>It works!</h1></body></html>\n",
            Self::Bytes => b"\xff\xfe\x00\x80\x0a\x1b[2J\n",
            Self::Nothing => b"",
            Self::OtherJson => b"[{\"type\": 7, \"items\": \"none\"}]\n",
            Self::HalfJson => b"{\"type\": \"ADDED\", \"kind\": \"List\", \"items\": [{\"metadata\": {\"na",
        }
    }
}

/// Which requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// None: whatever is done.
    pub verb: Option<Verb>,
    /// None: whatever it is done to.
    pub kind: Option<Kind>,
}

impl Which {
    /// All requests, those to paths without objects as well.
    pub const ALL: Self = Self { verb: None, kind: None };

    /// What does this, to whatever kind.
    #[must_use]
    pub fn verb(verb: Verb) -> Self {
        Self { verb: Some(verb), kind: None }
    }

    /// What is done to this kind.
    #[must_use]
    pub fn kind(kind: Kind) -> Self {
        Self { verb: None, kind: Some(kind) }
    }

    /// What does this to this kind.
    #[must_use]
    pub fn both(verb: Verb, kind: Kind) -> Self {
        Self { verb: Some(verb), kind: Some(kind) }
    }

    /// Whether a request is one of them; none for a path without objects.
    pub(super) fn is(self, request: Option<(Verb, Kind)>) -> bool {
        match request {
            Some((verb, kind)) => {
                self.verb.is_none_or(|wanted| wanted == verb) && self.kind.is_none_or(|wanted| wanted == kind)
            }
            None => self == Self::ALL,
        }
    }
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// The next so many requests.
    Next(u32),
    /// Until all is healed.
    UntilHealed,
}
