//! What holds for every frame, whatever the tables say.

use core::net::IpAddr;
use std::{format, string::String, vec::Vec};

use super::{
    Frame, Memory, Written,
    dissect::{Dissected, ICMP4, ICMP6, TCP, UDP, dissect, header_error, payload_error, u16_at, with_true_length},
    tunnelled::check_tunnelled,
};
use crate::{
    family::{Address, Address4, Address6, Family, V4, V6},
    layout::{Backend, Frontend, SLOT_BACKEND_MASK, THIS_NODE, backend_state, frontend_kind},
    packet::Packet,
    reason::{Action, Class, Program, Reason, Verdict},
    wire::Protocol,
};

/// Reasons of packets that are dropped after a backend was chosen for them: the flow is remembered all the same.
const DROPPED_AFTER_THE_CHOICE: [Reason; 4] =
    [Reason::NoNextHop, Reason::TooBig, Reason::NoHeadroom, Reason::WriteFailed];

/// What became of a frame.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// The frame as it is now.
    pub bytes: Vec<u8>,
    /// What was remembered, told and counted.
    pub written: Vec<Written>,
}

/// Runs one program on a frame.
pub fn run(memory: &Memory, program: Program, frame: &mut Frame) -> Outcome {
    memory.take_written();
    let verdict = match program {
        Program::Ingress => crate::handle(frame, memory),
        Program::Egress => crate::restore(frame, memory),
    };
    Outcome { verdict, bytes: frame.bytes().to_vec(), written: memory.take_written() }
}

/// Checks what holds for every frame: what is not ours is untouched, what is dropped is not remembered, what is sent on goes to
/// a backend of the frontend that was asked for and is otherwise the packet that came, checksums are as right or wrong as
/// they were, and everything is counted once. `memory` is what was known when the frame came, or is known now: the
/// datapath takes nothing away.
///
/// # Errors
/// What does not hold.
pub fn check(memory: &Memory, program: Program, before: &[u8], device: u32, outcome: &Outcome) -> Result<(), String> {
    let Outcome { verdict, bytes: after, written } = outcome;
    let case = Case { memory, before, after, written, device, reason: verdict.reason };
    let check = || {
        that(verdict.reason.program() == program, || "a reason of the other program".into())?;
        match (verdict.reason.class(), program) {
            (Class::Pass, _) => case.passed(verdict.action),
            (Class::Drop, _) => case.dropped(verdict.action),
            (Class::Answer, _) => case.answered(verdict.action),
            (Class::Forward, Program::Egress) => case.restored(verdict.action),
            (Class::Forward, Program::Ingress) if verdict.reason == Reason::Decapsulated => {
                case.decapsulated(verdict.action)
            }
            (Class::Forward, Program::Ingress) => case.forwarded(verdict.action),
        }
    };
    check().map_err(|what: String| format!("{}: {what}", verdict.reason.name()))
}

/// One frame, and what became of it.
pub(super) struct Case<'a> {
    pub(super) memory: &'a Memory,
    pub(super) before: &'a [u8],
    pub(super) after: &'a [u8],
    pub(super) device: u32,
    written: &'a [Written],
    reason: Reason,
}

impl Case<'_> {
    fn passed(&self, action: Action) -> Result<(), String> {
        that(action == Action::Pass, || format!("{action:?}"))?;
        that(self.before == self.after, || "what is not ours was touched".into())?;
        that(self.written.is_empty(), || format!("what is not ours left {:?}", self.written))
    }

    fn dropped(&self, action: Action) -> Result<(), String> {
        that(action == Action::Drop, || format!("{action:?}"))?;
        if DROPPED_AFTER_THE_CHOICE.contains(&self.reason) {
            return that(self.counts().next().is_none(), || "what was dropped was counted".into());
        }
        that(self.written.is_empty(), || format!("what was dropped left {:?}", self.written))
    }

    fn answered(&self, action: Action) -> Result<(), String> {
        that(action == Action::Transmit, || format!("{action:?}"))?;
        that(self.written.is_empty(), || format!("what was answered left {:?}", self.written))?;
        let asked = dissect(self.before).ok_or("what is no whole packet was answered")?;
        let answer = dissect(self.after).ok_or("the answer is no whole packet")?;
        let frontend = frontend_of(self.memory, &asked).ok_or("what is to no frontend was answered")?;
        that(frontend.table_length == 0, || "in place of backends that there are".into())?;
        let ends = (answer.source, answer.destination);
        that(ends == (asked.destination, asked.source), || format!("to {}, from {}", ends.1, ends.0))?;
        that(is_one_host(asked.source), || format!("to {}", asked.source))?;
        that([ICMP4, ICMP6].contains(&answer.protocol), || format!("protocol {}", answer.protocol))?;
        that(self.after.len() <= self.before.len() + 48, || "an answer that is much longer than the question".into())?;
        check_whole(self.after, &answer)
    }

    /// A packet to a frontend: it went to a Pod here, or into the tunnel.
    fn forwarded(&self, action: Action) -> Result<(), String> {
        let asked = dissect(self.before).ok_or("what is no whole packet was sent on")?;
        let frontend = frontend_of(self.memory, &asked).ok_or("what is to no frontend was sent on")?;
        that(frontend.kind != frontend_kind::TUNNEL, || "what is to the tunnel's end was sent on".into())?;
        that(is_one_host(asked.source), || format!("from {}", asked.source))?;
        let pod = if action == Action::Pass {
            let went = dissect(self.after).ok_or("it is no whole packet any more")?;
            self.is_rewritten(&asked, Side::Destination)?;
            (went.destination, went.ports.map_or(0, |(_, port)| port))
        } else {
            check_tunnelled(self, &asked, action)?
        };
        let (id, backend) = self.backend_at(&frontend, pod, action == Action::Pass)?;
        that(backend.state != backend_state::GONE, || format!("backend {id} is gone"))?;
        self.is_counted(&frontend, asked.total_length())?;
        for written in self.written {
            match written {
                Written::Flow(flow) => that(flow.backend == id && flow.service == frontend.service, || {
                    format!("went to backend {id} of {}, remembered is {flow:?}", frontend.service)
                })?,
                Written::Reply => that(action == Action::Pass, || "replies are not answered here".into())?,
                Written::Client(_) | Written::Break(_) | Written::Count { .. } => {}
            }
        }
        Ok(())
    }

    /// A packet out of the tunnel.
    fn decapsulated(&self, action: Action) -> Result<(), String> {
        that(action == Action::Pass, || format!("{action:?}"))?;
        let outer = dissect(self.before).ok_or("what is no whole packet was taken out")?;
        that(outer.protocol == UDP, || "not UDP".into())?;
        that(is_peer(self.memory, outer.source), || format!("from {}, which is no node", outer.source))?;
        let went = dissect(self.after).ok_or("what came out is no whole packet")?;
        that(went.is_v6() == outer.is_v6(), || "of another family".into())?;
        that(self.before[..12] == self.after[..12], || "other Ethernet addresses".into())?;
        let (overhead, option) = if outer.is_v6() { (80, 16) } else { (48, 4) };
        that(self.after.len() + overhead == self.before.len(), || "of another length".into())?;
        // Outer IP header, UDP, Geneve, and the option's header.
        let named = outer.l4 + 8 + 8 + 4;
        let address = self.before.get(named..named + option).ok_or("without the option's data")?;
        let at = went.l3 + if went.is_v6() { 24 } else { 16 };
        that(address == &self.after[at..at + option], || format!("to {}, which is not named", went.destination))?;
        let (_, port) = went.ports.ok_or("neither TCP nor UDP")?;
        that(u16_at(self.before, named + option) == Some(port), || format!("to port {port}, which is not named"))?;
        that(is_local(self.memory, went.destination, port, went.protocol), || {
            format!("to {}:{port}, which is not here", went.destination)
        })?;
        let inner = [&self.before[..outer.l3], &self.before[outer.l3 + overhead..]].concat();
        let asked = dissect(&inner).ok_or("what was inside is no whole packet")?;
        Case { before: &inner, ..*self }.is_rewritten(&asked, Side::Destination)?;
        let is_noted = self.written.iter().all(|written| matches!(written, Written::Reply));
        that(is_noted && self.written.len() <= 1, || format!("what came out of the tunnel left {:?}", self.written))
    }

    /// A reply of a Pod.
    fn restored(&self, action: Action) -> Result<(), String> {
        that(action == Action::Pass, || format!("{action:?}"))?;
        // Lengths are not looked at on the way out, where the kernel has packets that say none (BIG TCP): a lie goes on as it is.
        let lies = dissect(self.before).is_none();
        let [(before, length), (after, length_after)] = [self.before, self.after].map(with_true_length);
        that(length == length_after, || "of another length".into())?;
        let case = if lies { Case { before: &before, after: &after, ..*self } } else { Case { ..*self } };
        let said = dissect(case.before).ok_or("what has no whole headers was rewritten")?;
        let (port, _) = said.ports.ok_or("neither TCP nor UDP")?;
        that(is_local(self.memory, said.source, port, said.protocol), || format!("{}:{port} is no Pod", said.source))?;
        case.is_rewritten(&said, Side::Source { may_clamp: self.reason == Reason::ReplyClamped })?;
        let is_noted = self.written.iter().all(|written| matches!(written, Written::Reply));
        that(is_noted && self.written.len() <= 1, || format!("a reply left {:?}", self.written))
    }

    /// Whether one end is another one's, the checksums are as right or wrong as they were, and everything else is as it was.
    fn is_rewritten(&self, packet: &Dissected, side: Side) -> Result<(), String> {
        let address_length = if packet.is_v6() { 16 } else { 4 };
        let first = packet.l3 + if packet.is_v6() { 8 } else { 12 };
        let (address, port) = match side {
            Side::Destination => (first + address_length, packet.l4 + 2),
            Side::Source { .. } => (first, packet.l4),
        };
        let mut changing = std::vec![(address, address_length), (port, 2)];
        changing.extend(packet.checksum_offset().map(|at| (at, 2)));
        if !packet.is_v6() {
            changing.push((packet.l3 + 10, 2));
        }
        if matches!(side, Side::Source { may_clamp: true }) {
            changing.push((mss_offset(self.before, packet).ok_or("without an MSS, one was lowered")?, 2));
        }
        let mut expected = self.before.to_vec();
        for (at, length) in changing {
            let now = self.after.get(at..at + length).ok_or("the frame became shorter")?;
            expected[at..at + length].copy_from_slice(now);
        }
        that(expected == self.after, || "more was changed than one end".into())?;
        let after = dissect(self.after).ok_or("it is no whole packet any more")?;
        let error = |frame: &[u8], packet: &Dissected| {
            let is_absent = packet.protocol == UDP && u16_at(frame, packet.l4 + 6) == Some(0);
            (header_error(frame, packet), (!is_absent).then(|| payload_error(frame, packet)))
        };
        let (was, is) = (error(self.before, packet), error(self.after, &after));
        that(was == is, || format!("checksums were wrong by {was:?}, and are by {is:?}"))
    }

    fn counts(&self) -> impl Iterator<Item = (u32, usize)> {
        self.written.iter().filter_map(|written| match written {
            Written::Count { service, bytes, .. } => Some((*service, *bytes)),
            Written::Flow(_) | Written::Client(_) | Written::Reply | Written::Break(_) => None,
        })
    }

    fn is_counted(&self, frontend: &Frontend, bytes: usize) -> Result<(), String> {
        let counts: Vec<_> = self.counts().collect();
        that(counts == [(frontend.service, bytes)], || {
            format!("{bytes} bytes of Service port {} were counted as {counts:?}", frontend.service)
        })
    }

    /// The backend of the frontend that is at an address and port, with its id.
    fn backend_at(
        &self,
        frontend: &Frontend,
        (address, port): (IpAddr, u16),
        is_here: bool,
    ) -> Result<(u32, Backend), String> {
        let words = words(address);
        let slots = self.memory.slots.iter().skip(frontend.table_offset as usize).take(frontend.table_length as usize);
        let in_table: Vec<u32> = slots.map(|slot| slot & SLOT_BACKEND_MASK).collect();
        let of_frontend = |(id, backend): &(u32, Backend)| backend.service == frontend.service || in_table.contains(id);
        let mut backends = (0..).zip(self.memory.backends.iter().copied());
        let is_there = |backend: &Backend| (backend.address, backend.port) == (words, port);
        let is_found = |found: &(u32, Backend)| {
            is_there(&found.1) && (found.1.node == THIS_NODE) == is_here && found.1.state != backend_state::GONE
        };
        let found = backends.find(|found| is_found(found) && of_frontend(found));
        found.ok_or_else(|| format!("{address}:{port} is no backend of Service port {}", frontend.service))
    }
}

/// The end of a packet that changes.
#[derive(Clone, Copy)]
enum Side {
    Destination,
    Source { may_clamp: bool },
}

/// That something is so, or else what is not.
pub(super) fn that(is_so: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(what()) }
}

/// Whether all checksums of a packet that the datapath made are right.
fn check_whole(frame: &[u8], packet: &Dissected) -> Result<(), String> {
    let errors = (header_error(frame, packet), payload_error(frame, packet));
    that(errors == (0, 0), || format!("checksums are wrong by {errors:?}"))
}

/// Where the value of the MSS option is, of a TCP segment.
fn mss_offset(frame: &[u8], packet: &Dissected) -> Option<usize> {
    let end = packet.l4 + usize::from(frame.get(packet.l4 + 12)? >> 4) * 4;
    let mut at = packet.l4 + 20;
    while packet.protocol == TCP && at + 4 <= end {
        match (*frame.get(at)?, *frame.get(at + 1)?) {
            (1, _) => at += 1,
            (2, 4) => return Some(at + 2),
            (0, _) | (_, 0 | 1) => return None,
            (_, length) => at += usize::from(length),
        }
    }
    None
}

/// The frontend that a packet is to.
fn frontend_of(memory: &Memory, packet: &Dissected) -> Option<Frontend> {
    let (_, port) = packet.ports?;
    let protocol = Protocol(packet.protocol.into());
    match packet.destination {
        IpAddr::V4(address) => memory.v4.frontends.get(&V4::frontend_key(address.into(), port, protocol)).copied(),
        IpAddr::V6(address) => memory.v6.frontends.get(&V6::frontend_key(address.into(), port, protocol)).copied(),
    }
}

fn is_local(memory: &Memory, address: IpAddr, port: u16, protocol: u8) -> bool {
    let protocol = Protocol(protocol.into());
    match address {
        IpAddr::V4(address) => memory.v4.locals.contains_key(&V4::frontend_key(address.into(), port, protocol)),
        IpAddr::V6(address) => memory.v6.locals.contains_key(&V6::frontend_key(address.into(), port, protocol)),
    }
}

fn is_peer(memory: &Memory, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => memory.v4.peers.contains_key(&address.into()),
        IpAddr::V6(address) => memory.v6.peers.contains_key(&address.into()),
    }
}

fn is_one_host(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || is_broadcast)
}

/// An address in the form of [`Backend::address`].
pub(super) fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => Address4::from(address).to_words(),
        IpAddr::V6(address) => Address6::from(address).to_words(),
    }
}

/// Checks one frame through one program in one go: [`run`], then [`check`].
///
/// # Errors
/// As [`check`].
pub fn run_and_check(memory: &Memory, program: Program, bytes: &[u8], device: u32) -> Result<Outcome, String> {
    let mut frame = Frame::new(bytes, device);
    let outcome = run(memory, program, &mut frame);
    check(memory, program, bytes, frame.device(), &outcome)?;
    Ok(outcome)
}
