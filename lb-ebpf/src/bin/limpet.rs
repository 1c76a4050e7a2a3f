//! The two programs that run on every uplink.
#![no_std]
#![no_main]

use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use lb_ebpf::{frame::XdpFrame, outcome, skb::SkbFrame, tables::Maps};

/// XDP: what arrives at an uplink.
#[xdp]
fn limpet_ingress(context: XdpContext) -> u32 {
    let verdict = lb_common::handle(&mut XdpFrame::new(&context), &Maps);
    outcome::xdp(&context, verdict)
}

/// tcx egress: what leaves by an uplink.
#[classifier]
fn limpet_egress(context: TcContext) -> i32 {
    let verdict = lb_common::restore(&mut SkbFrame::new(&context), &Maps);
    outcome::tcx(&context, verdict)
}
