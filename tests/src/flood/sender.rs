//! Handing frames to a device, past the network stack of its namespace.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, send, setsockopt, socket,
    sockopt::{SendTimeout, SndBuf},
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::frame::Mac;
use crate::net::namespace::Namespace;

/// Frames that may be under way: handed over, and not yet taken by the program at the other end of the wire.
///
/// This is what makes a flood as fast as the receiver, and no faster. A wire holds 256 frames: whoever keeps it full makes it
/// drop everybody's, and so does the one queue that all devices of a CPU share (`net.core.netdev_max_backlog`), into which
/// each frame for a Pod goes twice. That would test the queues of this machine, which no real network card has.
const WINDOW: usize = 16;
/// What the kernel reckons for a small frame: the frame, and what it knows of it.
const FRAME_BYTES: usize = 768;
/// How long a frame waits for room: whoever stops a flood, or has taken its wire away, waits no longer than that.
const PATIENCE_MILLISECONDS: i64 = 100;

/// A device that frames can be handed to.
#[derive(Debug)]
pub(super) struct Wire(OwnedFd);

impl Wire {
    /// A device of a namespace.
    pub(super) fn at(namespace: &Namespace, device: &str) -> Result<Self> {
        let open = || {
            // Of no protocol: what arrives is not wanted.
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
                .context("cannot make a packet socket")?;
            let index = if_nametoindex(device).with_context(|| format!("there is no device {device}"))?;
            // Twice as much is given, for the kernel's own needs.
            setsockopt(&socket, SndBuf, &(WINDOW * FRAME_BYTES / 2)).context("cannot limit what is under way")?;
            let limit = TimeVal::milliseconds(PATIENCE_MILLISECONDS);
            setsockopt(&socket, SendTimeout, &limit).context("cannot set a time-out")?;
            bind(&socket, index).with_context(|| format!("cannot bind to device {device}"))?;
            Ok(Self(socket))
        };
        namespace.run(open).with_context(|| format!("in namespace {}", namespace.name()))
    }

    /// Hands over a frame as soon as there is room for it, and says whether there was in time.
    pub(super) fn send(&self, frame: &[u8]) -> Result<bool> {
        match send(self.0.as_raw_fd(), frame, MsgFlags::empty()) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => Ok(false),
            Err(error) => Err(error).context("cannot send a frame"),
        }
    }
}

/// The Ethernet address of a device.
pub(super) fn ethernet_address(namespace: &Namespace, device: &str) -> Result<Mac> {
    let find = || {
        let mut all = getifaddrs().context("cannot list devices")?.filter(|one| one.interface_name == device);
        let address = all.find_map(|one| one.address?.as_link_addr()?.addr());
        address.with_context(|| format!("device {device} has no Ethernet address"))
    };
    namespace.run(find).with_context(|| format!("in namespace {}", namespace.name()))
}

/// Binds a packet socket to a device; nix has no constructor for such an address.
fn bind(socket: &OwnedFd, device: u32) -> Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: i32::try_from(device).context("a device's index is a small number")?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `address` is a whole `sockaddr_ll` of this length, which the kernel copies before it returns.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    ensure!(result == 0, "{}", io::Error::last_os_error());
    Ok(())
}
