//! What the planner reads and writes: ids, records, extents, limits.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::Serialize;

use crate::model::{
    AffinityExpiry, AffinityKey, BackendState, Family, FrontendKind, NodeAddresses, Protocol, ServicePortName, maglev,
};
use crate::source::Problem;

/// How much fits, as the maps were made. An id is below its limit and, but for nodes, above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Slots of all tables together (`--max-slots`).
    pub slots: u32,
    /// Size of the backend array, of which element 0 is nobody's (`--max-backends`).
    pub backends: u32,
    /// Size of the Service array, of which element 0 is nobody's (`--max-services`).
    pub services: u32,
    /// Frontends of both families together (`--max-frontends`).
    pub frontends: u32,
    /// Source ranges of both families together (`--max-source-ranges`).
    pub source_ranges: u32,
    /// Pairs of backends on one Pod (four for each of `--max-backends`).
    pub siblings: u32,
    /// Size of the node array, of which element 0 is this node (`--max-nodes`).
    pub nodes: u32,
}

/// What to write, and what could not be planned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub writes: Vec<Write>,
    /// Limits that were met, sorted.
    pub problems: Vec<Problem>,
    /// When planning again may give more although nothing else changed: something that was taken
    /// away can be forgotten or used again then. In the planner's seconds.
    pub again_at: Option<u64>,
    /// Whether something must wait until the removals are done, though nothing is full. Planning again gives it.
    pub is_tight: bool,
}

/// One step. Each is idempotent: writing it twice is writing it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The id stands for this Service port.
    NameService {
        /// The Service port's id.
        id: u32,
        /// Its name.
        name: ServicePortName,
    },
    /// The id stands for this backend.
    NameBackend {
        /// The backend's id.
        id: u32,
        /// What tables are built from.
        identity: String,
        /// Name of the node that it is on.
        node_name: String,
    },
    /// A node and where its tunnel ends.
    Node {
        /// 0 for this node.
        id: u32,
        /// Its name.
        name: String,
        /// Where its tunnel ends.
        addresses: NodeAddresses,
    },
    /// A backend's record.
    Backend {
        /// The backend's id.
        id: u32,
        /// All of the record.
        backend: BackendRecord,
    },
    /// A backend that is on this node, found by its address.
    LocalBackend {
        /// Where it listens.
        address: SocketAddr,
        /// What it speaks.
        protocol: Protocol,
        /// The backend's id.
        id: u32,
    },
    /// A lookup table, in slots that nothing points at yet.
    Table {
        /// The Service port's id.
        service: u32,
        /// The family of its backends.
        family: Family,
        /// Where in the array of slots.
        extent: Extent,
        /// Whose ids are in the slots.
        pool: TablePool,
    },
    /// A backend that is on the same Pod as one of another port of its Service.
    Sibling {
        /// The Service port that may ask.
        service: u32,
        /// The other port's backend.
        backend: u32,
        /// Its own backend there.
        id: u32,
    },
    /// Who may begin something at the frontends of a Service port that ask for it.
    SourceRange {
        /// The Service port's id.
        service: u32,
        /// The addresses; without bits behind the prefix.
        range: IpNet,
    },
    /// A frontend, pointing at its table.
    Frontend {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// The protocol.
        protocol: Protocol,
        /// What is found there.
        value: FrontendValue,
    },
    /// The frontend is ours no longer.
    RemoveFrontend {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// The protocol.
        protocol: Protocol,
    },
    /// These may not any longer.
    RemoveSourceRange {
        /// The Service port's id.
        service: u32,
        /// The addresses.
        range: IpNet,
    },
    /// The Service port has no backend there any longer.
    RemoveSibling {
        /// The Service port that asked.
        service: u32,
        /// The other port's backend.
        backend: u32,
    },
    /// No backend of this node listens there any longer.
    RemoveLocalBackend {
        /// Where it listened.
        address: SocketAddr,
        /// What it spoke.
        protocol: Protocol,
    },
    /// Nothing points at these slots any longer.
    ForgetTable {
        /// The Service port's id.
        service: u32,
        /// The family of the table.
        family: Family,
        /// Where in the array of slots.
        extent: Extent,
    },
    /// The backend is gone: its record stays, with this state, for those who remember the id, and its name, for telling
    /// people who had it. Both are overwritten when the id is given to another.
    RetireBackend {
        /// The backend's id.
        id: u32,
    },
    /// The node is gone.
    RemoveNode {
        /// The node's id.
        id: u32,
    },
    /// The id stands for no Service port any longer.
    ForgetService {
        /// The Service port's id.
        id: u32,
    },
}

/// What a lookup table is made of: identities and ids of backends, in the order of identities. The slots are worked out when
/// they are written: those of ten thousand tables are hundreds of megabytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePool(Vec<(String, u32)>);

impl TablePool {
    /// Of these backends, in the order of their identities, each identity once.
    #[must_use]
    pub fn new(backends: Vec<(String, u32)>) -> Self {
        Self(backends)
    }

    /// Their ids.
    #[must_use]
    pub fn ids(&self) -> Vec<u32> {
        self.0.iter().map(|(_, id)| *id).collect()
    }

    /// For each slot a backend's id.
    #[must_use]
    pub fn slots(&self) -> Vec<u32> {
        let identities: Vec<&str> = self.0.iter().map(|(identity, _)| identity.as_str()).collect();
        let id = |owner: u32| self.0.get(owner as usize).map_or(0, |(_, id)| *id);
        maglev::table(&identities).into_iter().map(id).collect()
    }
}

/// What is found under a backend's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BackendRecord {
    /// The Service port that it belongs to.
    pub service: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// The node that it is on; 0 is this one.
    pub node: u32,
    /// Whether it takes flows.
    pub state: RecordState,
    /// Raised each time the id is given to another backend.
    pub generation: u32,
}

/// State of a backend's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RecordState {
    /// New flows and old ones.
    Active,
    /// Old flows only: its Pod is terminating.
    Draining,
    /// Old flows only: its Pod is not ready.
    NotReady,
    /// Old flows only: the Service's rules keep it out.
    Excluded,
    /// None: whoever remembers the id decides again.
    Gone,
}

impl From<BackendState> for RecordState {
    fn from(state: BackendState) -> Self {
        match state {
            BackendState::Active => Self::Active,
            BackendState::Draining => Self::Draining,
            BackendState::NotReady => Self::NotReady,
            BackendState::Excluded => Self::Excluded,
        }
    }
}

/// A piece of the array of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Extent {
    /// First slot.
    pub offset: u32,
    /// Number of slots, never 0.
    pub length: u32,
}

/// What a frontend is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FrontendKey {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// What is found at a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FrontendValue {
    /// The Service port's id.
    pub service: u32,
    /// Where the address comes from.
    pub kind: FrontendKind,
    /// Whether and how clients stay where they are.
    pub affinity: Option<FrontendAffinity>,
    /// The table; none where no backend is usable.
    pub extent: Option<Extent>,
    /// Whether only those in the Service port's source ranges may begin something.
    pub asks_source: bool,
    /// Whether packets are dropped in silence while there is no table, instead of being answered.
    pub drops_if_empty: bool,
}

/// How the clients of a frontend stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FrontendAffinity {
    /// For so long after their last new connection.
    pub timeout_seconds: u32,
    /// Leading bits of an address of the frontend's family that make a client.
    pub client_prefix: u8,
    /// What they stay with.
    pub key: AffinityKey,
    /// What becomes of those whose time is over.
    pub expiry: AffinityExpiry,
}
