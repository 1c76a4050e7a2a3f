//! The agent's Unix socket: HTTP and JSON, for the command line. Only root may connect.

use std::{fs, io, path::Path};

use anyhow::{Context, Result};
use axum::{Json, Router, routing::get};
use nix::sys::stat::{Mode, umask};
use tokio::{net::UnixListener, task::JoinHandle};

use super::report::Report;
use crate::api::STATUS_PATH;

/// Listens until the handle is dropped with the runtime.
///
/// # Errors
/// When the socket cannot be made.
pub(super) fn serve(path: &Path, report: Report) -> Result<JoinHandle<()>> {
    // Whoever holds the lock may take the place of a socket that a killed agent left.
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result.with_context(|| format!("cannot replace the old socket {}", path.display()))?,
    }
    let listener = bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    let router = Router::new().route(STATUS_PATH, get(async move || Json(report.status())));
    Ok(tokio::spawn(async move {
        // Accept errors are retried inside; this ends with the runtime.
        let _ = axum::serve(listener, router).await;
    }))
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

    #[tokio::test]
    async fn the_socket_is_never_open_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let _listener = bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
}
