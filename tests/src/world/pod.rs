//! A Pod of the lab, and how Kubernetes says it is.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::address::{self, Family};

/// How a Pod is, as its endpoint's conditions say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    /// Takes new connections.
    Ready,
    /// Runs, but takes no connections.
    NotReady,
    /// Finishes what it has and takes nothing new.
    Terminating,
}

/// A Pod of the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    name: String,
    node: u8,
    index: u8,
    pub(crate) state: PodState,
    /// What its endpoints say beside that or instead, merged into them (RFC 7396).
    pub(crate) endpoint: Option<Value>,
}

impl Pod {
    pub(super) fn new(name: String, node: u8, index: u8) -> Self {
        Self { name, node, index, state: PodState::Ready, endpoint: None }
    }

    /// Its name, `pNODE-INDEX` unless it was given another.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of the node that it runs on.
    #[must_use]
    pub fn node(&self) -> u8 {
        self.node
    }

    /// Its number on that node, which its addresses end in.
    #[must_use]
    pub fn index(&self) -> u8 {
        self.index
    }

    /// Its address of this family.
    #[must_use]
    pub fn address(&self, family: Family) -> IpAddr {
        address::pod(family, self.node, self.index)
    }

    /// Where its server listens.
    #[must_use]
    pub fn socket(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.address(family), address::POD_PORT)
    }
}
