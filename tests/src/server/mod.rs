//! A Pod's server: says who it is and whom it sees, over TCP and UDP, IPv4 and IPv6, and keeps
//! sessions in memory.

mod sessions;
mod tcp;
mod udp;

use std::io::{self, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};

use self::sessions::Sessions;
use crate::address::{OTHER_POD_PORT, POD_PORT};

/// What the server writes to standard output when it listens.
pub(crate) const READY: &str = "ready";

/// Serves until the process is ended.
pub fn serve(pod: &str) -> Result<()> {
    let sessions = Arc::new(Sessions::default());
    let mut threads = Vec::new();
    for port in [POD_PORT, OTHER_POD_PORT] {
        // One socket for both families: IPv4 clients appear with mapped addresses.
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let tcp = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        let udp = UdpSocket::bind(address).with_context(|| format!("cannot bind UDP {address}"))?;
        udp::want_destination(&udp)?;
        let (tcp_pod, udp_pod, sessions) = (pod.to_owned(), pod.to_owned(), Arc::clone(&sessions));
        threads.push(start("tcp", move || tcp::serve(&tcp, &tcp_pod, &sessions))?);
        threads.push(start("udp", move || udp::serve(&udp, port, &udp_pod))?);
    }
    writeln!(io::stdout(), "{READY}").context("cannot say that the server is ready")?;
    threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

fn start(name: &str, serve: impl FnOnce() -> Result<()> + Send + 'static) -> Result<JoinHandle<Result<()>>> {
    thread::Builder::new().name(name.to_owned()).spawn(serve).context("cannot start a thread")
}
