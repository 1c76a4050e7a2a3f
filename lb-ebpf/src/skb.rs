//! A packet as tc sees it: a socket buffer, whose head may lie outside the linear part and whose checksum may be
//! left to the device.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR},
    helpers::{bpf_l4_csum_replace, bpf_skb_pull_data},
    programs::TcContext,
};
use lb_common::{Packet, checksum::Delta, wire};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::window::Window;

/// The headers that the datapath wants to reach, in bytes: Ethernet, IP, TCP without options. Tags and options add to
/// it, but a sender's headers are in the linear part all together; what is not shows as a header that cannot be read.
const HEADERS_V4: u32 = (wire::ETHERNET_HEADER + size_of::<wire::Ipv4>() + wire::TCP_HEADER) as u32;
const HEADERS_V6: u32 = (wire::ETHERNET_HEADER + size_of::<wire::Ipv6>() + wire::TCP_HEADER) as u32;
/// The EtherType of IPv6 as the kernel keeps it with a packet: in wire order.
const IPV6_WIRE: u32 = wire::EtherType::IPV6.0.to_be() as u32;

/// The packet of a tc program.
pub struct SkbFrame<'a> {
    context: &'a TcContext,
}

impl<'a> SkbFrame<'a> {
    /// The packet that the program was called for, with its headers within reach.
    #[inline(always)]
    pub fn new(context: &'a TcContext) -> Self {
        let frame = Self { context };
        // Pulling copies the head of every packet that shares it, such as each that waits for its acknowledgement.
        // SAFETY: the context is the one that the kernel called the program with.
        let protocol = unsafe { (*context.skb.skb).protocol };
        let headers = if protocol == IPV6_WIRE { HEADERS_V6 } else { HEADERS_V4 };
        let length = context.len();
        let wanted = if length < headers { length } else { headers };
        if ((context.data_end() - context.data()) as u32) < wanted {
            // SAFETY: the context is the one that the kernel called the program with. A failure shows as a header
            // that cannot be read.
            unsafe { bpf_skb_pull_data(context.as_ptr().cast(), wanted) };
        }
        frame
    }

    /// Taken anew for every access: the verifier forgets packet pointers with every helper that may move them.
    #[inline(always)]
    fn window(&self) -> Window {
        Window { start: self.context.data(), end: self.context.data_end() }
    }

    #[inline(always)]
    fn replace(&mut self, offset: usize, delta: Delta, flags: u64) -> Option<()> {
        // A size of 0 in the flags makes `to` a difference as bpf_csum_diff computes it.
        // SAFETY: the context is the one that the kernel called the program with.
        let result = unsafe {
            bpf_l4_csum_replace(self.context.as_ptr().cast(), offset as u32, 0, delta.folded().into(), flags)
        };
        (result == 0).then_some(())
    }
}

impl Packet for SkbFrame<'_> {
    #[inline(always)]
    fn length(&self) -> usize {
        self.context.len() as usize
    }

    #[inline(always)]
    fn device(&self) -> u32 {
        // SAFETY: the context is the one that the kernel called the program with.
        unsafe { (*self.context.skb.skb).ifindex }
    }

    #[inline(always)]
    fn read<T: FromBytes + Copy>(&self, offset: usize) -> Option<T> {
        self.window().read(offset)
    }

    #[inline(always)]
    fn write<T: IntoBytes + Immutable + Copy>(&mut self, offset: usize, value: &T) -> Option<()> {
        self.window().write(offset, *value)
    }

    /// Replies are never encapsulated.
    #[inline(always)]
    fn grow(&mut self, _: usize) -> Option<()> {
        None
    }

    /// Replies are never encapsulated.
    #[inline(always)]
    fn shrink(&mut self, _: usize) -> Option<()> {
        None
    }

    /// Replies are never cut.
    #[inline(always)]
    fn truncate(&mut self, _: usize) -> Option<()> {
        None
    }

    /// Through the kernel's helper, which alone knows whether the checksum is complete or left to the device.
    #[inline(always)]
    fn update_checksum(
        &mut self,
        offset: usize,
        pseudo_header: Delta,
        header: Delta,
        zero_means_none: bool,
    ) -> Option<()> {
        let flags = if zero_means_none { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
        self.replace(offset, pseudo_header, flags | u64::from(BPF_F_PSEUDO_HDR))?;
        if header.is_none() {
            return Some(());
        }
        self.replace(offset, header, flags)
    }
}
