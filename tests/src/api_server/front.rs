//! What stands in front of whoever answers: tokens, faults, and a record of what was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode, Uri};
use tokio::sync::watch;
use tokio::time::sleep;

use super::body::{self, Body, Cut, Pieces};
use super::fault::{Garbage, MAX_SLOW, Wrong};
use super::faults::{Cuts, Cutting, Faults};
use super::kind::Kind;
use super::refusal::Refusal;
use super::target::{Target, Verb};
use super::tokens::Tokens;
use super::upstream::Upstream;
use super::watching;

/// Largest body of a request, as of a real server.
const MAX_BODY_BYTES: usize = 3 << 20;
/// Most requests that are kept on record; of more, the last.
const MAX_REQUESTS: usize = 100_000;

/// A request that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What was to be done to what; none for a path without objects.
    pub what: Option<(Verb, Kind)>,
    /// The method.
    pub method: String,
    /// Path and query as they were sent.
    pub path: String,
}

/// Answers requests, rightly or wrongly.
pub(super) struct Front {
    pub(super) upstream: Arc<dyn Upstream>,
    pub(super) tokens: Tokens,
    pub(super) faults: Faults,
    /// Clients that ask for larger pages get pages of this size.
    pub(super) largest_page: Option<u32>,
    asked: Mutex<VecDeque<Asked>>,
}

impl Front {
    pub(super) fn new(upstream: Arc<dyn Upstream>, largest_page: Option<u32>) -> Self {
        Self { upstream, tokens: Tokens::default(), faults: Faults::new(), largest_page, asked: Mutex::default() }
    }

    /// What was asked so far, in order.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.lock().iter().cloned().collect()
    }

    /// Answers one request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let what = Target::parse(&parts.method, &parts.uri).map(|target| (target.verb, target.kind));
        self.note(what, &parts);
        if let Err(refusal) = self.tokens.check(&parts.headers) {
            return refusal.response();
        }
        let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
            return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large, or was cut off").response();
        };
        // From before anything is asked, so that no cut is missed.
        let mut cuts = self.faults.cuts();
        let begin = *cuts.borrow_and_update();
        if let Some(response) = self.wrong_answer(what).await {
            return response;
        }
        let response = self.upstream.answer(self.passed_on(&parts, body.to_bytes())).await;
        match what {
            Some((Verb::Watch, kind)) if response.status() == StatusCode::OK => response.map(|inner| {
                let (pieces, body) = body::of_pieces();
                // Ends with the body, or with the upstream's.
                let _passing = tokio::spawn(pass(inner, pieces, kind, begin, cuts));
                body
            }),
            _ => response,
        }
    }

    fn note(&self, what: Option<(Verb, Kind)>, parts: &Parts) {
        let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let mut asked = self.lock();
        if asked.len() >= MAX_REQUESTS {
            asked.pop_front();
        }
        asked.push_back(Asked { what, method: parts.method.to_string(), path });
    }

    /// None when the right answer is to be given, by now.
    async fn wrong_answer(&self, what: Option<(Verb, Kind)>) -> Option<Response<Body>> {
        let mut heals = self.faults.heals();
        match self.faults.take(what)? {
            Wrong::Slow(pause) => {
                sleep(pause.min(MAX_SLOW)).await;
                None
            }
            Wrong::Hang => {
                // It only fails when the server ends.
                let _ = heals.changed().await;
                None
            }
            Wrong::Status(code, after) => {
                let refusal = Refusal::new(code, format!("{code}, on purpose"));
                Some(after.map_or(refusal.clone(), |seconds| refusal.after(seconds)).response())
            }
            Wrong::Gone => Some(match what {
                Some((Verb::Watch, _)) => {
                    body::with_type(StatusCode::OK, "application/json", body::whole(watching::gone(1, 2)))
                }
                _ => Refusal::gone("too old, on purpose").response(),
            }),
            Wrong::Garbage(garbage) => {
                let content_type = if garbage == Garbage::Html { "text/html" } else { "application/json" };
                Some(body::with_type(StatusCode::OK, content_type, body::whole(garbage.bytes())))
            }
        }
    }

    /// The request for the upstream: nothing of it is about this server.
    fn passed_on(&self, parts: &Parts, body: Bytes) -> Request<Bytes> {
        let mut request = Request::new(body);
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = self.largest_page.map_or(parts.uri.clone(), |limit| with_pages_of(&parts.uri, limit));
        for name in [ACCEPT, CONTENT_TYPE] {
            if let Some(value) = parts.headers.get(&name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        request
    }

    /// A panic elsewhere leaves nothing half-written in here.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same with a `limit` of at most this, if there is one.
fn with_pages_of(uri: &Uri, limit: u32) -> Uri {
    let Some(query) = uri.query() else { return uri.clone() };
    let pairs = query.split('&').map(|pair| match pair.strip_prefix("limit=").map(str::parse::<u32>) {
        Some(Ok(asked)) if asked == 0 || asked > limit => format!("limit={limit}"),
        _ => pair.to_owned(),
    });
    let query = pairs.collect::<Vec<_>>().join("&");
    format!("{}?{query}", uri.path()).parse().unwrap_or_else(|_| uri.clone())
}

/// Passes on what a watch tells, until it is cut.
async fn pass(mut inner: Body, pieces: Pieces, kind: Kind, begin: Cuts, mut cuts: watch::Receiver<Cuts>) {
    loop {
        let cutting = begin.until(*cuts.borrow_and_update(), Some(kind));
        if cutting == Cutting::Now {
            // The client may have left.
            let _ = pieces.send(Err(Cut.into())).await;
            return;
        }
        let frame = tokio::select! {
            // Cuts first: nothing is told after them.
            biased;
            changed = cuts.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = pieces.closed() => return,
            frame = inner.frame() => frame,
        };
        let piece = match frame {
            None => return,
            Some(Ok(frame)) => frame.into_data().map_err(|_| Cut.into()),
            Some(Err(error)) => Err(error),
        };
        let ends = piece.is_err() || cutting == Cutting::MidLine;
        let piece = piece.map(|piece| if cutting == Cutting::MidLine { half(&piece) } else { piece });
        if pieces.send(piece).await.is_err() {
            return;
        }
        if ends {
            // The client may have left.
            let _ = pieces.send(Err(Cut.into())).await;
            return;
        }
    }
}

/// All but the second half of the last line.
fn half(piece: &Bytes) -> Bytes {
    let last = piece.trim_ascii_end();
    let start = last.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    piece.slice(..start + (last.len() - start) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_last_line_is_left() {
        let check = |piece: &'static str, expected: &str| assert_eq!(half(&Bytes::from(piece)), expected);
        check("{\"ab\"}\n", "{\"a");
        check("1234\n5678\n", "1234\n56");
        check("1234", "12");
        check("", "");
    }

    #[test]
    fn pages_are_made_smaller_and_never_larger() {
        let check = |uri: &str, expected: &str| assert_eq!(with_pages_of(&uri.parse().unwrap(), 3), expected);
        check(
            "/api/v1/nodes?labelSelector=%21a&limit=500&continue=x",
            "/api/v1/nodes?labelSelector=%21a&limit=3&continue=x",
        );
        check("/api/v1/nodes?limit=2", "/api/v1/nodes?limit=2");
        check("/api/v1/nodes?limit=0", "/api/v1/nodes?limit=3");
        check("/api/v1/nodes?watch=1", "/api/v1/nodes?watch=1");
        check("/api/v1/nodes", "/api/v1/nodes");
    }
}
