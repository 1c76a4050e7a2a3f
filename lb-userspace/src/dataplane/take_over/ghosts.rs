//! Ghosts, where their map has another number of sets: which set one is in follows from what it does not say of itself. So
//! those of the clients that are held are made anew; those of clients that a full map forgot are lost.

use std::collections::HashMap;

use lb_common::{
    family::Address,
    hash,
    layout::{Affinity, GHOSTS_PER_SET, Ghost},
};

use crate::dataplane::{Error, Maps, Pod};

type Set = [Ghost; GHOSTS_PER_SET as usize];

/// Gives each client that is held its ghost.
///
/// # Errors
/// When a map cannot be read or written.
pub(super) fn make(maps: &mut Maps) -> Result<(), Error> {
    let mut sets = HashMap::new();
    let count = maps.ghosts.len();
    for held in maps.v4.affinity.iter() {
        let (key, affinity) = held.map_err(|source| Error::map("AFFINITY4", source))?;
        add(&mut sets, count, key.0.client, key.0.service, &affinity.0);
    }
    for held in maps.v6.affinity.iter() {
        let (key, affinity) = held.map_err(|source| Error::map("AFFINITY6", source))?;
        add(&mut sets, count, key.0.client, key.0.service, &affinity.0);
    }
    for (set, ghosts) in sets {
        maps.ghosts.set(set, Pod(ghosts), 0).map_err(|source| Error::map("GHOSTS", source))?;
    }
    Ok(())
}

/// In the place of the one unused for longest, as `lb_common::ghost` does it.
fn add<A: Address>(sets: &mut HashMap<u32, Set>, count: u32, client: A, service: [u32; 2], affinity: &Affinity) {
    let (set, fingerprint) = hash::ghost(client, service, count);
    let Affinity { backend, generation, last_used_seconds, .. } = *affinity;
    let ghosts = sets.entry(set).or_default();
    if let Some(place) = ghosts.iter_mut().min_by_key(|ghost| ghost.last_used_seconds)
        && place.last_used_seconds <= last_used_seconds
    {
        *place = Ghost { fingerprint, backend, generation, last_used_seconds };
    }
}
