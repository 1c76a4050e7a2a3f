//! What becomes of a packet to a Service port that has no usable backend: the sender is told, so that it need not wait.
//!
//! The packet turns back where it is, as ICMP "port unreachable" from the frontend that it was sent to. Nobody is told whose
//! address cannot be one sender's (RFC 1122, section 3.2.2; RFC 4443, section 2.4): `choose` has kept those out. Nor are more
//! than so many a second: addresses are easily forged, and an answer is longer than the question.

use crate::{
    family::Family,
    icmp::ICMP_HEADER,
    layer2::{Layer2, is_from_one_to_one},
    layout::{Frontend, Rate, frontend_flags},
    packet::{Packet, Tables},
    parse::Headers,
    reason::{Action, Reason, Verdict},
    wire::{Protocol, TCP_HEADER, UDP_HEADER},
};

/// Most packets that a CPU answers in a second; more are dropped. (The kernel's own limit is 1,000 for all CPUs:
/// `icmp_msgs_per_sec`.)
pub const MAX_PER_SECOND: u32 = 1000;
/// Length of a word of the checksum, in bytes.
const WORD: usize = size_of::<u32>();

/// Decides about a packet that no backend is there for, and makes it the answer where there is to be one.
#[inline(always)]
pub fn nobody_there<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers<F::Address>,
    frontend: &Frontend,
) -> Verdict {
    if frontend.flags & frontend_flags::DROP_IF_EMPTY != 0 {
        return Verdict::drop(Reason::NoLocalBackend);
    }
    if !is_from_one_to_one(packet) || !tables.may_reject() {
        return Verdict::drop(Reason::NoBackend);
    }
    match packet.turn_back::<F>(headers.l3) {
        Ok(()) => Verdict { action: Action::Transmit, reason: Reason::Rejected },
        Err(reason) => Verdict::drop(reason),
    }
}

/// Makes a whole TCP or UDP packet, whose IP header is at `l3`, the message that nobody is there.
///
/// Quoted are the IP header and the header behind it without options. Linux asks for 8 bytes of that to find the socket, so
/// does RFC 792; all 20 of TCP's show whoever reads along which packet it was. The payload helps nobody, and what is not
/// quoted need not be summed up: RFC 4443 wants as much of it as fits, which no receiver relies on.
///
/// # Errors
/// [`Reason::NoHeadroom`], and [`Reason::WriteFailed`] for a packet that is not whole.
#[inline(always)]
pub fn turn_back<F: Family, P: Packet>(packet: &mut P, l3: usize) -> Result<(), Reason> {
    let ip = F::read_ip(packet, l3)?;
    let layer2 = Layer2::read(packet, l3).ok_or(Reason::WriteFailed)?;
    let is_udp = ip.protocol == Protocol::UDP;
    packet.grow(F::IP_HEADER + ICMP_HEADER).ok_or(Reason::NoHeadroom)?;
    // What was the packet's IP header begins here now.
    let quote = l3 + F::IP_HEADER + ICMP_HEADER;
    let mut write = || {
        let l4 = quote + F::IP_HEADER;
        let mut sum = 0;
        sum_words(packet, quote, F::IP_HEADER, &mut sum)?;
        sum_words(packet, l4, UDP_HEADER, &mut sum)?;
        if !is_udp {
            sum_words(packet, l4 + UDP_HEADER, TCP_HEADER - UDP_HEADER, &mut sum)?;
        }
        let length = F::IP_HEADER + if is_udp { UDP_HEADER } else { TCP_HEADER };
        layer2.back().write(packet)?;
        F::write_port_unreachable(packet, l3, (ip.destination, ip.source), sum, length as u16)?;
        packet.truncate(quote + length)
    };
    write().ok_or(Reason::WriteFailed)
}

/// Adds up `length` bytes of the frame, a multiple of four.
#[inline(always)]
fn sum_words<P: Packet>(packet: &P, offset: usize, length: usize, sum: &mut u64) -> Option<()> {
    for index in 0..length / WORD {
        *sum = sum.wrapping_add(packet.read::<u32>(offset + index * WORD)?.into());
    }
    Some(())
}

/// Counts an answer at this second; whether it may be sent.
#[inline(always)]
pub fn admit(rate: &mut Rate, second: u32) -> bool {
    rate.admit(second, MAX_PER_SECOND)
}
