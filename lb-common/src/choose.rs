//! Which backend a packet goes to: the one its flow is held at, or the one that its slot names.
//!
//! Between the two, for Services with affinity, comes the backend that the client is held at ([`affinity`]).

use crate::{
    affinity::{self, Ask},
    family::{Address, Family},
    hash,
    layout::{Backend, Flow, Frontend, INSIDE, Key, SLOT_BACKEND_MASK, backend_state, frontend_flags},
    packet::{FamilyTables, Stage, Tables},
    parse::Headers,
    reason::Reason,
};

/// How a backend came to be chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum How {
    /// The flow is known and stays.
    Held,
    /// The flow is not known.
    New,
    /// The flow was at a backend that is gone.
    Moved,
    /// A SYN on a known flow: another connection with the same 5-tuple.
    Restarted,
}

impl How {
    /// Whether the packet begins a flow, as far as it can be told: a flow that moves began before.
    #[inline(always)]
    pub fn begins_flow(self) -> bool {
        matches!(self, Self::New | Self::Restarted)
    }
}

/// A backend for a packet.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// The backend.
    pub backend: Backend,
    /// How it came to be chosen.
    pub how: How,
}

/// Chooses the backend for a packet to `frontend`, and remembers the flow.
///
/// # Errors
/// [`Reason::BadSource`], [`Reason::FromInside`] and [`Reason::SourceRange`] for a packet that would begin something and may not,
/// [`Reason::NoBackend`] for a Service port without a usable backend, [`Reason::BadTable`] when the table is wrong.
#[inline(always)]
pub fn choose<F: Family, T: FamilyTables<F>>(
    tables: &T,
    headers: &Headers<F::Address>,
    frontend: &Frontend,
) -> Result<Choice, Reason> {
    let key = headers.flow_key::<F>();
    let (how, stage) = match tables.flow(Stage::Established, &key) {
        Some(_) if headers.is_syn() => (How::Restarted, Stage::Established),
        Some(flow) => match held(tables, &flow) {
            Some(backend) => return Ok(Choice { backend, how: How::Held }),
            None => (How::Moved, Stage::Established),
        },
        None if headers.is_syn() => (How::New, Stage::New),
        None => match tables.flow(Stage::New, &key) {
            None => (How::New, Stage::New),
            Some(flow) => match held(tables, &flow) {
                Some(backend) => {
                    tables.remember_flow(Stage::Established, &key, &flow);
                    if affinity::is_on(frontend) {
                        tables.promote_client(&Ask::new(headers, frontend, Stage::New));
                    }
                    return Ok(Choice { backend, how: How::Held });
                }
                None => (How::Moved, Stage::New),
            },
        },
    };
    // Only here: who has a flow keeps it, whatever becomes of the ranges.
    //
    // Nobody answers to such a source, and what a frontend sends another one may go round for ever.
    if !headers.ip.source.is_host() || tables.frontend(&headers.source_key::<F>()).is_some() {
        return Err(Reason::BadSource);
    }
    // Who is inside the cluster cannot be served from here where the choice falls on a Pod of the node that it is on itself:
    // that node's kernel takes no packet from the network with its own address as source, and what its Pods answer each
    // other never leaves by an uplink, where the frontend would be put back.
    if tables.is_source_in_range(INSIDE, &headers.ip.source) {
        return Err(Reason::FromInside);
    }
    let asks_source = frontend.flags & frontend_flags::SOURCE_RANGES != 0;
    if asks_source && !tables.is_source_in_range(frontend.service, &headers.ip.source) {
        return Err(Reason::SourceRange);
    }
    let (id, backend) = if affinity::is_on(frontend) {
        let id = tables.choose_for_client(&Ask::new(headers, frontend, stage))?;
        (id, tables.backend(id).ok_or(Reason::BadTable)?)
    } else {
        look_up(tables, frontend, headers.flow_hash())?
    };
    let flow = Flow {
        check: key.check(),
        backend: id,
        generation: backend.generation,
        since_seconds: tables.now_seconds(),
        service: frontend.service,
        #[cfg(feature = "other-layout")]
        spare: 0,
    };
    tables.remember_flow(stage, &key, &flow);
    Ok(Choice { backend, how })
}

/// The backend that a flow is at, unless it is gone or its id has been given to another.
#[inline(always)]
fn held<T: Tables>(tables: &T, flow: &Flow) -> Option<Backend> {
    let backend = tables.backend(flow.backend)?;
    (backend.generation == flow.generation && backend.state != backend_state::GONE).then_some(backend)
}

/// The backend that the Service port's lookup table names for a hash, with its id.
///
/// # Errors
/// [`Reason::NoBackend`] for an empty pool, [`Reason::BadTable`] when the table is wrong.
#[inline(always)]
pub fn look_up<T: Tables>(tables: &T, frontend: &Frontend, hash: u32) -> Result<(u32, Backend), Reason> {
    if frontend.table_length == 0 {
        return Err(Reason::NoBackend);
    }
    let index = frontend.table_offset.wrapping_add(hash::slot(hash, frontend.table_length));
    let id = tables.slot(index).ok_or(Reason::BadTable)? & SLOT_BACKEND_MASK;
    let backend = tables.backend(id).ok_or(Reason::BadTable)?;
    if backend.state == backend_state::GONE {
        return Err(Reason::BadTable);
    }
    Ok((id, backend))
}
