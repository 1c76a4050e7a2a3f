//! Building frames, field by field and without the datapath's own code.

use core::net::IpAddr;
use std::vec::Vec;

use super::dissect::{pseudo_header, sum16};
use crate::wire::{Protocol, tcp_flags};

/// Destination and source of the Ethernet header of built frames: locally administered addresses.
const ETHERNET: [u8; 12] = [0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];

/// What a TCP or UDP frame shall say.
#[derive(Clone, Debug)]
pub struct FrameSpec {
    /// VLAN ids, outermost first.
    pub tags: Vec<u16>,
    /// Source address; of the same family as the destination.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// TCP's flags.
    pub flags: u8,
    /// TCP's options; a multiple of 4 bytes, at most 40.
    pub options: Vec<u8>,
    /// What follows the TCP or UDP header.
    pub payload: Vec<u8>,
}

impl FrameSpec {
    /// A TCP segment with these flags, untagged, without options and payload.
    pub fn tcp(source: (IpAddr, u16), destination: (IpAddr, u16), flags: u8) -> Self {
        Self {
            tags: Vec::new(),
            source: source.0,
            destination: destination.0,
            protocol: Protocol::TCP,
            source_port: source.1,
            destination_port: destination.1,
            flags,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// A UDP datagram, untagged.
    pub fn udp(source: (IpAddr, u16), destination: (IpAddr, u16), payload: &[u8]) -> Self {
        Self { protocol: Protocol::UDP, payload: payload.to_vec(), ..Self::tcp(source, destination, 0) }
    }

    /// A SYN.
    pub fn syn(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Self {
        Self::tcp(source, destination, tcp_flags::SYN)
    }

    /// The frame, with valid checksums. Source and destination of different families give an IPv6 frame with
    /// mapped addresses.
    pub fn build(&self) -> Vec<u8> {
        let mut l4 = self.l4();
        let offset = if self.protocol == Protocol::TCP { 16 } else { 6 };
        let sum = !sum16(&[&self.pseudo_header(l4.len()), &l4]);
        let sum = if sum == 0 && self.protocol == Protocol::UDP { 0xffff } else { sum };
        l4[offset..offset + 2].copy_from_slice(&sum.to_be_bytes());

        let mut frame = ETHERNET.to_vec();
        for (index, tag) in self.tags.iter().enumerate() {
            let ether_type: u16 = if index + 1 < self.tags.len() { 0x88a8 } else { 0x8100 };
            frame.extend(ether_type.to_be_bytes());
            frame.extend(tag.to_be_bytes());
        }
        frame.extend(self.ip_header(l4.len()));
        frame.extend(l4);
        frame
    }

    /// EtherType and IP header.
    fn ip_header(&self, payload: usize) -> Vec<u8> {
        let mut header = Vec::new();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut ip = std::vec![0x45, 0x08];
                ip.extend(((20 + payload) as u16).to_be_bytes());
                ip.extend([0x12, 0x34, 0x40, 0x00, 63, self.protocol.0 as u8, 0, 0]);
                ip.extend(source.octets());
                ip.extend(destination.octets());
                let sum = !sum16(&[&ip]);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                header.extend(0x0800u16.to_be_bytes());
                header.extend(ip);
            }
            (source, destination) => {
                header.extend(0x86ddu16.to_be_bytes());
                header.extend([0x60, 0x81, 0x23, 0x45]);
                header.extend((payload as u16).to_be_bytes());
                header.extend([self.protocol.0 as u8, 63]);
                header.extend(v6(source));
                header.extend(v6(destination));
            }
        }
        header
    }

    fn l4(&self) -> Vec<u8> {
        let mut l4 = Vec::new();
        l4.extend(self.source_port.to_be_bytes());
        l4.extend(self.destination_port.to_be_bytes());
        if self.protocol == Protocol::TCP {
            let words = 5 + self.options.len() / 4;
            l4.extend([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, (words as u8) << 4, self.flags]);
            l4.extend([0xff, 0xff, 0, 0, 0, 0]);
            l4.extend(&self.options);
        } else {
            l4.extend(((8 + self.payload.len()) as u16).to_be_bytes());
            l4.extend([0, 0]);
        }
        l4.extend(&self.payload);
        l4
    }

    fn pseudo_header(&self, length: usize) -> Vec<u8> {
        let addresses = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => [source.octets(), destination.octets()].concat(),
            (source, destination) => [v6(source), v6(destination)].concat(),
        };
        pseudo_header(&addresses, self.protocol.0 as u8, length)
    }
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
