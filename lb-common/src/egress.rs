//! What happens to a packet that leaves by an uplink: a Pod's reply gets the frontend back as its source.

use crate::{
    checksum::Delta,
    family::{Family, V4, V6},
    packet::{FamilyTables, Packet, Tables},
    parse::{self, Headers, MAX_TCP_HEADER, Network},
    reason::{Reason, Verdict},
    reply, rewrite,
    wire::{Be16, TCP_HEADER},
};

/// TCP options that are looked at in search of the MSS; it comes first in practice (RFC 9293, section 3.2).
const MAX_OPTIONS: usize = 10;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const MSS_LENGTH: u8 = 4;

/// Decides about a packet that leaves by an uplink, and rewrites it accordingly.
#[inline(always)]
pub fn restore<P: Packet, T: FamilyTables<V4> + FamilyTables<V6>>(packet: &mut P, tables: &T) -> Verdict {
    match parse::network(packet) {
        Ok(Network::V4(l3)) => restore_family::<V4, P, T>(packet, tables, l3),
        Ok(Network::V6(l3)) => restore_family::<V6, P, T>(packet, tables, l3),
        Err(reason) => Verdict::pass(reason.at_egress()),
    }
}

#[inline(always)]
fn restore_family<F: Family, P: Packet, T: FamilyTables<F>>(packet: &mut P, tables: &T, l3: usize) -> Verdict {
    let headers = match parse::headers::<F, P>(packet, l3) {
        Ok(headers) => headers,
        Err(reason) => return Verdict::pass(reason.at_egress()),
    };
    if !tables.is_local_backend(&headers.source_key::<F>()) {
        return Verdict::pass(Reason::EgressNotABackend);
    }
    let Some(reply) = reply::find::<F, T>(tables, &headers) else {
        return Verdict::pass(Reason::EgressNoReply);
    };
    let clamped = if headers.is_syn_ack() { clamp_mss::<F, P, T>(packet, tables, &headers) } else { Delta::NONE };
    let (address, port) = F::reply_parts(&reply);
    match rewrite::source::<F, P>(packet, &headers, address, port, clamped) {
        None => Verdict::drop(Reason::EgressWriteFailed),
        Some(()) if clamped.is_none() => Verdict::pass(Reason::ReplyRestored),
        Some(()) => Verdict::pass(Reason::ReplyClamped),
    }
}

/// Lowers the MSS option of a SYN-ACK to what the tunnel leaves, so that the client never sends a segment that does
/// not fit; returns the change for the checksum. A SYN-ACK without the option is left alone.
#[inline(always)]
fn clamp_mss<F: Family, P: Packet, T: Tables>(packet: &mut P, tables: &T, headers: &Headers<F::Address>) -> Delta {
    let limit = match tables.config().map(|config| F::largest_mss(&config)) {
        None | Some(0) => return Delta::NONE,
        Some(limit) => limit,
    };
    let end = headers.tcp_header_length();
    // What is behind the packet's own end is no part of its checksum.
    if headers.l4 - headers.l3 + end > headers.ip.total_length {
        return Delta::NONE;
    }
    let mut at = TCP_HEADER;
    for _ in 0..MAX_OPTIONS {
        if at + usize::from(MSS_LENGTH) > end || at > MAX_TCP_HEADER {
            return Delta::NONE;
        }
        let Some([kind, length]) = packet.read::<[u8; 2]>(headers.l4 + at) else {
            return Delta::NONE;
        };
        match (kind, length) {
            (OPTION_END, _) => return Delta::NONE,
            (OPTION_NOP, _) => at += 1,
            (OPTION_MSS, MSS_LENGTH) => return lower(packet, headers.l4, at + 2, limit),
            (_, 0 | 1) => return Delta::NONE,
            (_, length) => at += usize::from(length),
        }
    }
    Delta::NONE
}

/// Writes `limit` over a larger 16-bit value at `at` in the TCP header.
#[inline(always)]
fn lower<P: Packet>(packet: &mut P, l4: usize, at: usize, limit: u16) -> Delta {
    let Some(old) = packet.read::<Be16>(l4 + at) else {
        return Delta::NONE;
    };
    if old.get() <= limit || packet.write(l4 + at, &limit.to_be()).is_none() {
        return Delta::NONE;
    }
    let (old, new) = (old.get().to_be(), limit.to_be());
    // A value that straddles two words of the checksum counts with its bytes swapped (RFC 1071, section 2 (B)).
    let (old, new) = if at.is_multiple_of(2) { (old, new) } else { (old.swap_bytes(), new.swap_bytes()) };
    Delta::NONE.replace(old.into(), new.into())
}
