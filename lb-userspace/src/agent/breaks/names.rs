//! What the ids in an event stand for, at the moment at which it is read.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::layout::BreakEvent;

use crate::{
    dataplane::ip_of,
    model::Family,
    plan::{Applied, FrontendKey, FrontendValue},
};

/// How clients are named, by Service port and family: by how many bits of their address, where those are not all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Names {
    prefixes: BTreeMap<(u32, Family), u8>,
}

impl Names {
    /// Those of what is programmed.
    pub(super) fn of(applied: &Applied) -> Self {
        let prefix = |(key, value): (&FrontendKey, &FrontendValue)| {
            let bits = value.affinity?.client_prefix;
            (bits < bits_of(key.address)).then_some(((value.service, Family::of(key.address)), bits))
        };
        Self { prefixes: applied.frontends.iter().filter_map(prefix).collect() }
    }

    /// The client's address, and the prefix where that is what is held.
    pub(super) fn client(&self, event: &BreakEvent) -> String {
        let address = ip_of(event.client);
        match self.prefixes.get(&(event.service, Family::of(address))) {
            Some(bits) => format!("{address}/{bits}"),
            None => address.to_string(),
        }
    }
}

/// The backend that had this id in this generation, as long as its name is known.
pub(super) fn backend(applied: &Applied, id: u32, generation: u32) -> Option<String> {
    let backend = applied.backends.get(&id)?;
    if backend.record.generation != generation {
        return None;
    }
    applied.backend_names.get(&id).cloned()
}

fn bits_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{AffinityExpiry, AffinityKey, FrontendKind, Protocol},
        plan::{AppliedBackend, BackendRecord, FrontendAffinity, RecordState},
    };

    fn frontend(address: &str, service: u32, client_prefix: u8) -> (FrontendKey, FrontendValue) {
        let affinity = FrontendAffinity {
            timeout_seconds: 60,
            client_prefix,
            key: AffinityKey::Port,
            expiry: AffinityExpiry::Real,
        };
        let key = FrontendKey { address: address.parse().unwrap(), port: 80, protocol: Protocol::Tcp };
        let value = FrontendValue {
            service,
            kind: FrontendKind::ClusterIp,
            affinity: Some(affinity),
            extent: None,
            asks_source: false,
            drops_if_empty: false,
        };
        (key, value)
    }

    #[test]
    fn a_client_is_an_address_or_a_prefix() {
        let frontends = [
            frontend("203.0.113.1", 1, 32),
            frontend("2001:db8::1", 1, 64),
            frontend("203.0.113.2", 2, 24),
            frontend("2001:db8::2", 2, 128),
        ];
        let names = Names::of(&Applied { frontends: frontends.into(), ..Applied::default() });
        let cases = [
            (1, "198.51.100.7", "198.51.100.7"),
            (2, "198.51.100.0", "198.51.100.0/24"),
            (1, "2001:db8:1::", "2001:db8:1::/64"),
            (2, "2001:db8:1::7", "2001:db8:1::7"),
            (3, "198.51.100.7", "198.51.100.7"),
        ];
        for (service, client, expected) in cases {
            let client = crate::dataplane::words(client.parse().unwrap());
            let event = BreakEvent { client, service, ..BreakEvent::default() };
            assert_eq!(names.client(&event), expected, "Service port {service}");
        }
    }

    #[test]
    fn a_backend_of_another_generation_is_another_backend() {
        let record = BackendRecord {
            service: 1,
            address: "10.1.0.10:8080".parse().unwrap(),
            protocol: Protocol::Tcp,
            node: 0,
            state: RecordState::Gone,
            generation: 7,
        };
        let applied = Applied {
            backends: [1, 2].map(|id| (id, AppliedBackend { record, retired_at: Some(0) })).into(),
            backend_names: [(1, "default/web-0".to_owned())].into(),
            ..Applied::default()
        };
        let cases = [
            ("the same", 1, 7, Some("default/web-0")),
            ("the id was another's before", 1, 6, None),
            ("its name is forgotten", 2, 7, None),
            ("there is no such id", 3, 7, None),
        ];
        for (description, id, generation, expected) in cases {
            assert_eq!(backend(&applied, id, generation).as_deref(), expected, "{description}");
        }
    }
}
