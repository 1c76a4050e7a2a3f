//! What would happen to a client's next connection: the programs' own code, on a copy of what they know.

use std::net::IpAddr;

use lb_common::{
    BreakReason, Family, FamilyTables, Stage, V4, V6,
    affinity::{self, Ask, Proof},
    choose::look_up,
    family::Address,
    hash,
    host::{Memory, MemoryOf},
    layout::{Frontend, GHOSTS_PER_SET, Ghost, Keyed as _, SLOT_BACKEND_MASK},
};

use super::super::held::{Client, Rules};
use crate::{dataplane::words, model::maglev};

/// An element of `GHOSTS`.
pub type Ghosts = [Ghost; GHOSTS_PER_SET as usize];

/// A copy of what the programs know, on which connections are tried.
pub struct Trial {
    memory: Memory,
}

/// What became of a connection that was tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// Id of the backend that it goes to; none where no Pod is usable.
    pub next: Option<u32>,
    /// Id of the backend that the lookup table names for the client.
    pub table: Option<u32>,
    /// What is counted, if the client is given another backend than it had; at once, or with its second packet.
    pub breaks: Option<Moved>,
    /// The client's hash, by which lookup tables are asked.
    pub hash: u32,
}

/// A client that is given another backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moved {
    /// Why.
    pub reason: BreakReason,
    /// Id of the backend that it had.
    pub from: u32,
    /// That backend's generation then.
    pub from_generation: u32,
}

impl Trial {
    /// On what the programs know at this time.
    pub fn new(rules: &Rules, now_seconds: u32) -> Self {
        let mut memory = Memory { now_seconds, ..Memory::with_ghosts(1) };
        for (key, backend) in &rules.siblings {
            memory.add_sibling(*key, *backend);
        }
        for (id, backend) in &rules.backends {
            let index = *id as usize;
            if memory.backends.len() <= index {
                memory.backends.resize(index + 1, Default::default());
            }
            if let Some(place) = memory.backends.get_mut(index) {
                *place = *backend;
            }
        }
        Self { memory }
    }

    /// Tries a connection of the client with this address, of whom `known` is remembered. `table` has the slots of the
    /// frontend's lookup table, `ghosts` are those among which the client's would be.
    pub fn connect(
        &mut self,
        address: IpAddr,
        frontend: &Frontend,
        table: &[u32],
        known: Option<&Client>,
        ghosts: Ghosts,
    ) -> Outcome {
        let frontend = Frontend { table_offset: 0, ..*frontend };
        *self.memory.ghosts.borrow_mut() = vec![ghosts];
        self.memory.slots = table.to_vec();
        self.memory.breaks.borrow_mut().clear();
        match address {
            IpAddr::V4(_) => connect::<V4>(&self.memory, address, &frontend, known),
            IpAddr::V6(_) => connect::<V6>(&self.memory, address, &frontend, known),
        }
    }
}

fn connect<F: Family>(memory: &Memory, address: IpAddr, frontend: &Frontend, known: Option<&Client>) -> Outcome
where
    Memory: MemoryOf<F> + FamilyTables<F>,
{
    let client = F::Address::from_words(words(address)).masked(frontend.client_prefix.into());
    let ask = Ask::<F> {
        key: F::affinity_key(client, frontend.affinity),
        client,
        frontend: *frontend,
        begins: true,
        proof: Proof::NextPacket,
    };
    for map in &memory.of().affinity {
        map.borrow_mut().clear();
    }
    if let Some(known) = known {
        memory.remember_affinity(known.stage, &ask.key, &known.affinity.of(&ask.key));
    }
    let next = affinity::choose(memory, &ask).ok().map(|chosen| chosen.backend);
    // The second packet: this is when a client is recognised that a full map forgot.
    affinity::promote(memory, &ask);
    let expiries = memory.affinity(Stage::Established, &ask.key).map_or(0, |affinity| affinity.expiries);
    let hash = hash::client(client, frontend.service_hash, expiries);
    let table = look_up(memory, frontend, hash).ok().map(|(id, _)| id);
    let breaks = memory.breaks.borrow().last().and_then(|event| {
        let reason = BreakReason::from_index(event.reason)?;
        Some(Moved { reason, from: event.from, from_generation: event.from_generation })
    });
    Outcome { next, table, breaks, hash }
}

/// The ids of the backends in a lookup table, each once.
pub fn members(table: &[u32]) -> Vec<u32> {
    let mut ids: Vec<u32> = table.iter().map(|slot| slot & SLOT_BACKEND_MASK).filter(|id| *id != 0).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Whom the lookup table of these identities without `gone` names for a hash; none when nobody is left.
pub fn without<'a>(identities: &[&'a str], gone: &str, hash: u32) -> Option<&'a str> {
    let mut rest: Vec<&str> = identities.iter().copied().filter(|identity| *identity != gone).collect();
    // Tables name their owners by this order.
    rest.sort_unstable();
    rest.dedup();
    let table = maglev::table(&rest);
    let owner = table.get(hash::slot(hash, u32::try_from(table.len()).ok()?) as usize)?;
    rest.get(*owner as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::held::sample::{self, NOW, client, rules},
        *,
    };

    /// As the agent fills it: `default/web-0` has id 1, `default/web-1` id 2.
    fn table() -> Vec<u32> {
        maglev::table(&["default/web-0", "default/web-1"]).into_iter().map(|owner| owner + 1).collect()
    }

    fn try_one(known: Option<Client>) -> Outcome {
        let address = "198.51.100.7".parse().unwrap();
        Trial::new(&rules(), NOW).connect(address, &sample::frontend(), &table(), known.as_ref(), Ghosts::default())
    }

    #[test]
    fn a_stranger_goes_where_the_table_says_and_the_rest_of_the_table_is_the_second_choice() {
        let outcome = try_one(None);
        let first = outcome.next.unwrap();
        assert_eq!((outcome.table, outcome.breaks), (Some(first), None));
        let (here, there) =
            if first == 1 { ("default/web-0", "default/web-1") } else { ("default/web-1", "default/web-0") };
        assert_eq!(without(&["default/web-1", "default/web-0"], here, outcome.hash), Some(there));
        assert_eq!(without(&[here], here, outcome.hash), None);
    }

    #[test]
    fn a_held_client_stays_whatever_the_table_says() {
        for backend in [1, 2] {
            let outcome = try_one(Some(client("198.51.100.7", backend, 990)));
            assert_eq!((outcome.next, outcome.breaks), (Some(backend), None));
            assert_eq!(outcome.table, try_one(None).table);
        }
    }

    #[test]
    fn a_client_of_a_pod_that_drains_is_a_break() {
        let outcome = try_one(Some(client("198.51.100.7", 3, 990)));
        let moved = Moved { reason: BreakReason::Draining, from: 3, from_generation: 1 };
        assert_eq!((outcome.next, outcome.breaks), (try_one(None).next, Some(moved)));
    }

    #[test]
    fn a_client_that_a_full_map_forgot_is_recognised() {
        let address: std::net::Ipv4Addr = "198.51.100.7".parse().unwrap();
        let here = try_one(None).next.unwrap();
        for had in [1, 2] {
            let (_, fingerprint) = hash::ghost(lb_common::family::Address4::from(address), sample::WEB, 1);
            let mut ghosts = Ghosts::default();
            ghosts[2] = Ghost { fingerprint, backend: had, generation: 1, last_used_seconds: 990 };
            let mut trial = Trial::new(&rules(), NOW);
            let outcome = trial.connect(address.into(), &sample::frontend(), &table(), None, ghosts);
            let moved = Moved { reason: BreakReason::Evicted, from: had, from_generation: 1 };
            assert_eq!((outcome.next, outcome.breaks), (Some(here), (had != here).then_some(moved)));
        }
    }

    #[test]
    fn one_whose_time_is_over_has_another_hash() {
        let outcome = try_one(Some(client("198.51.100.7", 1, 100)));
        assert_ne!(outcome.hash, try_one(None).hash);
        assert_eq!(outcome.next, outcome.table);
    }

    #[test]
    fn nobody_is_named_where_there_is_no_table() {
        let address = "198.51.100.7".parse().unwrap();
        let frontend = Frontend { table_length: 0, ..sample::frontend() };
        let outcome = Trial::new(&rules(), NOW).connect(address, &frontend, &[], None, Ghosts::default());
        assert_eq!((outcome.next, outcome.table), (None, None));
    }

    #[test]
    fn members_are_listed_once() {
        assert_eq!(members(&[2, 1, 2, 0, 1]), [1, 2]);
    }
}
