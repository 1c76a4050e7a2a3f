//! The programs of `limpet.rs`, wrapped so that `BPF_PROG_TEST_RUN` can repeat them, and what there is to compare
//! them with.
//!
//! The kernel does not put a frame back between repeats: what was encapsulated once would be passed, encapsulated as
//! it is, from the second repeat on. So every wrapper first moves the head back and writes the frame's first bytes
//! again, and then, for runs with many flows, changes the client's address. What that costs is measured by wrappers
//! around nothing.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::Array,
    macros::{btf_map, classifier, xdp},
    programs::{TcContext, XdpContext},
};
use lb_common::{
    Family, Packet, V4,
    bench::{Bench, HEADER_WORDS},
};
use lb_ebpf::{frame::XdpFrame, outcome, skb::SkbFrame, tables::Maps};

/// The frame to put back, and how to vary it.
#[btf_map]
static BENCH: Array<Bench, 1> = Array::new();

/// A program that only returns: the floor of all figures.
#[xdp]
fn bench_floor(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// A tc program that only returns.
#[classifier]
fn bench_floor_egress(_: TcContext) -> i32 {
    0
}

/// The frame put back, the head where it was.
#[xdp]
fn bench_restore(context: XdpContext) -> u32 {
    match restore_frame(&context) {
        Some(()) => xdp_action::XDP_PASS,
        None => xdp_action::XDP_ABORTED,
    }
}

/// The frame put back, the head grown by what an IPv4 tunnel adds: the next repeat has to move it back.
#[xdp]
fn bench_restore_grown(context: XdpContext) -> u32 {
    let grown = restore_frame(&context).and_then(|()| XdpFrame::new(&context).grow(V4::TUNNEL_OVERHEAD));
    match grown {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_ABORTED,
    }
}

/// The frame put back, the head taken off by what an IPv4 tunnel added: the next repeat has to move it back.
#[xdp]
fn bench_restore_shrunk(context: XdpContext) -> u32 {
    let shrunk = restore_frame(&context).and_then(|()| XdpFrame::new(&context).shrink(V4::TUNNEL_OVERHEAD));
    match shrunk {
        Some(()) => xdp_action::XDP_PASS,
        None => xdp_action::XDP_ABORTED,
    }
}

/// The packet put back, as tc sees it.
#[classifier]
fn bench_restore_egress(context: TcContext) -> i32 {
    match restore(&mut SkbFrame::new(&context)) {
        Some(()) => 0,
        None => 2,
    }
}

/// The ingress program as it is, for frames that it leaves as they are.
#[xdp]
fn bench_ingress_bare(context: XdpContext) -> u32 {
    let verdict = lb_common::handle(&mut XdpFrame::new(&context), &Maps);
    outcome::xdp(&context, verdict)
}

/// The ingress program on a frame that is put back before.
#[xdp]
fn bench_ingress(context: XdpContext) -> u32 {
    if restore_frame(&context).is_none() {
        return xdp_action::XDP_ABORTED;
    }
    let verdict = lb_common::handle(&mut XdpFrame::new(&context), &Maps);
    outcome::xdp(&context, verdict)
}

/// The egress program on a packet that is put back before.
#[classifier]
fn bench_egress(context: TcContext) -> i32 {
    let mut packet = SkbFrame::new(&context);
    if restore(&mut packet).is_none() {
        return 2;
    }
    let verdict = lb_common::restore(&mut packet, &Maps);
    outcome::tcx(&context, verdict)
}

/// Moves the head back to where it was and writes the first bytes again.
#[inline(always)]
fn restore_frame(context: &XdpContext) -> Option<()> {
    let bench = BENCH.get(0)?;
    let mut frame = XdpFrame::new(context);
    let length = frame.length() as u32;
    if length > bench.length {
        frame.shrink((length - bench.length) as usize)?;
    } else if length < bench.length {
        frame.grow((bench.length - length) as usize)?;
    }
    restore(&mut frame)
}

/// Writes the first bytes again, with the client's address of the next flow.
#[inline(always)]
fn restore<P: Packet>(frame: &mut P) -> Option<()> {
    let bench = BENCH.get_ptr_mut(0)?;
    // SAFETY: one test runs at a time, and nobody else writes while it does.
    let bench = unsafe { &mut *bench };
    for index in 0..HEADER_WORDS {
        frame.write(index * size_of::<u64>(), &bench.header[index])?;
    }
    let turn = bench.turn;
    bench.turn = turn.wrapping_add(1);
    let flow = (turn >> bench.turns_per_flow_log2).wrapping_mul(bench.stride) & bench.flow_mask;
    let address = u32::from_be(bench.client) ^ flow;
    frame.write((bench.client_offset & 0x7f) as usize, &address.to_be())
}
