//! From a verdict to an action and a count.

use aya_ebpf::{
    EbpfContext,
    bindings::{
        tcx_action_base::{TCX_DROP, TCX_NEXT},
        xdp_action,
    },
    helpers::bpf_redirect,
};
use aya_log_ebpf::info;
use lb_common::{Action, Reason, Verdict};

use crate::maps;

/// Set by the agent when it loads the programs: 1 logs every dropped packet. Read-only data of a loaded program is
/// frozen, so the verifier removes the logging altogether where this is 0.
#[unsafe(no_mangle)]
static LOG_DROPS: u8 = 0;

/// Counts an ingress verdict and makes it what XDP returns.
#[inline(always)]
pub fn xdp(context: &impl EbpfContext, verdict: Verdict) -> u32 {
    count(context, verdict);
    match verdict.action {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Transmit => xdp_action::XDP_TX,
        // SAFETY: takes numbers only.
        Action::Redirect(device) => unsafe { bpf_redirect(device, 0) as u32 },
    }
}

/// Counts an egress verdict and makes it what tcx returns. Replies are passed or dropped, nothing else.
#[inline(always)]
pub fn tcx(context: &impl EbpfContext, verdict: Verdict) -> i32 {
    count(context, verdict);
    match verdict.action {
        Action::Pass => TCX_NEXT,
        Action::Drop | Action::Transmit | Action::Redirect(_) => TCX_DROP,
    }
}

#[inline(always)]
fn count(context: &impl EbpfContext, verdict: Verdict) {
    if let Some(counter) = maps::COUNTERS.get_ptr_mut(verdict.reason.index()) {
        // SAFETY: the element is this CPU's own, and both programs run with bottom halves off, so that neither
        // interrupts the other; a kernel with PREEMPT_RT may lose a count, never more.
        unsafe { *counter += 1 };
    }
    if verdict.action == Action::Drop {
        log_drop(context, verdict.reason);
    }
}

#[inline(always)]
fn log_drop(context: &impl EbpfContext, reason: Reason) {
    // SAFETY: a static of this program; volatile, because its value is patched in when the program is loaded.
    if unsafe { core::ptr::read_volatile(&raw const LOG_DROPS) } != 0 {
        info!(context, "dropped a packet for reason {}", reason.index());
    }
}
