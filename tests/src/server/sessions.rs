//! What the server remembers of its clients, for as long as its process lives.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Values of more clients than these are not stored.
const MAX_SESSIONS: usize = 4096;

/// One value for each client address.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<IpAddr, u64>>);

impl Sessions {
    /// Stores a value in place of the client's earlier one, and returns what is stored then: nothing
    /// when there are too many other clients.
    pub(super) fn store(&self, client: IpAddr, value: u64) -> Option<u64> {
        let mut values = self.values();
        if values.len() >= MAX_SESSIONS && !values.contains_key(&client) {
            return None;
        }
        values.insert(client, value);
        Some(value)
    }

    /// The client's value.
    pub(super) fn value(&self, client: IpAddr) -> Option<u64> {
        self.values().get(&client).copied()
    }

    fn values(&self) -> MutexGuard<'_, HashMap<IpAddr, u64>> {
        // A map is whole after every operation, so that a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn client(number: usize) -> IpAddr {
        Ipv4Addr::from(u32::try_from(number).unwrap()).into()
    }

    #[test]
    fn a_client_finds_its_own_value_and_no_others() {
        let sessions = Sessions::default();
        assert_eq!(sessions.value(client(1)), None);
        assert_eq!(sessions.store(client(1), 7), Some(7));
        assert_eq!(sessions.store(client(2), 8), Some(8));
        assert_eq!(sessions.store(client(1), 9), Some(9));
        assert_eq!((sessions.value(client(1)), sessions.value(client(2))), (Some(9), Some(8)));
    }

    #[test]
    fn a_full_store_refuses_new_clients_and_keeps_the_old_ones() {
        let sessions = Sessions::default();
        for number in 0..MAX_SESSIONS {
            sessions.store(client(number), 1);
        }
        assert_eq!(sessions.store(client(MAX_SESSIONS), 1), None);
        assert_eq!(sessions.store(client(0), 2), Some(2));
        assert_eq!(sessions.value(client(0)), Some(2));
    }
}
