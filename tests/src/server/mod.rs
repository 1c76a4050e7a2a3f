//! A Pod's server: says who it is and whom it sees, over TCP and UDP, IPv4 and IPv6, and keeps
//! sessions in memory.

mod sessions;
mod tcp;
mod udp;

use std::io::{self, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread;

use anyhow::{Context, Result};

use crate::address::POD_PORT;

/// What the server writes to standard output when it listens.
pub(crate) const READY: &str = "ready";

/// Serves until the process is ended.
pub fn serve(pod: &str) -> Result<()> {
    // One socket for both families: IPv4 clients appear with mapped addresses.
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, POD_PORT));
    let tcp = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let udp = UdpSocket::bind(address).with_context(|| format!("cannot bind UDP {address}"))?;
    udp::want_destination(&udp)?;
    let udp_pod = pod.to_owned();
    let datagrams = thread::Builder::new()
        .name("udp".to_owned())
        .spawn(move || udp::serve(&udp, &udp_pod))
        .context("cannot start a thread")?;
    writeln!(io::stdout(), "{READY}").context("cannot say that the server is ready")?;
    tcp::serve(&tcp, pod)?;
    datagrams.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
