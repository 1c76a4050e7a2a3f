//! What frontends there shall be, and what is found at each.

use std::collections::BTreeSet;

use super::pools::Choice;
use super::types::{FrontendAffinity, FrontendKey, FrontendValue};
use crate::model::{Affinity, Desired, Family, Frontend, FrontendKind, IfEmpty, ServicePort};

/// The frontends that somebody desires.
pub(super) fn claimed(desired: &Desired) -> BTreeSet<FrontendKey> {
    let keys = desired.services.iter().flat_map(|(name, port)| {
        port.frontends.iter().map(|frontend| FrontendKey {
            address: frontend.address,
            port: frontend.port,
            protocol: name.protocol,
        })
    });
    keys.collect()
}

/// What is to be found at a frontend.
pub(super) fn value(service: u32, frontend: &Frontend, port: &ServicePort, choice: Option<Choice>) -> FrontendValue {
    let affinity = match port.affinity {
        Affinity::None => None,
        Affinity::ClientIp(affinity) => Some(FrontendAffinity {
            timeout_seconds: affinity.timeout_seconds,
            client_prefix: affinity.prefix(Family::of(frontend.address)),
            key: affinity.key,
            expiry: affinity.expiry,
        }),
    };
    let extent = choice.and_then(Choice::extent);
    let if_empty = port.if_empty.of(Family::of(frontend.address));
    FrontendValue {
        service,
        kind: frontend.kind,
        affinity,
        extent,
        asks_source: port.source_ranges.is_some() && frontend.kind == FrontendKind::LoadBalancerIp,
        // What would be done does not matter where there is a table: the frontend need not be written for it.
        drops_if_empty: extent.is_none() && if_empty == IfEmpty::Drop,
    }
}
