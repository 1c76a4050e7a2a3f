//! Asks the agent on its socket: HTTP/1.1 over a Unix socket, one request, bounded in time and size.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::api::{AgentBreaks, AgentStatus, AgentVerification, BREAKS_PATH, REPAIR_PATH, STATUS_PATH, VERIFY_PATH};

/// How long the agent may take to answer what it knows.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// How long it may take to look through all maps: longer than it takes itself to say that it could not.
const VERIFY_LIMIT: Duration = Duration::from_secs(30);
/// How long the answer may be, in bytes: a problem for each of a hundred thousand objects.
const SIZE_LIMIT: usize = 16 << 20;

/// Why the agent could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No agent has made the socket, or it removed it when it ended.
    #[error("no socket at {}", path.display())]
    NoSocket {
        /// The socket.
        path: PathBuf,
    },
    /// The agent ended without removing the socket.
    #[error("nobody listens on {}", path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
    },
    /// The socket is another user's.
    #[error("permission denied on {}; run as root", path.display())]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// Somebody listens, but says nothing.
    #[error("no answer on {} within {} s", path.display(), limit.as_secs())]
    TimedOut {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// Anything else that keeps from connecting.
    #[error("cannot connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The agent cannot do what was asked.
    #[error("the agent on {} says: {message}", path.display())]
    Unable {
        /// The socket.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// What listens is not an agent of this version.
    #[error("what answers on {} is no agent that this version knows: {message}", path.display())]
    Answer {
        /// The socket.
        path: PathBuf,
        /// What is wrong with the answer.
        message: String,
    },
}

impl Error {
    /// Whether this says that no agent runs, and not only that none could be asked.
    pub fn says_dead(&self) -> bool {
        match self {
            Self::NoSocket { .. } | Self::Refused { .. } => true,
            Self::Denied { .. }
            | Self::TimedOut { .. }
            | Self::Connect { .. }
            | Self::Unable { .. }
            | Self::Answer { .. } => false,
        }
    }

    /// In one sentence, how it is with the agent.
    pub fn sentence(&self) -> String {
        let state = if self.says_dead() { "not running" } else { "cannot be asked" };
        format!("agent: {state} ({})", chain(self))
    }
}

/// What the agent says of itself.
///
/// # Errors
/// When there is none, it may not be asked, or it does not answer in time.
pub fn status(socket: &Path) -> Result<AgentStatus, Error> {
    ask(socket, Method::GET, STATUS_PATH, TIME_LIMIT)
}

/// The breaks that the agent can tell, of those with a number greater than `after` and no longer ago than
/// `since_seconds`.
///
/// # Errors
/// As [`status`].
pub fn breaks(socket: &Path, after: u64, since_seconds: Option<u64>) -> Result<AgentBreaks, Error> {
    let since = since_seconds.map(|seconds| format!("&since_seconds={seconds}")).unwrap_or_default();
    ask(socket, Method::GET, &format!("{BREAKS_PATH}?after={after}{since}"), TIME_LIMIT)
}

/// Has the agent compare what is programmed with what should be; with `repair`, put it right.
///
/// # Errors
/// As [`status`].
pub fn verify(socket: &Path, repair: bool) -> Result<AgentVerification, Error> {
    let (method, path) = if repair { (Method::POST, REPAIR_PATH) } else { (Method::GET, VERIFY_PATH) };
    ask(socket, method, path, VERIFY_LIMIT)
}

fn ask<T: DeserializeOwned>(socket: &Path, method: Method, path: &str, limit: Duration) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Connect { path: socket.to_owned(), source })?;
    let answer = runtime.block_on(async { tokio::time::timeout(limit, exchange(socket, method, path)).await });
    let body = answer.map_err(|_| Error::TimedOut { path: socket.to_owned(), limit })??;
    serde_json::from_slice(&body).map_err(|error| wrong_answer(socket, &error))
}

async fn exchange(socket: &Path, method: Method, path: &str) -> Result<Bytes, Error> {
    let stream = UnixStream::connect(socket).await.map_err(|source| connect_error(socket, source))?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| wrong_answer(socket, &error))?;
    let request = Request::builder().method(method).uri(path).header(HOST, "limpet").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| wrong_answer(socket, &error))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| wrong_answer(socket, &error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), SIZE_LIMIT).collect().await.map(|body| body.to_bytes());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let message = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
            return Err(Error::Unable { path: socket.to_owned(), message });
        }
        if status != StatusCode::OK {
            return Err(wrong_answer(socket, &format!("it answers {status}").as_str()));
        }
        body.map_err(|error| Error::Answer { path: socket.to_owned(), message: error.to_string() })
    };
    tokio::pin!(exchange);
    // The connection makes the exchange go on; when it ends first, the exchange says what is missing.
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ended = connection => exchange.await,
    }
}

fn connect_error(socket: &Path, source: io::Error) -> Error {
    let path = socket.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => Error::NoSocket { path },
        io::ErrorKind::ConnectionRefused => Error::Refused { path },
        io::ErrorKind::PermissionDenied => Error::Denied { path },
        _ => Error::Connect { path, source },
    }
}

fn wrong_answer(socket: &Path, error: &impl std::fmt::Display) -> Error {
    Error::Answer { path: socket.to_owned(), message: error.to_string() }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixListener,
        thread,
    };

    use super::*;

    const STATUS: &str = r#"{"version": "0.1.0", "node": "n1", "pid": 7, "uptime_seconds": 60,
        "source": {"place": "dir:/d", "complete": true, "services": 1, "endpoint_slices": 1, "nodes": 1,
                   "age_seconds": 3},
        "in_step": true, "ready": true, "syncs": 2, "last_sync_seconds_ago": 3, "error": null,
        "uplinks": [{"device": "eth0", "index": 3, "mode": "native"}],
        "problems": [{"severity": "warning", "file": null, "object": "Service a/b", "field": null, "message": "m"}]}"#;

    /// Answers one connection with `answer`, then hangs up.
    fn serve(answer: String) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _read = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        (directory, path)
    }

    fn http(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn an_agent_is_understood() {
        let (_directory, path) = serve(http("200 OK", STATUS));
        let status = status(&path).unwrap();
        assert_eq!((status.node.as_str(), status.pid, status.problems.len()), ("n1", 7, 1));
    }

    #[test]
    fn a_dead_agent_is_told_from_one_that_never_was_and_from_strangers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        assert!(matches!(status(&path), Err(Error::NoSocket { .. })));
        drop(UnixListener::bind(&path).unwrap());
        let refused = status(&path).unwrap_err();
        assert!(matches!(refused, Error::Refused { .. }) && refused.says_dead(), "{refused}");
        let (_directory, path) = serve(http("404 Not Found", ""));
        let stranger = status(&path).unwrap_err();
        assert!(stranger.to_string().contains("404"), "{stranger}");
        assert!(!stranger.says_dead());
        let (_directory, path) = serve("what?\r\n\r\n".to_owned());
        assert!(matches!(status(&path), Err(Error::Answer { .. })));
        let (_directory, path) = serve(http("200 OK", "{}"));
        assert!(matches!(status(&path), Err(Error::Answer { .. })));
    }

    #[test]
    fn a_silent_one_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        assert!(matches!(status(&path), Err(Error::TimedOut { .. })));
    }
}
