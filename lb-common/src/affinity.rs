//! `sessionAffinity: ClientIP`: which backend a client's new connection goes to, and what is remembered of the client.
//!
//! The table names a backend for a client, the same on every node. What is remembered here only matters where that is not
//! enough: the client stays when the table changes, for as long as the Service's timeout says, and when its time was over
//! another slot is possible. New connections alone are remembered; a client's first packet goes into a small map, and only
//! what shows that it is really there ([`Proof`]) moves it, so that lone packets push out nobody.
//!
//! Each time that a client is given another backend than the one it had is a break ([`BreakReason`]), told exactly once.

use crate::{
    breaks::BreakReason,
    choose::look_up,
    family::{Address, Family},
    ghost, hash,
    layout::{Affinity, Backend, BreakEvent, Frontend, Key, SiblingKey, affinity_flags, backend_state, frontend_flags},
    packet::{FamilyTables, Stage, Tables},
    parse::Headers,
    reason::Reason,
};

/// Whether the Service port holds its clients.
#[inline(always)]
pub fn is_on(frontend: &Frontend) -> bool {
    frontend.flags & frontend_flags::CLIENT_AFFINITY != 0
}

/// What shows that a client is really there, and not an address of a flood of lone packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Proof {
    /// The next packet of the flow that this packet begins.
    NextPacket,
    /// This packet, where one of the client was seen before: a datagram. In many protocols no flow has a second one, for
    /// each request comes from a port of its own.
    SecondDatagram,
    /// The flow, which has sent more than one packet before.
    Flow,
}

/// A question about a client: everything that is known of it before the maps are asked.
///
/// The kernel keeps it in memory of its own instead of on the stack, where there is no room.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Ask<F: Family> {
    /// The key of the client's affinity.
    pub key: F::AffinityKey,
    /// The client's address, as far as it says who the client is.
    pub client: F::Address,
    /// What it connects to.
    pub frontend: Frontend,
    /// Whether the packet begins a connection, as far as one packet can tell. Others write nothing.
    pub begins: bool,
    /// What shows that the client is really there.
    pub proof: Proof,
}

impl<F: Family> Ask<F> {
    /// The question that a packet asks whose flow is remembered at this stage.
    #[inline(always)]
    pub fn new(headers: &Headers<F::Address>, frontend: &Frontend, flow: Stage) -> Self {
        let client = headers.ip.source.masked(frontend.client_prefix.into());
        Self {
            key: F::affinity_key(client, frontend.affinity),
            client,
            frontend: *frontend,
            begins: headers.is_syn() || headers.is_udp(),
            proof: match flow {
                Stage::Established => Proof::Flow,
                Stage::New if headers.is_udp() => Proof::SecondDatagram,
                Stage::New => Proof::NextPacket,
            },
        }
    }

    #[inline(always)]
    fn slot_hash(&self, expiries: u32) -> u32 {
        hash::client(self.client, self.frontend.service_hash, expiries)
    }

    #[inline(always)]
    fn ghost<T: Tables>(&self, tables: &T) -> ghost::Place {
        ghost::Place::of(tables, self.client, self.frontend.affinity)
    }
}

/// A backend for a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chosen {
    /// The backend's id.
    pub backend: u32,
    /// Whether it has been shown that the client is really there: [`promote`] is to follow.
    pub is_proven: bool,
}

/// Chooses the backend for a packet of an unknown flow, and remembers the client where the packet begins a connection.
///
/// # Errors
/// Those of [`look_up`].
#[inline(always)]
pub fn choose<F: Family, T: FamilyTables<F>>(tables: &T, ask: &Ask<F>) -> Result<Chosen, Reason> {
    if let Some(affinity) = tables.affinity(Stage::Established, &ask.key) {
        let backend = choose_again(tables, ask, Stage::Established, &affinity)?;
        return Ok(Chosen { backend, is_proven: false });
    }
    if let Some(affinity) = tables.affinity(Stage::New, &ask.key) {
        let backend = choose_again(tables, ask, Stage::New, &affinity)?;
        return Ok(Chosen { backend, is_proven: ask.begins && ask.proof != Proof::NextPacket });
    }
    let (id, backend) = look_up(tables, &ask.frontend, ask.slot_hash(0))?;
    if ask.begins {
        let now_seconds = tables.now_seconds();
        let affinity = Affinity {
            check: ask.key.check(),
            backend: id,
            generation: backend.generation,
            since_seconds: now_seconds,
            last_used_seconds: now_seconds,
            expiries: 0,
            flags: 0,
        };
        tables.remember_affinity(Stage::New, &ask.key, &affinity);
    }
    Ok(Chosen { backend: id, is_proven: ask.begins && ask.proof == Proof::Flow })
}

/// Chooses for a client that is known: its backend, or where it is free to go elsewhere, what the table names.
#[inline(always)]
fn choose_again<F: Family, T: FamilyTables<F>>(
    tables: &T,
    ask: &Ask<F>,
    stage: Stage,
    affinity: &Affinity,
) -> Result<u32, Reason> {
    let now_seconds = tables.now_seconds();
    let backend = found(tables, affinity.backend);
    let over =
        if ask.begins { judge(affinity, backend, &ask.frontend, now_seconds) } else { usable(affinity, backend) };
    let over = match over {
        Ok(backend) => {
            if ask.begins && affinity.last_used_seconds != now_seconds {
                tables.touch_affinity(stage, &ask.key, now_seconds);
                if stage == Stage::Established {
                    let _ =
                        ghost::replace(tables, ask.ghost(tables), affinity.backend, affinity.generation, now_seconds);
                }
            }
            if let Some(id) = of_this_port(tables, &ask.frontend, affinity.backend, backend.service) {
                return Ok(id);
            }
            // Held, but by another port of the Service at a Pod that does not have this one: the table chooses, and the
            // other port keeps the client where it is.
            return Ok(look_up(tables, &ask.frontend, ask.slot_hash(affinity.expiries))?.0);
        }
        Err(reason) => reason,
    };
    let is_stable = ask.frontend.flags & frontend_flags::STABLE_EXPIRY != 0;
    let expired = over == BreakReason::Expired && !is_stable;
    let expiries = affinity.expiries.wrapping_add(expired.into());
    let (id, backend) = look_up(tables, &ask.frontend, ask.slot_hash(expiries))?;
    if !ask.begins {
        return Ok(id);
    }
    let is_same = is_same(tables, (affinity.backend, affinity.generation), (id, backend.generation), &backend);
    let next = Affinity {
        check: affinity.check,
        backend: id,
        generation: backend.generation,
        since_seconds: if is_same { affinity.since_seconds } else { now_seconds },
        last_used_seconds: now_seconds,
        expiries,
        flags: 0,
    };
    if tables.replace_affinity(stage, &ask.key, affinity, &next) && stage == Stage::Established {
        let _ = ghost::replace(tables, ask.ghost(tables), id, backend.generation, now_seconds);
        if !is_same {
            tables.report_break(&BreakEvent {
                client: ask.client.to_words(),
                service: ask.frontend.service,
                reason: over.index(),
                from: affinity.backend,
                from_generation: affinity.generation,
                to: id,
                to_generation: backend.generation,
                at_seconds: now_seconds,
                since_seconds: affinity.since_seconds,
            });
        }
    }
    Ok(id)
}

/// Makes a client of one packet a client that is held, now that it has shown that it is there.
///
/// It is held where it was noted, not where the flow goes that has shown it: that flow may be older, or one to another port
/// of the Service. This is when a client that a full map had forgotten is recognised.
#[inline(always)]
pub fn promote<F: Family, T: FamilyTables<F>>(tables: &T, ask: &Ask<F>) {
    let Some(affinity) = tables.affinity(Stage::New, &ask.key) else {
        return;
    };
    // Of several flows of the client, one alone finds it there.
    if !tables.take_new_affinity(&ask.key) {
        return;
    }
    // Noted by a CPU that had looked before another one made the client one that is held: what is held is newer.
    if tables.affinity(Stage::Established, &ask.key).is_some() {
        return;
    }
    tables.remember_affinity(Stage::Established, &ask.key, &affinity);
    // It was given this backend when it was noted, not now.
    let Affinity { backend, generation, since_seconds, last_used_seconds, .. } = affinity;
    let Some(ghost) = ghost::replace(tables, ask.ghost(tables), backend, generation, last_used_seconds) else {
        return;
    };
    let before = (ghost.backend, ghost.generation);
    if is_same(tables, before, (backend, generation), &found(tables, backend)) {
        return;
    }
    let before = Affinity {
        backend: ghost.backend,
        generation: ghost.generation,
        last_used_seconds: ghost.last_used_seconds,
        ..Affinity::default()
    };
    let reason = match judge(&before, found(tables, ghost.backend), &ask.frontend, since_seconds) {
        Ok(_) => BreakReason::Evicted,
        Err(reason) => reason,
    };
    tables.report_break(&BreakEvent {
        client: ask.client.to_words(),
        service: ask.frontend.service,
        reason: reason.index(),
        from: ghost.backend,
        from_generation: ghost.generation,
        to: backend,
        to_generation: generation,
        at_seconds: since_seconds,
        since_seconds,
    });
}

/// What is found under a backend's id; where that is nothing, a backend that is gone and of no generation.
///
/// Not an `Option`: of one without a value, the compiler reads fields that were never written, which the verifier refuses.
#[inline(always)]
fn found<T: Tables>(tables: &T, id: u32) -> Backend {
    tables.backend(id).unwrap_or_default()
}

/// Whether a client is still held where it was: the backend, or why not. `backend` is what is found under its id, the
/// default where that is nothing.
///
/// # Errors
/// The reason why a new connection of the client is free to go elsewhere.
#[inline(always)]
pub fn judge(
    affinity: &Affinity,
    backend: Backend,
    frontend: &Frontend,
    now_seconds: u32,
) -> Result<Backend, BreakReason> {
    if affinity.flags & affinity_flags::FORGOTTEN != 0 {
        return Err(BreakReason::Forgotten);
    }
    // Both are whole seconds: a client is never given up too early, and at most a second late.
    if now_seconds.saturating_sub(affinity.last_used_seconds) > frontend.affinity_timeout_seconds {
        return Err(BreakReason::Expired);
    }
    let backend = usable(affinity, backend)?;
    match backend.state {
        backend_state::ACTIVE => Ok(backend),
        backend_state::DRAINING => Err(BreakReason::Draining),
        backend_state::NOT_READY => Err(BreakReason::NotReady),
        _ => Err(BreakReason::ConfigChanged),
    }
}

/// The backend of a client, unless it is gone: enough for a connection that is under way.
#[inline(always)]
fn usable(affinity: &Affinity, backend: Backend) -> Result<Backend, BreakReason> {
    if backend.generation != affinity.generation || backend.state == backend_state::GONE {
        return Err(BreakReason::BackendGone);
    }
    Ok(backend)
}

/// The backend itself where it is this Service port's, else the one of the same Pod that is.
#[inline(always)]
fn of_this_port<T: Tables>(tables: &T, frontend: &Frontend, id: u32, service: u32) -> Option<u32> {
    if service == frontend.service {
        return Some(id);
    }
    let id = tables.sibling(&SiblingKey { service: frontend.service, backend: id })?;
    let backend = tables.backend(id)?;
    (backend.service == frontend.service && backend.state == backend_state::ACTIVE).then_some(id)
}

/// Whether two backends, each an id and a generation, are one, or are on the same Pod of a Service whose ports share
/// their clients. `found` is what is found under the second one's id.
#[inline(always)]
fn is_same<T: Tables>(tables: &T, before: (u32, u32), now: (u32, u32), found: &Backend) -> bool {
    if before == now {
        return true;
    }
    let backend = self::found(tables, before.0);
    let are_there = backend.generation == before.1 && backend.state != backend_state::GONE && found.generation == now.1;
    are_there && backend.service != found.service && backend.address == found.address
}
