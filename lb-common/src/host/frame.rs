//! A frame in memory.

use std::vec::Vec;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{packet::Packet, wire::ETHERNET_HEADER};

/// Room in front of a frame that an XDP program can use, in bytes: `XDP_PACKET_HEADROOM` (include/uapi/linux/bpf.h)
/// less the `xdp_frame` that the kernel keeps there (include/net/xdp.h).
pub const HEADROOM: usize = 256 - 40;

/// A frame in memory.
#[derive(Clone, Debug)]
pub struct Frame {
    buffer: Vec<u8>,
    start: usize,
    device: u32,
}

impl Frame {
    /// A frame that came in by the device with index `device`.
    pub fn new(bytes: &[u8], device: u32) -> Self {
        Self::with_headroom(bytes, device, HEADROOM)
    }

    /// The same, with `headroom` bytes of room in front.
    pub fn with_headroom(bytes: &[u8], device: u32, headroom: usize) -> Self {
        let mut buffer = std::vec![0; headroom];
        buffer.extend_from_slice(bytes);
        Self { buffer, start: headroom, device }
    }

    /// The bytes, from the Ethernet header on.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl Packet for Frame {
    fn length(&self) -> usize {
        self.bytes().len()
    }

    fn device(&self) -> u32 {
        self.device
    }

    fn read<T: FromBytes + Copy>(&self, offset: usize) -> Option<T> {
        T::read_from_prefix(self.bytes().get(offset..)?).ok().map(|(value, _)| value)
    }

    fn write<T: IntoBytes + Immutable + Copy>(&mut self, offset: usize, value: &T) -> Option<()> {
        let start = self.start;
        value.write_to_prefix(self.buffer.get_mut(start + offset..)?).ok()
    }

    fn grow(&mut self, bytes: usize) -> Option<()> {
        self.start = self.start.checked_sub(bytes)?;
        Some(())
    }

    fn shrink(&mut self, bytes: usize) -> Option<()> {
        // As bpf_xdp_adjust_head does: an Ethernet header must be left.
        if bytes + ETHERNET_HEADER > self.length() {
            return None;
        }
        self.start += bytes;
        Some(())
    }

    fn truncate(&mut self, length: usize) -> Option<()> {
        // As bpf_xdp_adjust_tail does: an Ethernet header must be left.
        if length > self.length() || length < ETHERNET_HEADER {
            return None;
        }
        self.buffer.truncate(self.start + length);
        Some(())
    }
}
