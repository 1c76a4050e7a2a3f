//! What a server says when it does not do what it was asked to: `Status` objects.

use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::{self, Body};

/// A request that is not done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    code: StatusCode,
    /// A word for machines.
    reason: &'static str,
    message: String,
    retry_after_seconds: Option<u64>,
    continue_token: Option<String>,
}

impl Refusal {
    /// With the reason that Kubernetes has for this HTTP status.
    #[must_use]
    pub fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self { code, reason: reason(code), message: message.into(), retry_after_seconds: None, continue_token: None }
    }

    /// 400: the request makes no sense.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404: there is no such object.
    #[must_use]
    pub fn not_found(plural: &str, name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{plural} {name:?} not found"))
    }

    /// 409: there is an object of this name.
    #[must_use]
    pub fn already_exists(plural: &str, name: &str) -> Self {
        Self { reason: "AlreadyExists", ..Self::new(StatusCode::CONFLICT, format!("{plural} {name:?} already exists")) }
    }

    /// 410: what was asked for is forgotten.
    #[must_use]
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, message)
    }

    /// The same, to be tried again after so long.
    #[must_use]
    pub fn after(self, seconds: u64) -> Self {
        Self { retry_after_seconds: Some(seconds), ..self }
    }

    /// The same, with the token by which the rest of a list can be had nevertheless.
    pub(super) fn with_continue(self, token: String) -> Self {
        Self { continue_token: Some(token), ..self }
    }

    /// The `Status` object.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code.as_u16(),
        });
        if let Some(seconds) = self.retry_after_seconds {
            status["details"] = json!({"retryAfterSeconds": seconds});
        }
        if let Some(token) = &self.continue_token {
            status["metadata"]["continue"] = json!(token);
        }
        status
    }

    /// The answer.
    #[must_use]
    pub fn response(&self) -> Response<Body> {
        let mut response = body::json(self.code, &self.status());
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// `metav1.StatusReason`.
fn reason(code: StatusCode) -> &'static str {
    match code.as_u16() {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        409 => "Conflict",
        410 => "Expired",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    }
}
