//! What can go wrong with rtnetlink, and what to do about it.

use std::io;

/// A failure of [`Netlink`](super::Netlink).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no socket.
    #[error("cannot open a netlink socket for routing")]
    Socket {
        /// Why.
        source: io::Error,
    },
    /// The kernel refuses a request, or the connection is gone.
    #[error("cannot {what} by netlink{}", hint(source))]
    Request {
        /// What was asked for.
        what: &'static str,
        /// Why.
        source: rtnetlink::Error,
    },
    /// The kernel does not answer, or in a way that the library cannot read.
    #[error("cannot {what} by netlink: no answer within {limit_seconds} s that could be read")]
    NoAnswer {
        /// What was asked for.
        what: &'static str,
        /// How long it was waited for.
        limit_seconds: u64,
    },
    /// Nothing tells where outside traffic arrives.
    #[error(
        "there is no default route, neither IPv4 nor IPv6, in the main table; name the devices that outside traffic \
         arrives on with `--uplink DEV`"
    )]
    NoDefaultRoute,
    /// There is no such device.
    #[error("there is no network device {device} in this network namespace; `ip link` lists those that are")]
    NoDevice {
        /// The name that was asked for.
        device: String,
    },
    /// The device's frames have no Ethernet header.
    #[error(
        "{device} is not an Ethernet device; Limpet needs one whose frames have an Ethernet header (choose with \
         `--uplink DEV`)"
    )]
    NotEthernet {
        /// The device.
        device: String,
    },
}

impl Error {
    /// The kernel's error number, when it was the kernel that said no.
    pub(super) fn errno(&self) -> Option<i32> {
        match self {
            Self::Request { source, .. } => kernel_errno(source),
            Self::Socket { .. }
            | Self::NoAnswer { .. }
            | Self::NoDefaultRoute
            | Self::NoDevice { .. }
            | Self::NotEthernet { .. } => None,
        }
    }
}

fn kernel_errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(message.raw_code().abs()),
        _ => None,
    }
}

fn hint(error: &rtnetlink::Error) -> &'static str {
    if kernel_errno(error) == Some(libc::EPERM) { "; run as root (CAP_NET_ADMIN)" } else { "" }
}
