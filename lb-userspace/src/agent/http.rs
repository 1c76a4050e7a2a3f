//! A small HTTP/1.1 server for probes, scrapes and the command line, with a bound on everything that a stranger may make
//! it hold: connections, bytes and time.
//!
//! A connection is for one request. Whoever keeps others waiting gives way to them, see [`places`]; and what is wrong with a
//! server, such as an address that somebody else has, is told to [`Troubles`].

mod places;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, serve::Listener};
use http_body_util::Limited;
use hyper::{Request, body::Incoming, server::conn::http1, service::Service, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
    time::{sleep, timeout},
};

use self::places::{Place, Places};
use crate::source::Problem;

/// What one server holds at most.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at a time; one more sends another one away.
    connections: usize,
    /// Of these, those whose answer is made or is not wholly sent; one more sends another one away.
    answers: usize,
    /// Within this time the whole head of a request must be there.
    head_time: Duration,
    /// The whole of a connection, with the answer.
    connection_time: Duration,
}

/// Those of all servers.
const LIMITS: Limits = Limits {
    connections: 64,
    // Of a hundred thousand Services each is some MiB.
    answers: 8,
    head_time: Duration::from_secs(5),
    // A scrape of a hundred thousand Services takes a second.
    connection_time: Duration::from_secs(30),
};
/// Bytes of a request's head; beyond them the answer is 431.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Bytes of a request's body, of those that are read at all; beyond them the answer is 413.
const MAX_BODY_BYTES: usize = 64 << 10;
/// Pause before an address is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Where it is said what is wrong with a part of the agent, by its name; none when nothing is (any more).
#[derive(Clone)]
pub(super) struct Troubles {
    tell: Arc<dyn Fn(&'static str, Option<Problem>) + Send + Sync>,
}

impl Troubles {
    /// Told to this.
    pub(super) fn to(tell: impl Fn(&'static str, Option<Problem>) + Send + Sync + 'static) -> Self {
        Self { tell: Arc::new(tell) }
    }

    /// This is wrong with the part now, and nothing else.
    pub(super) fn set(&self, part: &'static str, problem: Option<Problem>) {
        (self.tell)(part, problem);
    }
}

/// Serves at the address that this flag gave, for as long as the runtime runs. An address that cannot be had is told and
/// tried again: whatever is served, the datapath is more important.
pub(super) async fn serve_at(
    address: SocketAddr,
    flag: &'static str,
    router: Router,
    troubles: Troubles,
) -> Infallible {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                troubles.set(flag, None);
                serve(listener, router.clone()).await;
            }
            Err(error) => troubles.set(flag, Some(no_address(address, flag, &error))),
        }
        sleep(RETRY).await;
    }
}

fn no_address(address: SocketAddr, flag: &str, error: &io::Error) -> Problem {
    let message =
        format!("cannot listen on {address} ({error}); trying again; {flag} takes another address, or `none`");
    Problem::warning(message).about(flag)
}

/// Serves until it is dropped, and with it all connections.
pub(super) async fn serve(listener: impl Listener, router: Router) -> Infallible {
    serve_within(LIMITS, listener, router).await
}

async fn serve_within(limits: Limits, mut listener: impl Listener, router: Router) -> Infallible {
    let places = Places::new(limits.connections, limits.answers);
    let mut connections = JoinSet::new();
    loop {
        // Waits a second where there is no file descriptor left, and tries again.
        let (stream, _) = listener.accept().await;
        while connections.try_join_next().is_some() {}
        connections.spawn(answer(limits, stream, router.clone(), places.take()));
    }
}

/// Answers one request. What goes wrong is the client's: there is nobody to tell.
async fn answer<S>(limits: Limits, stream: S, router: Router, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (seat, sent_away) = place.split();
    let router = TowerToHyperService::new(router);
    let respond = |request: Request<Incoming>| {
        seat.has_asked();
        router.call(request.map(|body| Limited::new(body, MAX_BODY_BYTES)))
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_time).max_buf_size(MAX_HEAD_BYTES);
    // Who has said all there is to say, and closes that direction, still waits for the answer.
    http.keep_alive(false).half_close(true);
    let connection = http.serve_connection(TokioIo::new(stream), service_fn(respond));
    tokio::select! {
        _untold = timeout(limits.connection_time, connection) => {}
        () = sent_away => {}
    }
}

#[cfg(test)]
pub(super) mod client;
#[cfg(test)]
mod tests;
