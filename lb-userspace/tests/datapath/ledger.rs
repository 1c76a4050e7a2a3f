//! What both sides remember of clients, and what they told, compared.
//!
//! The host's clock stands still at a second before the kernel's began, which goes on: times from then on count as one.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
};

use lb_common::{
    BreakReason, Family,
    host::Memory,
    layout::{Affinity, BreakEvent, Ghost},
};
use lb_userspace::dataplane::FamilyMaps;

use crate::kernel::Kernel;

/// The same time for all that happened since the test began.
fn coarse(seconds: u32, began_seconds: u32) -> u32 {
    if seconds >= began_seconds { u32::MAX } else { seconds }
}

/// Both sides hold the same clients.
pub(crate) fn check_clients<F: Family>(
    host: &[RefCell<HashMap<F::AffinityKey, Affinity>>; 2],
    maps: &FamilyMaps<F>,
    began_seconds: u32,
) {
    let coarse = |client: Affinity| Affinity {
        since_seconds: coarse(client.since_seconds, began_seconds),
        last_used_seconds: coarse(client.last_used_seconds, began_seconds),
        ..client
    };
    for (stage, kernel) in Kernel::clients(maps).into_iter().enumerate() {
        let host: HashMap<_, _> = host[stage].borrow().iter().map(|(key, client)| (*key, coarse(*client))).collect();
        let kernel: HashMap<_, _> = kernel.into_iter().map(|(key, client)| (key, coarse(client))).collect();
        assert!(!host.is_empty());
        assert!(host == kernel, "stage {stage}: {} clients on the host, {} in the kernel", host.len(), kernel.len());
    }
}

/// Both sides have the same ghosts in the same sets.
pub(crate) fn check_ghosts(memory: &Memory, kernel: &Kernel) {
    let line = |ghost: &Ghost| {
        let last_used = coarse(ghost.last_used_seconds, memory.now_seconds);
        (ghost.fingerprint, ghost.backend, ghost.generation, last_used)
    };
    for (set, host) in memory.ghosts.borrow().iter().enumerate() {
        let kernel = kernel.maps().ghosts.get(&(set as u32), 0).unwrap().0;
        let (mut host, mut kernel) = (host.map(|ghost| line(&ghost)), kernel.map(|ghost| line(&ghost)));
        host.sort_unstable();
        kernel.sort_unstable();
        assert_eq!(host, kernel, "set {set}");
    }
}

/// Both sides counted the same packets, bytes and new flows of each Service port.
pub(crate) fn check_counts(memory: &Memory, kernel: &Kernel) {
    let host = memory.counts.borrow();
    for service in 0..64 {
        let expected = host.get(&service).copied().unwrap_or_default();
        assert_eq!(kernel.maps().service_counts(service).unwrap(), expected, "Service port {service}");
    }
    assert!(host.len() > 6 && host.values().all(|counts| counts.new_flows > 0 && counts.packets > counts.new_flows));
}

/// Both sides told the same breaks, in the same order; every reason was among them.
pub(crate) fn check_breaks(memory: &Memory, kernel: &mut Kernel) {
    let host = memory.breaks.borrow();
    let mut counts: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for event in host.iter() {
        *counts.entry((event.service, event.reason)).or_default() += 1;
    }
    for service in 1..64 {
        for reason in BreakReason::ALL {
            let expected = counts.get(&(service, reason.index())).copied().unwrap_or_default();
            let counted = kernel.breaks(service)[reason.index() as usize];
            assert_eq!(counted, expected, "{} of Service port {service}", reason.name());
        }
    }
    for reason in BreakReason::ALL {
        assert!(host.iter().any(|event| event.reason == reason.index()), "{} was never told", reason.name());
    }

    let (events, lost) = kernel.take_events();
    assert_eq!(events.len() as u64 + lost, host.len() as u64, "what was not sent is counted");
    let coarse = |event: &BreakEvent| BreakEvent {
        at_seconds: coarse(event.at_seconds, memory.now_seconds),
        since_seconds: coarse(event.since_seconds, memory.now_seconds),
        ..*event
    };
    let mut told = host.iter().map(coarse);
    for event in &events {
        let event = coarse(event);
        assert!(told.any(|told| told == event), "the kernel told {event:?} alone, or out of order");
    }
}
