//! Trying to reach somebody, where being refused or ignored is an answer as well.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;

use super::{Answer, Client, Connection, Datagrams, open};
use crate::world::Protocol;

/// How an attempt to reach somebody ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Somebody answered.
    Answered(Answer),
    /// The client was told that nobody listens there: by a reset, or by an ICMP message about the port.
    Refused,
    /// The client was told that there is no way to the address.
    Unreachable,
    /// Nothing came back.
    Silence,
}

impl Outcome {
    /// The Pod that answered.
    #[must_use]
    pub fn pod(&self) -> Option<&str> {
        match self {
            Self::Answered(answer) => Some(&answer.pod),
            Self::Refused | Self::Unreachable | Self::Silence => None,
        }
    }
}

impl Client {
    /// Opens a connection, or sends one datagram, and says what came of it within this time. Fails where neither an answer
    /// nor one of the other ends of it came, such as a connection that was reset after it had been accepted.
    pub fn attempt(
        &self,
        protocol: Protocol,
        to: SocketAddr,
        from: Option<SocketAddr>,
        limit: Duration,
    ) -> Result<Outcome> {
        let answered = match protocol {
            Protocol::Tcp => self.connect_within(to, from, limit).and_then(|mut connection| connection.who()),
            Protocol::Udp => self.send_within(to, from, limit),
        };
        match answered {
            Ok(answer) => Ok(Outcome::Answered(answer)),
            Err(error) => outcome_of(&error).map_or_else(|| Err(error).with_context(|| self.no_way(to)), Ok),
        }
    }

    fn connect_within(&self, to: SocketAddr, from: Option<SocketAddr>, limit: Duration) -> Result<Connection> {
        Connection::new(self.inside(|| open(to, from, limit))?)
    }

    fn send_within(&self, to: SocketAddr, from: Option<SocketAddr>, limit: Duration) -> Result<Answer> {
        let socket: Datagrams = self.udp(to, from)?;
        socket.wait_at_most(limit)?;
        socket.who()
    }
}

/// What the kernel's words for a failure mean; none for others.
fn outcome_of(error: &anyhow::Error) -> Option<Outcome> {
    let errno = match (error.downcast_ref::<Errno>(), error.downcast_ref::<std::io::Error>()) {
        (Some(errno), _) => *errno,
        // A time-out of reading has no number of its own everywhere.
        (None, Some(error)) if error.kind() == ErrorKind::WouldBlock => Errno::EAGAIN,
        (None, Some(error)) => Errno::from_raw(error.raw_os_error()?),
        (None, None) => return None,
    };
    match errno {
        Errno::ECONNREFUSED => Some(Outcome::Refused),
        Errno::EHOSTUNREACH | Errno::ENETUNREACH => Some(Outcome::Unreachable),
        // A connection that is still being made when its time is over.
        Errno::EINPROGRESS | Errno::EAGAIN | Errno::ETIMEDOUT => Some(Outcome::Silence),
        _ => None,
    }
}
