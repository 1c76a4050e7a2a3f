//! Connections: listening, TLS, and cutting them.

use std::convert::Infallible;
use std::fs::File;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{future, panic, thread};

use anyhow::{Context, Result};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nix::sched::{CloneFlags, setns};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc as channel;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::certificates::Certificates;
use super::fault::WrongCertificate;
use super::front::Front;

/// Most connections at a time; further ones are closed as soon as they are there.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take to agree on TLS.
const TLS_TIME: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted, as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the door is told to do, each answered when it is done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Cut all connections and stop listening.
    Close,
    /// Cut all connections, and show this certificate from now on.
    Show(WrongCertificate),
    /// Listen again, at the same address, and show the right certificate.
    Heal,
    /// Cut all connections.
    Cut,
}

/// Orders, each with where to say what came of it.
pub(super) type Orders = channel::UnboundedReceiver<(Order, mpsc::Sender<Result<()>>)>;

/// Where connections come in.
pub(super) struct Door {
    pub(super) front: Arc<Front>,
    /// None: plain HTTP.
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) address: SocketAddr,
    pub(super) network: Option<File>,
}

/// Listens in a network namespace, or in this thread's.
pub(super) fn listen(address: SocketAddr, network: Option<&File>) -> Result<StdListener> {
    let bind = || -> Result<StdListener> {
        let listener = StdListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listener.set_nonblocking(true).context("cannot make a socket wait for nobody")?;
        Ok(listener)
    };
    let Some(network) = network else { return bind() };
    // The socket stays in its namespace, wherever it is used from.
    let entered = thread::scope(|scope| {
        let work = || {
            setns(network, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")?;
            bind()
        };
        scope.spawn(work).join()
    });
    entered.unwrap_or_else(|panic| panic::resume_unwind(panic))
}

impl Door {
    /// Serves until nobody gives orders any more.
    pub(super) async fn serve(self, listener: TcpListener, mut orders: Orders) {
        let mut listener = Some(listener);
        let mut connections = JoinSet::new();
        let mut acceptor = self.acceptor(None);
        loop {
            tokio::select! {
                order = orders.recv() => {
                    let Some((order, done)) = order else { return };
                    let outcome = match order {
                        Order::Close => {
                            listener = None;
                            connections.shutdown().await;
                            Ok(())
                        }
                        Order::Show(wrong) => {
                            acceptor = self.acceptor(Some(wrong));
                            connections.shutdown().await;
                            Ok(())
                        }
                        Order::Heal => {
                            acceptor = self.acceptor(None);
                            self.open(&mut listener)
                        }
                        Order::Cut => {
                            connections.shutdown().await;
                            Ok(())
                        }
                    };
                    // Whoever gave the order may not wait for it.
                    let _ = done.send(outcome);
                }
                stream = accept(listener.as_ref()) => {
                    if connections.len() < MAX_CONNECTIONS {
                        connections.spawn(converse(stream, acceptor.clone(), Arc::clone(&self.front)));
                    }
                }
                _ = connections.join_next(), if !connections.is_empty() => {}
            }
        }
    }

    fn acceptor(&self, wrong: Option<WrongCertificate>) -> Option<TlsAcceptor> {
        self.certificates.as_ref().map(|certificates| certificates.acceptor(wrong))
    }

    fn open(&self, listener: &mut Option<TcpListener>) -> Result<()> {
        if listener.is_none() {
            let opened = listen(self.address, self.network.as_ref())?;
            *listener = Some(TcpListener::from_std(opened).context("cannot use a socket")?);
        }
        Ok(())
    }
}

/// The next connection; never one where nobody listens.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Answers the requests of one connection. How it ends is the client's business.
async fn converse(stream: TcpStream, acceptor: Option<TlsAcceptor>, front: Arc<Front>) {
    // Without it, lines of a watch would wait for each other's acknowledgement.
    let _ = stream.set_nodelay(true);
    match acceptor {
        None => serve_http(stream, front).await,
        Some(acceptor) => {
            if let Ok(Ok(stream)) = timeout(TLS_TIME, acceptor.accept(stream)).await {
                serve_http(stream, front).await;
            }
        }
    }
}

async fn serve_http(stream: impl AsyncRead + AsyncWrite + Unpin, front: Arc<Front>) {
    let answer = |request: hyper::Request<Incoming>| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.answer(request).await) }
    };
    // An error is a client that left, or a cut.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}
