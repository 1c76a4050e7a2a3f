//! What the backend's node remembers of a connection, so that its replies can carry the frontend's address.

use crate::{
    family::Family,
    layout::{Keyed, MANY_ANSWERS},
    packet::{FamilyTables, Stage},
    parse::Headers,
};

/// Notes that replies from a Pod to the sender of this packet must carry the packet's destination as their source.
///
/// The first packet of a connection goes into the small map, the second moves it; a note that is already there and
/// right costs one look-up, which also keeps it recent.
#[inline(always)]
pub fn note<F: Family, T: FamilyTables<F>>(
    tables: &T,
    headers: &Headers<F::Address>,
    pod_address: F::Address,
    pod_port: u16,
) {
    let key = F::flow_key(headers.ip.source, pod_address, headers.source_port, pod_port, headers.ip.protocol);
    let reply = F::reply(headers.ip.destination, headers.destination_port).of(&key);
    let stage = match tables.reply(Stage::Established, &key) {
        Some(known) if F::reply_parts(&known) == F::reply_parts(&reply) => return,
        Some(_) => Stage::Established,
        None if headers.is_syn() => Stage::New,
        None => match tables.reply(Stage::New, &key) {
            Some(_) => Stage::Established,
            None => Stage::New,
        },
    };
    tables.remember_reply(stage, &key, &reply);
}

/// The source that a reply must carry, by its own headers.
#[inline(always)]
pub fn find<F: Family, T: FamilyTables<F>>(tables: &T, headers: &Headers<F::Address>) -> Option<F::Reply> {
    let key = F::flow_key(
        headers.ip.destination,
        headers.ip.source,
        headers.destination_port,
        headers.source_port,
        headers.ip.protocol,
    );
    if let Some(reply) = tables.reply(Stage::Established, &key) {
        return Some(reply);
    }
    let reply = tables.reply(Stage::New, &key)?;
    // Of a subscription the client may never send another packet; but the Pod goes on sending, so it is none of a flood.
    // (A Pod's kernel answers any SYN, and again: there, only the client's next packet says so.)
    if headers.is_udp() {
        let (reply, answers) = F::answered(reply);
        let stage = if answers < MANY_ANSWERS { Stage::New } else { Stage::Established };
        tables.remember_reply(stage, &key, &reply);
    }
    Some(reply)
}
