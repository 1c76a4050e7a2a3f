//! Bodies of answers: whole ones, and those that are sent piece by piece.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
/// Why a body ends before its end.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Pieces of a body that may wait for the connection.
const WAITING_PIECES: usize = 16;

/// The connection was cut on purpose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was cut")
    }
}

impl std::error::Error for Cut {}

/// Where the pieces of a body are put in. When it is dropped, the body ends.
pub(super) type Pieces = mpsc::Sender<Result<Bytes, BoxError>>;

/// A body of pieces that are still to come. An error among them cuts the connection.
pub(super) fn of_pieces() -> (Pieces, Body) {
    let (sender, receiver) = mpsc::channel(WAITING_PIECES);
    (sender, Body::new(PieceByPiece { pieces: receiver, failure: None }))
}

struct PieceByPiece {
    pieces: mpsc::Receiver<Result<Bytes, BoxError>>,
    failure: Option<BoxError>,
}

impl hyper::body::Body for PieceByPiece {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        match self.pieces.poll_recv(context) {
            // The pieces before it are sent while the connection waits, and lost when it fails at once.
            Poll::Ready(Some(Err(failure))) => {
                self.failure = Some(failure);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            other => other.map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }
}

/// A whole body.
#[must_use]
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer of JSON.
pub(super) fn json(code: StatusCode, value: &Value) -> Response<Body> {
    with_type(code, "application/json", whole(value.to_string()))
}

/// An answer of any type.
pub(super) fn with_type(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
