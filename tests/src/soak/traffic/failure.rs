//! What the kernel's words for a failure mean.

use std::io::ErrorKind;
use std::net::SocketAddr;

use nix::errno::Errno;

use super::super::judge::Failure;
use crate::client::Answer;

/// How a request failed, by the system's error in what was returned.
pub(super) fn of(error: &anyhow::Error) -> Failure {
    let of_system = error.chain().find_map(|cause| {
        let errno = cause.downcast_ref::<Errno>().copied();
        errno.or_else(|| cause.downcast_ref::<std::io::Error>().and_then(of_io))
    });
    match of_system {
        Some(Errno::ECONNREFUSED) => Failure::Refused,
        Some(Errno::EHOSTUNREACH | Errno::ENETUNREACH) => Failure::Unreachable,
        Some(Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED) => Failure::Reset,
        // A connection that is still being made when its time is over.
        Some(Errno::EINPROGRESS | Errno::EAGAIN | Errno::ETIMEDOUT) => Failure::TimedOut,
        Some(_) => Failure::Other(format!("{error:#}")),
        // The end of the stream where an answer should be.
        None if is_end(error) => Failure::Reset,
        None => Failure::Wrong(format!("{error:#}")),
    }
}

/// Every answer says whom the server saw, which must be the client itself.
pub(super) fn check_client(answer: &Answer, from: SocketAddr) -> Result<(), Failure> {
    if answer.client == from {
        return Ok(());
    }
    Err(Failure::Wrong(format!("Pod {} takes {from} for {}", answer.pod, answer.client)))
}

fn of_io(error: &std::io::Error) -> Option<Errno> {
    match (error.raw_os_error(), error.kind()) {
        (Some(number), _) => Some(Errno::from_raw(number)),
        (None, ErrorKind::WouldBlock | ErrorKind::TimedOut) => Some(Errno::EAGAIN),
        (None, ErrorKind::UnexpectedEof) => Some(Errno::ECONNRESET),
        (None, _) => None,
    }
}

fn is_end(error: &anyhow::Error) -> bool {
    error.to_string().contains(crate::client::CLOSED)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn errors_of_the_system_are_found_below_what_was_said_of_them() {
        let of_errno = |errno: Errno| of(&anyhow::Error::new(errno).context("cannot connect").context("to there"));
        assert_eq!(of_errno(Errno::ECONNREFUSED), Failure::Refused);
        assert_eq!(of_errno(Errno::EHOSTUNREACH), Failure::Unreachable);
        assert_eq!(of_errno(Errno::EINPROGRESS), Failure::TimedOut);
        assert!(matches!(of_errno(Errno::EADDRINUSE), Failure::Other(_)));
        let of_kind = |kind: ErrorKind| of(&Err::<(), _>(std::io::Error::from(kind)).context("no answer").unwrap_err());
        assert_eq!(of_kind(ErrorKind::UnexpectedEof), Failure::Reset);
        assert_eq!(of_kind(ErrorKind::WouldBlock), Failure::TimedOut);
        assert_eq!(of(&anyhow!(crate::client::CLOSED)), Failure::Reset);
        assert!(matches!(of(&anyhow!("\"x\" is no answer")), Failure::Wrong(_)));
    }
}
