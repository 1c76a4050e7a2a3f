//! The agent's Unix socket: HTTP and JSON, for the command line. Only root may connect.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, Result};
use axum::{Json, Router, routing::get};
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
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot restrict {} to its owner", path.display()))?;
    let router = Router::new().route(STATUS_PATH, get(async move || Json(report.status())));
    Ok(tokio::spawn(async move {
        // Accept errors are retried inside; this ends with the runtime.
        let _ = axum::serve(listener, router).await;
    }))
}
