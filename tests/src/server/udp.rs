//! The UDP side of a Pod's server: every datagram is answered from the address that it reached.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt,
    sockopt::Ipv6RecvPacketInfo,
};

use crate::wire::{Answer, plain};

/// What is longer is answered too, but cut off.
const MAX_DATAGRAM_BYTES: usize = 2048;

/// One datagram's ends.
struct Arrived {
    client: SocketAddrV6,
    server: Ipv6Addr,
}

/// Asks the kernel to say which address each datagram was sent to.
pub(super) fn want_destination(socket: &UdpSocket) -> Result<()> {
    setsockopt(socket, Ipv6RecvPacketInfo, &true).context("cannot ask for destination addresses")
}

/// Answers datagrams to this port until receiving fails.
pub(super) fn serve(socket: &UdpSocket, port: u16, pod: &str) -> Result<()> {
    loop {
        let Some(arrived) = receive(socket)? else {
            continue;
        };
        let server = SocketAddr::from((arrived.server, port));
        let answer = Answer { pod: pod.to_owned(), client: plain(arrived.client.into()), server: plain(server) };
        // A client that is gone (its host says "unreachable") is no reason to stop.
        if let Err(error) = reply(socket, &arrived, &answer) {
            eprintln!("a datagram was not answered: {error:#}");
        }
    }
}

fn receive(socket: &UdpSocket) -> Result<Option<Arrived>> {
    let mut data = [0; MAX_DATAGRAM_BYTES];
    let mut buffers = [IoSliceMut::new(&mut data)];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    let received = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::empty());
    let message = match received {
        // The kernel reports an earlier answer's fate here.
        Err(nix::errno::Errno::ECONNREFUSED | nix::errno::Errno::EHOSTUNREACH) => return Ok(None),
        other => other.context("cannot receive a datagram")?,
    };
    let server = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Ipv6Addr::from(info.ipi6_addr.s6_addr)),
        _ => None,
    });
    Ok(message.address.zip(server).map(|(client, server)| Arrived { client: client.into(), server }))
}

fn reply(socket: &UdpSocket, arrived: &Arrived, answer: &Answer) -> Result<()> {
    let text = serde_json::to_vec(answer).context("cannot write an answer")?;
    let source = libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr { s6_addr: arrived.server.octets() },
        // Routing decides about the device.
        ipi6_ifindex: 0,
    };
    sendmsg(
        socket.as_raw_fd(),
        &[IoSlice::new(&text)],
        &[ControlMessage::Ipv6PacketInfo(&source)],
        MsgFlags::empty(),
        Some(&SockaddrIn6::from(arrived.client)),
    )
    .context("cannot send an answer")?;
    Ok(())
}
