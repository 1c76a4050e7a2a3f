//! Clients from before: held in every state that a client can be in, noted, or left to a ghost.

use std::net::IpAddr;

use lb_common::{
    Family, Stage, V4, V6,
    family::{Address, Address4, Address6},
    hash,
    host::Memory,
    layout::{Affinity, Ghost, affinity_flags},
};

use crate::world::{AFFINE, Affine, TIMEOUT, addresses, affine_id, backend, clients_of};

/// Clients of each Service port that are known before: twenty states, ten times.
pub(crate) const KNOWN: u8 = 200;

/// What is known of client `number`: the map that it is in, none for a ghost, and what is there.
fn known(number: u8, affine: &Affine, is_v6: bool, now_seconds: u32) -> (Option<Stage>, Affinity) {
    let stage = if number % 20 < 12 { Stage::Established } else { Stage::New };
    let (role, generation, age, flags, is_ghost) = match number % 12 {
        0 => (backend::LOCAL, 3, 10, 0, false),
        1 => (backend::REMOTE, 3, 10, 0, false),
        2 => (backend::DRAINING, 3, 10, 0, false),
        3 => (backend::NOT_READY, 3, 10, 0, false),
        4 => (backend::EXCLUDED, 3, 10, 0, false),
        5 => (backend::GONE, 3, 10, 0, false),
        6 => (backend::LOCAL, 2, 10, 0, false),
        7 => (backend::LOCAL, 3, TIMEOUT + 100, 0, false),
        8 => (backend::REDIRECTED, 3, 10, affinity_flags::FORGOTTEN, false),
        9 => (backend::DRAINING, 3, 10, 0, true),
        10 => (backend::LOCAL, 3, 10, 0, true),
        _ => (backend::REMOTE, 3, TIMEOUT + 100, 0, true),
    };
    let affinity = Affinity {
        backend: affine_id(is_v6, affine, role),
        generation,
        since_seconds: now_seconds.saturating_sub(age + 50),
        last_used_seconds: now_seconds.saturating_sub(age),
        expiries: u32::from(number % 3),
        flags,
        ..Affinity::default()
    };
    ((!is_ghost).then_some(stage), affinity)
}

/// Adds them all, with ghosts of those that are held.
pub(crate) fn add(memory: &mut Memory, is_v6: bool) {
    for affine in &AFFINE {
        for number in 0..KNOWN {
            // Some come for the first time.
            if number % 7 == 3 {
                continue;
            }
            let (stage, affinity) = known(number, affine, is_v6, memory.now_seconds);
            match (addresses(is_v6).client)(number) {
                IpAddr::V4(client) => {
                    let client = Address4::from(client).masked(clients_of(affine, is_v6).into());
                    if let Some(stage) = stage {
                        let key = V4::affinity_key(client, affine.held_for());
                        memory.v4.add_affinity(stage, key, affinity);
                    }
                    add_ghost(memory, client, affine, stage, &affinity);
                }
                IpAddr::V6(client) => {
                    let client = Address6::from(client).masked(clients_of(affine, is_v6).into());
                    if let Some(stage) = stage {
                        let key = V6::affinity_key(client, affine.held_for());
                        memory.v6.add_affinity(stage, key, affinity);
                    }
                    add_ghost(memory, client, affine, stage, &affinity);
                }
            }
        }
    }
}

fn add_ghost<A: Address>(memory: &Memory, client: A, affine: &Affine, stage: Option<Stage>, affinity: &Affinity) {
    if stage == Some(Stage::New) {
        return;
    }
    let (set, fingerprint) = hash::ghost(client, affine.held_for(), memory.config.ghost_sets);
    let Affinity { backend, generation, last_used_seconds, .. } = *affinity;
    let ghost = Ghost { fingerprint, backend, generation, last_used_seconds };
    let set = &mut memory.ghosts.borrow_mut()[set as usize];
    if let Some(place) = set.iter_mut().find(|place| [0, fingerprint].contains(&place.fingerprint)) {
        *place = ghost;
    }
}
