//! The client side: connections and datagrams from a client's namespace, all with time-outs.

mod attempt;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::TcpStreamExt as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect as connect_socket, setsockopt, socket,
    sockopt::Linger, sockopt::SendTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};

pub use self::attempt::Outcome;
use crate::address::{self, Family};
use crate::net::namespace::Namespace;
pub use crate::wire::{Answer, Session};
use crate::wire::{CHUNK_BYTES, Checksum, Receipt, Request, Stream, pieces};
use crate::world::Protocol;

/// How long a connection may take to be set up, and each answer to arrive: long enough for one
/// SYN to be sent again, which the kernel does after a second.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is said where a connection ends instead of an answer.
pub(crate) const CLOSED: &str = "the server closed the connection";

/// A client machine of the lab.
#[derive(Clone, Debug)]
pub struct Client {
    namespace: Namespace,
    number: u8,
}

impl Client {
    pub(crate) fn new(namespace: Namespace, number: u8) -> Self {
        Self { namespace, number }
    }

    /// One of this client's source addresses, `index` from 1 to 254.
    #[must_use]
    pub fn address(&self, family: Family, index: u8) -> IpAddr {
        address::client(family, self.number, index)
    }

    /// Opens a TCP connection, from this address and port (0: any port) if one is given.
    pub fn tcp(&self, to: SocketAddr, from: Option<SocketAddr>) -> Result<Connection> {
        let stream = self.namespace.run(|| open(to, from, PATIENCE)).with_context(|| self.no_way(to))?;
        Connection::new(stream).with_context(|| self.no_way(to))
    }

    /// Runs `work` inside the client's namespace: there [`connect`] opens one connection after the
    /// other without entering it for each.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.namespace.run(work)
    }

    /// Asks once who answers, over a connection or a socket of its own.
    pub fn who(&self, protocol: Protocol, to: SocketAddr, from: Option<SocketAddr>) -> Result<Answer> {
        match protocol {
            Protocol::Tcp => self.tcp_who(to, from),
            Protocol::Udp => self.udp_who(to, from),
        }
    }

    /// Opens a connection, asks who answers, and closes it.
    pub fn tcp_who(&self, to: SocketAddr, from: Option<SocketAddr>) -> Result<Answer> {
        self.tcp(to, from)?.who()
    }

    /// Makes a UDP socket that only takes answers which come from `to`.
    pub fn udp(&self, to: SocketAddr, from: Option<SocketAddr>) -> Result<Datagrams> {
        self.namespace.run(|| datagrams(to, from)).with_context(|| self.no_way(to))
    }

    /// Sends one datagram and returns the answer.
    pub fn udp_who(&self, to: SocketAddr, from: Option<SocketAddr>) -> Result<Answer> {
        self.udp(to, from)?.who()
    }

    fn no_way(&self, to: SocketAddr) -> String {
        format!("client c{} cannot reach {to}", self.number)
    }
}

/// Asks once who answers there, from any namespace of the lab: a Pod's or a node's.
pub fn who_from(namespace: &Namespace, protocol: Protocol, to: SocketAddr) -> Result<Answer> {
    let answered = match protocol {
        Protocol::Tcp => namespace.run(|| open(to, None, PATIENCE)).and_then(Connection::new)?.who(),
        Protocol::Udp => namespace.run(|| datagrams(to, None))?.who(),
    };
    answered.with_context(|| format!("{} cannot reach {to}", namespace.name()))
}

/// Opens a TCP connection from the namespace that the thread is in.
pub(crate) fn connect(to: SocketAddr, from: SocketAddr) -> Result<Connection> {
    connect_within(to, from, PATIENCE)
}

/// The same; it may take at most this long, and so may each of its answers.
pub(crate) fn connect_within(to: SocketAddr, from: SocketAddr, limit: Duration) -> Result<Connection> {
    let connection = Connection::new(open(to, Some(from), limit)?)?;
    connection.wait_at_most(limit)?;
    Ok(connection)
}

/// Sends a datagram from the namespace that the thread is in, and returns the answer that comes within this time.
pub(crate) fn send_within(to: SocketAddr, from: SocketAddr, limit: Duration) -> Result<Answer> {
    let socket = datagrams(to, Some(from))?;
    socket.wait_at_most(limit)?;
    socket.who()
}

/// An open TCP connection to a Pod's server.
#[derive(Debug)]
pub struct Connection {
    input: BufReader<TcpStream>,
    output: TcpStream,
}

impl Connection {
    fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { output: stream.try_clone()?, input: BufReader::with_capacity(CHUNK_BYTES, stream) })
    }

    /// Lets each answer take so long.
    pub fn wait_at_most(&self, limit: Duration) -> Result<()> {
        // Both halves are one socket.
        self.output.set_read_timeout(Some(limit)).context("cannot set a time-out")?;
        self.output.set_write_timeout(Some(limit)).context("cannot set a time-out")
    }

    /// Asks who is at the other end. Can be asked again and again on the same connection.
    pub fn who(&mut self) -> Result<Answer> {
        self.ask(Request::Who)?;
        self.read_line()
    }

    /// Asks who is at the other end, to be told after this time. Nothing is sent until then, by nobody.
    pub fn ask_for_later(&mut self, delay: Duration) -> Result<()> {
        let milliseconds = u64::try_from(delay.as_millis()).context("a delay of ages")?;
        self.ask(Request::Later { milliseconds })
    }

    /// Waits for the answer that was asked for.
    pub fn answer(&mut self) -> Result<Answer> {
        self.read_line()
    }

    /// Stores a value for this client in the server's memory. An answer without it says that the
    /// server has no room.
    pub fn post(&mut self, value: u64) -> Result<Session> {
        self.ask(Request::Post { value })?;
        self.read_line()
    }

    /// Asks for the value that this client stored.
    pub fn get(&mut self) -> Result<Session> {
        self.ask(Request::Get)?;
        self.read_line()
    }

    /// Sends this many bytes and compares the checksum of what arrived.
    pub fn upload(&mut self, bytes: u64, seed: u64) -> Result<()> {
        self.ask(Request::Upload { bytes })?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut stream = Stream::new(seed);
        let mut checksum = Checksum::new();
        for length in pieces(bytes) {
            let piece = &mut buffer[..length];
            stream.fill(piece);
            checksum.add(piece);
            self.output.write_all(piece).context("the upload was cut off")?;
        }
        let expected = Receipt { received: bytes, checksum: checksum.value() };
        let receipt: Receipt = self.read_line()?;
        ensure!(receipt == expected, "sent {expected:?}, but the server received {receipt:?}");
        Ok(())
    }

    /// Fetches this many bytes and compares each with what it should be.
    pub fn download(&mut self, bytes: u64, seed: u64) -> Result<()> {
        self.ask(Request::Download { bytes, seed })?;
        let mut received = vec![0; CHUNK_BYTES];
        let mut expected = vec![0; CHUNK_BYTES];
        let mut stream = Stream::new(seed);
        for length in pieces(bytes) {
            self.input.read_exact(&mut received[..length]).context("the download was cut off")?;
            stream.fill(&mut expected[..length]);
            ensure!(received[..length] == expected[..length], "the download brought other bytes than were asked for");
        }
        Ok(())
    }

    /// Ends the connection by a reset, so that its port is free at once for another one.
    pub fn reset(self) -> Result<()> {
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.output, Linger, &at_once).context("cannot ask for a reset")
    }

    fn ask(&mut self, request: Request) -> Result<()> {
        self.output.write_all(request.line().as_bytes()).context("cannot send a request")
    }

    fn read_line<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.input.read_line(&mut line).context("no answer on an open connection")?;
        ensure!(!line.is_empty(), CLOSED);
        serde_json::from_str(&line).with_context(|| format!("{line:?} is no answer"))
    }
}

/// A UDP socket that talks to one address.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
}

impl Datagrams {
    fn wait_at_most(&self, limit: Duration) -> Result<()> {
        self.socket.set_read_timeout(Some(limit)).context("cannot set a time-out")
    }

    /// Sends a datagram and returns the answer to it.
    pub fn who(&self) -> Result<Answer> {
        self.socket.send(Request::Who.line().as_bytes()).context("cannot send a datagram")?;
        let mut buffer = [0; 1024];
        let length = loop {
            match self.socket.recv(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.context("no answer to a datagram")?,
            }
        };
        let text = &buffer[..length];
        serde_json::from_slice(text).with_context(|| format!("{:?} is no answer", String::from_utf8_lossy(text)))
    }
}

fn datagrams(to: SocketAddr, from: Option<SocketAddr>) -> Result<Datagrams> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => [0; 4].into(),
        SocketAddr::V6(_) => [0; 16].into(),
    };
    let socket = UdpSocket::bind(from.unwrap_or(SocketAddr::new(any, 0))).context("cannot bind")?;
    socket.connect(to).context("cannot connect")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(Datagrams { socket })
}

/// The standard library cannot choose a source address for a connection, so this does.
fn open(to: SocketAddr, from: Option<SocketAddr>, limit: Duration) -> Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).context("cannot make a socket")?;
    // Linux lets this time-out end `connect` as well.
    let limit = TimeVal::milliseconds(i64::try_from(limit.as_millis()).context("a time-out of ages")?);
    setsockopt(&socket, SendTimeout, &limit).context("cannot set a time-out")?;
    if let Some(from) = from {
        bind(socket.as_raw_fd(), &SockaddrStorage::from(from)).with_context(|| format!("cannot bind {from}"))?;
    }
    let stream = TcpStream::from(socket);
    // The handshake's last segment then goes with the first data, if there are any soon (net/ipv4/tcp_input.c). Sent apart, and
    // handled by two CPUs at once, the two may have the server's kernel reset the connection: it removes the request from its
    // table before it adds the socket (`inet_ehash_insert` in net/ipv4/inet_hashtables.c, before Linux 6.19).
    stream.set_quickack(false).context("cannot put off an acknowledgement")?;
    // A signal ends the waiting, not the connecting: asked again, the kernel waits on (net/ipv4/af_inet.c).
    loop {
        match connect_socket(stream.as_raw_fd(), &SockaddrStorage::from(to)) {
            Err(Errno::EINTR) => {}
            connected => break connected.context("cannot connect")?,
        }
    }
    Ok(stream)
}
