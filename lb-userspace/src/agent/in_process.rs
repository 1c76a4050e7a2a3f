//! What the agent's socket answers, without a socket and an agent: for who makes requests up.

use std::{convert::Infallible, fmt, io, time::Duration};

use anyhow::{Context, Result, bail};
use axum::{Router, serve::Listener};
use clap::Parser;
use tokio::{io::DuplexStream, sync::mpsc};

use super::{breaks::History, http, report::Report, socket, verify};
use crate::{
    cli::{Cli, Command},
    source::Standing,
};

/// The socket's answers.
#[doc(hidden)]
#[derive(Clone)]
pub struct InProcess(Router);

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl InProcess {
    /// Those of an agent that has just begun, and has no time to compare anything.
    ///
    /// # Errors
    /// When the agent's own flags are not as they were.
    pub fn new(source: Standing) -> Result<Self> {
        let line = ["limpet", "agent", "--source", "dir:/none", "--node", "n1"];
        let Command::Agent(options) = Cli::try_parse_from(line).context("cannot make an agent up")?.command else {
            bail!("`agent` is another command");
        };
        let (asker, _no_time) = verify::channel();
        let history = History::starting("n1", Duration::from_secs(1_000));
        Ok(Self(socket::router(Report::new(&options, source), history, asker)))
    }

    /// Serves whatever connections come, as the socket does, until this is dropped.
    pub async fn serve(self, connections: mpsc::Receiver<DuplexStream>) -> Infallible {
        http::serve(Connections(connections), self.0).await
    }
}

/// Connections that somebody makes.
struct Connections(mpsc::Receiver<DuplexStream>);

impl Listener for Connections {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.recv().await {
            Some(stream) => (stream, ()),
            // Nobody makes any more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}
