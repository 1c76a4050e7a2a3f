//! Ghosts: shadows of clients, to tell one that a full map has forgotten from one that was never there.
//!
//! The kernel does not say what an LRU map evicts. A ghost is a sixth of a client in size and there are four times as many;
//! they lie in sets of a cache line, in which the one unused for longest makes room. Two clients share a ghost with a
//! probability below 2^-31.

use crate::{
    family::Address,
    hash,
    layout::{GHOSTS_PER_SET, Ghost},
    packet::Tables,
};

/// A place among the ghosts, and who may be there.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    set: u32,
    fingerprint: u32,
}

impl Place {
    /// Where the ghost of a client is; `client` and `service` are those of its affinity's key.
    #[inline(always)]
    pub fn of<A: Address, T: Tables>(tables: &T, client: A, service: [u32; 2]) -> Self {
        let sets = tables.config().map_or(0, |config| config.ghost_sets);
        let (set, fingerprint) = hash::ghost(client, service, sets);
        Self { set, fingerprint }
    }
}

/// Puts a ghost in its place, and gives back the one that was there for the same client.
#[inline(always)]
pub fn replace<T: Tables>(
    tables: &T,
    place: Place,
    backend: u32,
    generation: u32,
    last_used_seconds: u32,
) -> Option<Ghost> {
    let mut way = 0;
    let mut oldest = u32::MAX;
    let mut before = None;
    for candidate in 0..GHOSTS_PER_SET {
        let ghost = tables.ghost(place.set, candidate)?;
        if ghost.fingerprint == place.fingerprint {
            way = candidate;
            before = Some(ghost);
            break;
        }
        // One that is nobody's was never used.
        if ghost.last_used_seconds < oldest {
            oldest = ghost.last_used_seconds;
            way = candidate;
        }
    }
    let ghost = Ghost { fingerprint: place.fingerprint, backend, generation, last_used_seconds };
    tables.set_ghost(place.set, way, &ghost);
    before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{family::Address4, host::Memory};

    fn place(memory: &Memory, client: u32) -> Place {
        Place::of(memory, Address4(client), [1, 2])
    }

    #[test]
    fn a_ghost_is_found_again_until_fresher_ones_need_its_place() {
        let memory = Memory::with_ghosts(1);
        for client in 0..4 {
            assert_eq!(replace(&memory, place(&memory, client), client, 1, 100 + client), None);
        }
        let seen = replace(&memory, place(&memory, 0), 9, 1, 200).unwrap();
        assert_eq!((seen.backend, seen.last_used_seconds), (0, 100));
        assert_eq!(replace(&memory, place(&memory, 4), 4, 1, 201), None, "takes the place of client 1");
        assert_eq!(replace(&memory, place(&memory, 0), 9, 1, 202).unwrap().backend, 9);
        assert_eq!(replace(&memory, place(&memory, 1), 1, 1, 203), None, "was pushed out");
    }

    #[test]
    fn without_room_there_are_no_ghosts() {
        let memory = Memory::default();
        assert_eq!(replace(&memory, place(&memory, 1), 1, 1, 1), None);
        assert_eq!(replace(&memory, place(&memory, 1), 1, 1, 2), None);
    }
}
