//! Where clients connect to.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::family::{Address4, Address6};

/// Key of `FRONTENDS4` and `LOCALS4`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrontendKey4 {
    /// Address that is connected to.
    pub address: Address4,
    /// Port, in host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Always 0.
    pub pad: u8,
}

/// Key of `FRONTENDS6` and `LOCALS6`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrontendKey6 {
    /// Address that is connected to.
    pub address: Address6,
    /// Port, in host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Always 0.
    pub pad: u8,
}

/// Kinds of frontends, as [`Frontend::kind`].
pub mod frontend_kind {
    /// `status.loadBalancer.ingress[].ip`.
    pub const LOAD_BALANCER_IP: u8 = 1;
    /// `spec.externalIPs[]`.
    pub const EXTERNAL_IP: u8 = 2;
    /// `spec.ports[].nodePort` on one of the node's addresses.
    pub const NODE_PORT: u8 = 3;
    /// `spec.clusterIPs[]`.
    pub const CLUSTER_IP: u8 = 4;
    /// This node's end of the tunnel: not a Service's, but found by the same look-up.
    pub const TUNNEL: u8 = 255;
}

/// Flags of a frontend, as [`Frontend::flags`].
pub mod frontend_flags {
    /// Choose by client and Service (`sessionAffinity: ClientIP`), not by 5-tuple, and hold the client there.
    pub const CLIENT_AFFINITY: u8 = 1;
    /// A client whose time is over is sent to the same slot again (`limpet.dev/affinity-expiry: stable`).
    pub const STABLE_EXPIRY: u8 = 2;
    /// All ports of the Service share [`Frontend::affinity`] (`limpet.dev/affinity-key: service`). For user space: the
    /// programs see it by the backend's Service port.
    pub const SERVICE_KEY: u8 = 4;
    /// Only sources in the Service port's `SOURCE_RANGES` begin anything (`spec.loadBalancerSourceRanges`).
    pub const SOURCE_RANGES: u8 = 8;
    /// Without a usable backend packets are dropped in silence, not answered: others have one
    /// (`externalTrafficPolicy: Local`, and none on this node).
    pub const DROP_IF_EMPTY: u8 = 16;
}

/// Value of `FRONTENDS4` and `FRONTENDS6`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Frontend {
    /// Of the key and of all that follows, as [`Keyed::of`](super::Keyed::of) makes it.
    pub check: u64,
    /// One of [`frontend_kind`].
    pub kind: u8,
    /// Of [`frontend_flags`].
    pub flags: u8,
    /// Bits of a client's address that say who it is; the whole address unless `limpet.dev/client-prefix` says less.
    pub client_prefix: u8,
    /// Always 0.
    pub pad: u8,
    /// Id of the Service port; its name is in `NAMES`.
    pub service: u32,
    /// Hash of the Service's namespace and name: the same on every node, unlike the id.
    pub service_hash: u32,
    /// First slot of the lookup table.
    pub table_offset: u32,
    /// Slots of the lookup table; 0: no usable backend.
    pub table_length: u32,
    /// `sessionAffinityConfig.clientIP.timeoutSeconds`; 0 without affinity.
    pub affinity_timeout_seconds: u32,
    /// What clients are held for, as [`AffinityKey4::service`](super::AffinityKey4::service).
    pub affinity: [u32; 2],
}

const _: () = assert!(size_of::<FrontendKey4>() == 8);
const _: () = assert!(size_of::<FrontendKey6>() == 20);
const _: () = assert!(size_of::<Frontend>() == 40);
