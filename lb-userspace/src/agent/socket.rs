//! The agent's Unix socket: HTTP and JSON, for the command line. Only who runs the agent, and root, may connect.

use std::{convert::Infallible, fs, io, path::Path};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    extract::RawQuery,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use nix::sys::stat::{Mode, umask};
use tokio::{net::UnixListener, task::JoinHandle};

use super::{breaks::History, http, report::Report, verify::Asker};
use crate::{
    api::{AgentVerification, BREAKS_PATH, REPAIR_PATH, STATUS_PATH, VERIFY_PATH},
    clock, fail_point,
};

/// Listens until the handle is dropped with the runtime.
///
/// # Errors
/// When the socket cannot be made.
pub(super) fn serve(path: &Path, report: Report, history: History, asker: Asker) -> Result<JoinHandle<Infallible>> {
    // Whoever holds the lock may take the place of a socket that a killed agent left.
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result.with_context(|| format!("cannot replace the old socket {}", path.display()))?,
    }
    fail_point::pass("socket");
    let listener = bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    Ok(tokio::spawn(http::serve(listener, router(report, history, asker))))
}

/// What is answered.
pub(super) fn router(report: Report, history: History, asker: Asker) -> Router {
    let repairer = asker.clone();
    Router::new()
        .route(STATUS_PATH, get(async move || Json(report.status())))
        .route(BREAKS_PATH, get(async move |RawQuery(query)| breaks(&history, query.as_deref().unwrap_or_default())))
        .route(VERIFY_PATH, get(async move || verified(asker.ask(false).await)))
        .route(REPAIR_PATH, post(async move || verified(repairer.ask(true).await)))
}

/// What a comparison gave, or why there is none.
fn verified(answer: Result<AgentVerification, String>) -> Response {
    match answer {
        Ok(verification) => Json(verification).into_response(),
        Err(message) => (StatusCode::SERVICE_UNAVAILABLE, message).into_response(),
    }
}

/// The answer to a question about breaks.
fn breaks(history: &History, query: &str) -> Response {
    let wanted = match Wanted::parse(query) {
        Ok(wanted) => wanted,
        Err(message) => return (StatusCode::BAD_REQUEST, message).into_response(),
    };
    match clock::monotonic() {
        Ok(now) => Json(history.answer(wanted.after, wanted.since_seconds, now)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Which breaks are asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Wanted {
    after: u64,
    since_seconds: Option<u64>,
}

impl Wanted {
    fn parse(query: &str) -> Result<Self, String> {
        let mut wanted = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = value.parse().map_err(|_| format!("{name} is a number, not {value:?}"))?;
            match name {
                "after" => wanted.after = number,
                "since_seconds" => wanted.since_seconds = Some(number),
                _ => return Err(format!("{name} is not known; there are after and since_seconds")),
            }
        }
        Ok(wanted)
    }
}

/// Makes the socket its owner's alone from its first moment: restricted afterwards, it would be open for a while.
fn bind(path: &Path) -> io::Result<UnixListener> {
    // The mask is the whole process's. Whatever another thread makes meanwhile is its owner's alone as well.
    let before = umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let listener = UnixListener::bind(path);
    umask(before);
    listener
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn questions_about_breaks() {
        let cases = [
            ("", Ok(Wanted::default())),
            ("after=7", Ok(Wanted { after: 7, since_seconds: None })),
            ("since_seconds=60&after=7", Ok(Wanted { after: 7, since_seconds: Some(60) })),
            ("after=-1", Err("after is a number, not \"-1\"".to_owned())),
            ("after", Err("after is a number, not \"\"".to_owned())),
            ("before=1", Err("before is not known; there are after and since_seconds".to_owned())),
        ];
        for (query, expected) in cases {
            assert_eq!(Wanted::parse(query), expected, "{query}");
        }
    }

    #[tokio::test]
    async fn the_socket_is_never_open_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let _listener = bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
}
