//! What must hold of whatever the model answers.

use std::collections::BTreeMap;

use crate::model::{BackendState, Desired, Family};

/// What must hold of any answer.
pub(super) fn check_sense(desired: &Desired) {
    let mut taken = BTreeMap::new();
    for (name, port) in &desired.services {
        for frontend in &port.frontends {
            let before = taken.insert((frontend.address, frontend.port, name.protocol), name);
            assert_eq!(before, None, "{frontend:?} is given twice");
            assert!(frontend.port > 0, "{name}: {frontend:?}");
        }
        assert!(port.backends.is_sorted_by(|a, b| a.address < b.address), "{name}: {:?}", port.backends);
        for family in Family::ALL {
            let pool = port.pools.of(family);
            for index in pool {
                let backend = &port.backends[*index];
                assert_eq!(Family::of(backend.address.ip()), family, "{name}: {backend:?}");
                assert_eq!(backend.state, BackendState::Active, "{name}: {backend:?}");
                assert!(backend.address.port() > 0, "{name}: {backend:?}");
            }
            let identities: Vec<_> = pool.iter().map(|index| &port.backends[*index].identity).collect();
            assert!(identities.is_sorted_by(|a, b| a < b), "{name}: {identities:?}");
        }
    }
    assert!(desired.health_checks.is_sorted(), "{:?}", desired.health_checks);
}
