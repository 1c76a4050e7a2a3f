//! What the agent says of itself on its socket, in JSON; the command line reads it.

use serde::{Deserialize, Serialize};

use crate::{dataplane::Attached, source::Problem};

/// Path of [`AgentStatus`] on the agent's socket, by GET.
pub const STATUS_PATH: &str = "/status";

/// The agent's state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The agent's version.
    pub version: String,
    /// The node's name, as given to the agent.
    pub node: String,
    /// The agent's process id.
    pub pid: u32,
    /// How long it has run, in seconds.
    pub uptime_seconds: u64,
    /// Where it reads Kubernetes objects from.
    pub source: SourceStatus,
    /// Whether everything that was read is programmed, as far as it can be.
    pub in_step: bool,
    /// How often the datapath has been brought in step since the agent started.
    pub syncs: u64,
    /// When that was last done, in seconds before now.
    pub last_sync_seconds_ago: Option<u64>,
    /// Why the last attempt failed, if it did.
    pub error: Option<String>,
    /// Devices with our programs.
    pub uplinks: Vec<Attached>,
    /// What is wrong with the objects, or does not fit.
    pub problems: Vec<Problem>,
}

/// Where the agent reads Kubernetes objects from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceStatus {
    /// As given to the agent, such as `dir:/etc/limpet`.
    pub place: String,
    /// Whether all of it could be read; while it could not, nothing is removed from the datapath.
    pub complete: bool,
    /// Service objects read.
    pub services: usize,
    /// EndpointSlice objects read.
    pub endpoint_slices: usize,
    /// Node objects read.
    pub nodes: usize,
    /// Age of this view, in seconds.
    pub age_seconds: u64,
}
