//! What happens to a packet that arrives at an uplink.

use crate::{
    choose::{self, How},
    family::{Address, Family, V4, V6},
    layout::{THIS_NODE, frontend_kind},
    packet::{FamilyTables, Packet},
    parse::{self, Headers, Network},
    reason::{Action, Reason, Verdict},
    reject, reply, rewrite, tunnel,
};

/// Decides about a packet that arrived at an uplink, and rewrites it accordingly.
///
/// The question whether the packet is ours comes before any drop: a packet that is not is passed untouched.
#[inline(always)]
pub fn handle<P: Packet, T: FamilyTables<V4> + FamilyTables<V6>>(packet: &mut P, tables: &T) -> Verdict {
    match parse::network(packet) {
        Ok(Network::V4(l3)) => balance::<V4, P, T>(packet, tables, l3),
        Ok(Network::V6(l3)) => balance::<V6, P, T>(packet, tables, l3),
        Err(reason) => Verdict::pass(reason),
    }
}

#[inline(always)]
fn balance<F: Family, P: Packet, T: FamilyTables<F>>(packet: &mut P, tables: &T, l3: usize) -> Verdict {
    let headers = match parse::headers::<F, P>(packet, l3) {
        Ok(headers) => headers,
        Err(reason) => return Verdict::pass(reason),
    };
    let Some(frontend) = tables.frontend(&headers.destination_key::<F>()) else {
        return Verdict::pass(Reason::NotAFrontend);
    };
    if !headers.fit(packet) {
        return Verdict::drop(Reason::BadLength);
    }
    if frontend.kind == frontend_kind::TUNNEL {
        return tunnel::receive::<F, P, T>(packet, tables, &headers);
    }
    let choice = match choose::choose::<F, T>(tables, &headers, &frontend) {
        Ok(choice) => choice,
        Err(Reason::FromInside) => return Verdict::pass(Reason::FromInside),
        Err(Reason::NoBackend) => return reject::nobody_there::<F, P, T>(packet, tables, &headers, &frontend),
        Err(reason) => return Verdict::drop(reason),
    };
    let reason = reason_of(choice.how, choice.backend.node == THIS_NODE);
    let verdict = if choice.backend.node == THIS_NODE {
        let address = F::Address::from_words(choice.backend.address);
        deliver::<F, P, T>(packet, tables, &headers, address, choice.backend.port, reason)
    } else {
        tunnel::send::<F, P, T>(packet, tables, &headers, &choice.backend, reason)
    };
    if verdict.action != Action::Drop {
        tables.count_packet(frontend.service, headers.ip.total_length, choice.how.begins_flow());
    }
    verdict
}

/// Hands a packet to a Pod on this node: rewrites its destination and leaves the way to the network stack.
#[inline(always)]
fn deliver<F: Family, P: Packet, T: FamilyTables<F>>(
    packet: &mut P,
    tables: &T,
    headers: &Headers<F::Address>,
    address: F::Address,
    port: u16,
    reason: Reason,
) -> Verdict {
    if rewrite::destination::<F, P>(packet, headers, address, port).is_none() {
        return Verdict::drop(Reason::WriteFailed);
    }
    reply::note::<F, T>(tables, headers, address, port);
    Verdict::pass(reason)
}

#[inline(always)]
fn reason_of(how: How, local: bool) -> Reason {
    match (how, local) {
        (How::Held, true) => Reason::LocalFlow,
        (How::New, true) => Reason::LocalNew,
        (How::Moved, true) => Reason::LocalMoved,
        (How::Restarted, true) => Reason::LocalRestarted,
        (How::Held, false) => Reason::RemoteFlow,
        (How::New, false) => Reason::RemoteNew,
        (How::Moved, false) => Reason::RemoteMoved,
        (How::Restarted, false) => Reason::RemoteRestarted,
    }
}
