//! A small HTTP/1.1 server for probes and scrapes, with a bound on everything that a stranger may make it hold.
//!
//! A connection is for one request, whose body is never read; and what is wrong with a server, such as an address that
//! somebody else has, is told to [`Troubles`].

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::source::Problem;

/// Connections at a time; more wait in the kernel's queue until one of them ends.
const MAX_CONNECTIONS: usize = 64;
/// Within this time the whole head of a request must be there.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// The whole of a connection, with the answer; a scrape of a hundred thousand Services takes a second.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// Bytes of a request's head; beyond them the answer is 431.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Pause before an address is tried again, or a connection taken where there is no file descriptor left for it.
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
pub(super) async fn serve(listener: TcpListener, router: Router) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(answer(stream, router.clone()));
            }
            // The client went away, or there is no file descriptor left.
            Err(_) => sleep(RETRY).await,
        }
    }
}

/// Answers one request. What goes wrong is the client's: there is nobody to tell.
async fn answer(stream: TcpStream, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MAX_HEAD_BYTES).keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let _untold = timeout(CONNECTION_TIME, connection).await;
}

#[cfg(test)]
pub(super) mod client {
    //! A client for tests: what it sends is written by hand.

    use std::{
        collections::BTreeMap,
        sync::{Mutex, PoisonError},
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpStream, ToSocketAddrs},
        time::timeout,
    };

    use super::*;

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// An answer, in parts.
    #[derive(Debug)]
    pub(in crate::agent) struct Answer {
        pub(in crate::agent) code: u16,
        pub(in crate::agent) head: String,
        pub(in crate::agent) body: String,
    }

    /// Troubles, and what they are at the moment.
    pub(in crate::agent) fn troubles() -> (Troubles, impl Fn() -> Vec<Problem>) {
        let kept: Arc<Mutex<BTreeMap<&'static str, Problem>>> = Arc::default();
        let told = Arc::clone(&kept);
        let troubles = Troubles::to(move |part, problem| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.remove(part);
            told.extend(problem.map(|problem| (part, problem)));
        });
        (troubles, move || kept.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect())
    }

    /// Asks once.
    pub(in crate::agent) async fn ask(server: impl ToSocketAddrs, method: &str, path: &str) -> Answer {
        let mut stream = TcpStream::connect(server).await.unwrap();
        say(&mut stream, &format!("{method} {path} HTTP/1.1\r\nHost: node\r\n\r\n")).await
    }

    /// Sends this and reads to the end.
    pub(in crate::agent) async fn say(stream: &mut TcpStream, text: &str) -> Answer {
        // A server that has heard enough may close before all of it is sent.
        let _sent = stream.write_all(text.as_bytes()).await;
        let mut answer = Vec::new();
        let _cut_off = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes");
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Answer { code, head: head.to_lowercase(), body: body.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{io::AsyncReadExt, time::Instant};

    use super::{
        client::{ask, say, troubles},
        *,
    };

    async fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Router::new().route("/there", get(|| async { "here" }))));
        address
    }

    #[tokio::test]
    async fn paths_methods_and_sizes_are_bounded() {
        let server = server().await;
        let cases = [
            ("GET", "/there", 200, "here"),
            ("HEAD", "/there", 200, ""),
            ("GET", "/elsewhere", 404, ""),
            ("POST", "/there", 405, ""),
        ];
        for (method, path, code, body) in cases {
            let answer = ask(server, method, path).await;
            assert_eq!((answer.code, answer.body.as_str()), (code, body), "{method} {path}");
            assert!(answer.head.contains("connection: close"), "{method} {path}: {}", answer.head);
        }
        let mut stream = TcpStream::connect(server).await.unwrap();
        let long = format!("GET /there HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(2 * MAX_HEAD_BYTES));
        assert_eq!(say(&mut stream, &long).await.code, 431);
    }

    /// As many as there may be do nothing: the next one is answered as soon as their time is over.
    #[tokio::test]
    async fn who_says_nothing_is_cut_off() {
        let server = server().await;
        let mut idle = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            idle.push(TcpStream::connect(server).await.unwrap());
        }
        let before = Instant::now();
        assert_eq!(ask(server, "GET", "/there").await.code, 200);
        assert!(before.elapsed() > HEAD_TIME / 2, "it had to wait for a place");
        let mut rest = Vec::new();
        for stream in &mut idle {
            timeout(2 * HEAD_TIME, stream.read_to_end(&mut rest)).await.expect("cut off").unwrap();
        }
    }

    #[tokio::test]
    async fn an_address_that_somebody_has_is_told_and_tried_again() {
        let somebody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = somebody.local_addr().unwrap();
        let (troubles, problems) = troubles();
        let router = Router::new().route("/there", get(|| async { "here" }));
        tokio::spawn(serve_at(address, "--health-address", router, troubles));
        let told = async {
            while problems().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(RETRY, told).await.unwrap();
        let line = problems()[0].to_string();
        assert!(line.starts_with("warning: --health-address: cannot listen on 127.0.0.1:"), "{line}");
        drop(somebody);
        let served = async {
            while TcpStream::connect(address).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        timeout(5 * RETRY, served).await.unwrap();
        assert_eq!(ask(address, "GET", "/there").await.code, 200);
        assert_eq!(problems(), []);
    }
}
