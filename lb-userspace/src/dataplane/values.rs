//! What the plan's records are in the maps. Pure; reading back is in [`super::read`], which must stay the inverse.

use std::net::IpAddr;

use lb_common::{
    family::{Address, Address4, Address6},
    hash,
    layout::{Backend, Frontend, backend_state, frontend_flags, frontend_kind},
    wire,
};

use crate::{
    model::{AffinityExpiry, AffinityKey, FrontendKind, Protocol, ServicePortName},
    plan::{BackendRecord, FrontendAffinity, FrontendValue, RecordState},
};

/// A backend.
pub fn backend(record: &BackendRecord) -> Backend {
    Backend {
        address: words(record.address.ip()),
        port: record.address.port(),
        protocol: protocol(record.protocol).0 as u8,
        state: match record.state {
            RecordState::Active => backend_state::ACTIVE,
            RecordState::Draining => backend_state::DRAINING,
            RecordState::NotReady => backend_state::NOT_READY,
            RecordState::Excluded => backend_state::EXCLUDED,
            RecordState::Gone => backend_state::GONE,
        },
        node: record.node,
        generation: record.generation,
        service: record.service,
    }
}

/// A frontend of this Service port, of no key yet.
pub fn frontend(value: &FrontendValue, service: Option<&ServicePortName>) -> Frontend {
    let affinity = value.affinity;
    Frontend {
        check: 0,
        kind: match value.kind {
            FrontendKind::LoadBalancerIp => frontend_kind::LOAD_BALANCER_IP,
            FrontendKind::ExternalIp => frontend_kind::EXTERNAL_IP,
            FrontendKind::NodePort => frontend_kind::NODE_PORT,
            FrontendKind::ClusterIp => frontend_kind::CLUSTER_IP,
        },
        flags: flags(value),
        client_prefix: affinity.map_or(0, |affinity| affinity.client_prefix),
        pad: 0,
        service: value.service,
        service_hash: service.map_or(0, |name| hash::service(&name.namespace, &name.name)),
        table_offset: value.extent.map_or(0, |extent| extent.offset),
        table_length: value.extent.map_or(0, |extent| extent.length),
        affinity_timeout_seconds: affinity.map_or(0, |affinity| affinity.timeout_seconds),
        affinity: affinity.zip(service).map_or([0; 2], |(affinity, name)| held_for(name, affinity.key)),
    }
}

fn flags(value: &FrontendValue) -> u8 {
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    value.affinity.map_or(0, affinity_flags)
        | flag(value.asks_source, frontend_flags::SOURCE_RANGES)
        | flag(value.drops_if_empty, frontend_flags::DROP_IF_EMPTY)
}

fn affinity_flags(affinity: FrontendAffinity) -> u8 {
    let stable = if affinity.expiry == AffinityExpiry::Stable { frontend_flags::STABLE_EXPIRY } else { 0 };
    let service = if affinity.key == AffinityKey::Service { frontend_flags::SERVICE_KEY } else { 0 };
    frontend_flags::CLIENT_AFFINITY | stable | service
}

/// What the clients of a Service port are held for, as `Frontend::affinity`.
pub fn held_for(name: &ServicePortName, key: AffinityKey) -> [u32; 2] {
    match key {
        AffinityKey::Port => hash::affinity(&name.to_string()),
        AffinityKey::Service => hash::affinity(&format!("{}/{}", name.namespace, name.name)),
    }
}

/// A protocol, by its number.
pub(super) fn protocol(protocol: Protocol) -> wire::Protocol {
    match protocol {
        Protocol::Tcp => wire::Protocol::TCP,
        Protocol::Udp => wire::Protocol::UDP,
    }
}

/// An address in the form that has room for either family.
pub fn words(ip: IpAddr) -> [u32; 4] {
    match ip {
        IpAddr::V4(ip) => Address4::from(ip).to_words(),
        IpAddr::V6(ip) => Address6::from(ip).to_words(),
    }
}

/// The inverse of [`words`].
pub fn ip_of(words: [u32; 4]) -> IpAddr {
    IpAddr::V6(Address6::from_words(words).into()).to_canonical()
}
