//! A frame as XDP sees it.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use lb_common::{Family, Packet, Reason, reject};
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

    #[inline(always)]
    fn truncate(&mut self, length: usize) -> Option<()> {
        let by = (length as i32).wrapping_sub(self.length() as i32);
        if by > 0 {
            return None;
        }
        // SAFETY: as in `move_head`.
        let result = unsafe { bpf_xdp_adjust_tail(self.context.ctx, by) };
        (result == 0).then_some(())
    }

    #[inline(always)]
    fn turn_back<F: Family>(&mut self, l3: usize) -> Result<(), Reason> {
        match turn_back_out_of_line::<F>(self.context.ctx, l3) {
            TURNED_BACK => Ok(()),
            NO_HEADROOM => Err(Reason::NoHeadroom),
            _ => Err(Reason::WriteFailed),
        }
    }
}

/// Answers of [`turn_back_out_of_line`]; another one is [`Reason::WriteFailed`].
const TURNED_BACK: u32 = 0;
const NO_HEADROOM: u32 = 1;

/// Called instead of inlined: it has a frame of its own on the stack, of which the ingress program has none left (see
/// `client`). It reads the headers again, so that they need not be on the caller's.
#[inline(never)]
fn turn_back_out_of_line<F: Family>(context: *mut xdp_md, l3: usize) -> u32 {
    let context = XdpContext::new(context);
    match reject::turn_back::<F, _>(&mut XdpFrame::new(&context), l3) {
        Ok(()) => TURNED_BACK,
        Err(Reason::NoHeadroom) => NO_HEADROOM,
        Err(_) => NO_HEADROOM + 1,
    }
}
