//! A frame as XDP sees it.

use aya_ebpf::{helpers::bpf_xdp_adjust_head, programs::XdpContext};
use lb_common::Packet;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::window::Window;

/// The frame of an XDP program.
pub struct XdpFrame<'a> {
    context: &'a XdpContext,
}

impl<'a> XdpFrame<'a> {
    /// The frame that the program was called for.
    #[inline(always)]
    pub fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }

    /// Taken anew for every access: the verifier forgets packet pointers whenever the head moves.
    #[inline(always)]
    fn window(&self) -> Window {
        Window { start: self.context.data(), end: self.context.data_end() }
    }

    #[inline(always)]
    fn move_head(&mut self, by: i32) -> Option<()> {
        // SAFETY: the context is the one that the kernel called the program with.
        let result = unsafe { bpf_xdp_adjust_head(self.context.ctx, by) };
        (result == 0).then_some(())
    }
}

impl Packet for XdpFrame<'_> {
    #[inline(always)]
    fn length(&self) -> usize {
        let window = self.window();
        window.end - window.start
    }

    #[inline(always)]
    fn device(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn read<T: FromBytes + Copy>(&self, offset: usize) -> Option<T> {
        self.window().read(offset)
    }

    #[inline(always)]
    fn write<T: IntoBytes + Immutable + Copy>(&mut self, offset: usize, value: &T) -> Option<()> {
        self.window().write(offset, *value)
    }

    #[inline(always)]
    fn grow(&mut self, bytes: usize) -> Option<()> {
        self.move_head(-(bytes as i32))
    }

    #[inline(always)]
    fn shrink(&mut self, bytes: usize) -> Option<()> {
        self.move_head(bytes as i32)
    }
}
