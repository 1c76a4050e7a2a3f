//! Copies the tables of a host world into BPF maps.

use anyhow::{Context, Result};
use aya::maps::lpm_trie::Key;
use lb_common::{
    Family,
    host::{FamilyMemory, Memory},
    layout::SOURCE_RANGE_SERVICE_BITS,
};
use lb_userspace::dataplane::{FamilyMaps, Maps, Pod};

/// Everything but replies, which the programs note themselves.
pub(crate) fn install(memory: &Memory, maps: &mut Maps) -> Result<()> {
    maps.config.set(0, Pod(memory.config), 0)?;
    maps.slots.write(0, &memory.slots).context("the slots do not fit")?;
    for (id, backend) in memory.backends.iter().enumerate() {
        maps.backends.set(id as u32, Pod(*backend), 0)?;
    }
    for (set, ghosts) in memory.ghosts.borrow().iter().enumerate() {
        // All are empty at first.
        if ghosts.iter().any(|ghost| ghost.fingerprint != 0) {
            maps.ghosts.set(set as u32, Pod(*ghosts), 0)?;
        }
    }
    for (key, sibling) in &memory.siblings {
        maps.siblings.insert(Pod(*key), Pod(*sibling), 0)?;
    }
    install_family(&memory.v4, &mut maps.v4)?;
    install_family(&memory.v6, &mut maps.v6)
}

fn install_family<F: Family>(memory: &FamilyMemory<F>, maps: &mut FamilyMaps<F>) -> Result<()> {
    for (key, frontend) in &memory.frontends {
        maps.frontends.insert(Pod(*key), Pod(*frontend), 0)?;
    }
    for (service, first, bits) in &memory.source_ranges {
        let key = Key::new(SOURCE_RANGE_SERVICE_BITS + bits, Pod(F::source_range(*service, *first)));
        maps.source_ranges.insert(&key, 1, 0)?;
    }
    for (key, backend) in &memory.locals {
        maps.locals.insert(Pod(*key), backend, 0)?;
    }
    for (address, node) in &memory.peers {
        maps.peers.insert(Pod(*address), node, 0)?;
    }
    for (node, hop) in &memory.next_hops {
        maps.next_hops.set(*node, Pod(*hop), 0)?;
    }
    for (stage, map) in [&mut maps.new_flows, &mut maps.flows].into_iter().enumerate() {
        for (key, flow) in memory.flows[stage].borrow().iter() {
            map.insert(Pod(*key), Pod(*flow), 0)?;
        }
    }
    for (stage, map) in [&mut maps.new_affinity, &mut maps.affinity].into_iter().enumerate() {
        for (key, affinity) in memory.affinity[stage].borrow().iter() {
            map.insert(Pod(*key), Pod(*affinity), 0)?;
        }
    }
    Ok(())
}
