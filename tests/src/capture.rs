//! What arrives at a device of the lab, packet by packet.
//!
//! Only what a test asks about is read: who sent it, and whether it is TCP with which flags, or ICMP of which type and about
//! which packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, socket};

use crate::net::namespace::Namespace;
use crate::net::topology::UPLINK;

/// Enough for the headers that are read.
const SNAPSHOT_BYTES: usize = 256;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A packet that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it.
    pub source: IpAddr,
    /// Whom it was sent to.
    pub destination: IpAddr,
    /// What is in it.
    pub payload: Payload,
}

/// What is in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A TCP segment.
    Tcp {
        /// The source's port.
        source: u16,
        /// The destination's port.
        destination: u16,
        /// The flags that matter.
        flags: Flags,
    },
    /// A UDP datagram.
    Udp {
        /// The source's port.
        source: u16,
        /// The destination's port.
        destination: u16,
    },
    /// An ICMP or ICMPv6 message.
    Icmp {
        /// Its type.
        kind: u8,
        /// Its code.
        code: u8,
        /// Source and destination of the TCP or UDP packet that it quotes.
        about: Option<(SocketAddr, SocketAddr)>,
    },
    /// Anything else.
    Other,
}

/// Flags of a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// Whether the connection is reset.
    #[must_use]
    pub fn is_reset(self) -> bool {
        self.0 & RST != 0
    }

    /// Whether the connection is accepted.
    #[must_use]
    pub fn is_syn_ack(self) -> bool {
        self.0 & (SYN | ACK | RST | FIN) == SYN | ACK
    }
}

/// Listens at the wire of a client or a node.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    device: usize,
}

impl Capture {
    /// Begins to listen at the device that joins this namespace to the router.
    pub fn at(namespace: &Namespace) -> Result<Self> {
        namespace.run(|| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll)
                .context("cannot listen to packets")?;
            let device = if_nametoindex(UPLINK).with_context(|| format!("there is no device {UPLINK}"))? as usize;
            Ok(Self { socket, device })
        })
    }

    /// The packets that arrived since it was asked last.
    pub fn arrived(&self) -> Result<Vec<Packet>> {
        let mut packets = Vec::new();
        let mut bytes = [0; SNAPSHOT_BYTES];
        loop {
            let (length, from) = match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut bytes) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(packets),
                Err(error) => return Err(error).context("cannot read packets"),
            };
            let arrived = from.is_some_and(|from| {
                from.ifindex() == self.device && u32::from(from.pkttype()) != u32::from(libc::PACKET_OUTGOING)
            });
            if arrived {
                packets.extend(parse(&bytes[..length.min(SNAPSHOT_BYTES)]));
            }
        }
    }
}

fn parse(packet: &[u8]) -> Option<Packet> {
    let (source, destination, protocol, rest) = ip(packet)?;
    let payload = match i32::from(protocol) {
        libc::IPPROTO_TCP => {
            let (source, destination) = ports(rest)?;
            Payload::Tcp { source, destination, flags: Flags(*rest.get(13)?) }
        }
        libc::IPPROTO_UDP => {
            let (source, destination) = ports(rest)?;
            Payload::Udp { source, destination }
        }
        libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6 => {
            Payload::Icmp { kind: *rest.first()?, code: *rest.get(1)?, about: rest.get(8..).and_then(quoted) }
        }
        _ => Payload::Other,
    };
    Some(Packet { source, destination, payload })
}

/// The ends of the packet that an ICMP error quotes.
fn quoted(packet: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (source, destination, protocol, rest) = ip(packet)?;
    if ![libc::IPPROTO_TCP, libc::IPPROTO_UDP].contains(&i32::from(protocol)) {
        return None;
    }
    let (source_port, destination_port) = ports(rest)?;
    Some((SocketAddr::new(source, source_port), SocketAddr::new(destination, destination_port)))
}

/// Addresses, protocol, and what follows the IP header.
fn ip(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 0xf) * 4;
            let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
            Some((address(12)?.into(), address(16)?.into(), *packet.get(9)?, packet.get(header..)?))
        }
        6 => {
            let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
            Some((address(8)?.into(), address(24)?.into(), *packet.get(6)?, packet.get(40..)?))
        }
        _ => None,
    }
}

fn ports(segment: &[u8]) -> Option<(u16, u16)> {
    let port = |at: usize| Some(u16::from_be_bytes(<[u8; 2]>::try_from(segment.get(at..at + 2)?).ok()?));
    Some((port(0)?, port(2)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_packet_that_it_is_about() {
        let quoted = [
            &[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 1, 1, 203, 0, 113, 1][..],
            &[0x30, 0x39, 0, 53, 0, 8, 0, 0],
        ]
        .concat();
        let outer = [0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 203, 0, 113, 1, 198, 18, 1, 1];
        let packet = [&outer[..], &[3, 3, 0, 0, 0, 0, 0, 0], &quoted].concat();
        let about = ("198.18.1.1:12345".parse().unwrap(), "203.0.113.1:53".parse().unwrap());
        assert_eq!(
            parse(&packet),
            Some(Packet {
                source: [203, 0, 113, 1].into(),
                destination: [198, 18, 1, 1].into(),
                payload: Payload::Icmp { kind: 3, code: 3, about: Some(about) },
            })
        );
        // Cut off anywhere, it is no panic.
        for length in 0..packet.len() {
            parse(&packet[..length]);
        }
    }
}
