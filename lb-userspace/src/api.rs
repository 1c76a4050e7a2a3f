//! What the agent says of itself on its socket, in JSON; the command line reads it.

use serde::{Deserialize, Serialize};

use crate::{dataplane::Attached, model::ServicePortName, source::Problem};

/// Path of [`AgentStatus`] on the agent's socket, by GET.
pub const STATUS_PATH: &str = "/status";
/// Path of [`AgentBreaks`] on the agent's socket, by GET. In the query, `after=N` leaves out all up to this
/// [`sequence`](AgentBreak::sequence), and `since_seconds=N` those that are longer ago.
pub const BREAKS_PATH: &str = "/breaks";

/// Path of an [`AgentVerification`] on the agent's socket, by GET: of what the maps hold now.
pub const VERIFY_PATH: &str = "/v1/verify";
/// The same by POST, after everything that could be put right was.
pub const REPAIR_PATH: &str = "/v1/repair";

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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SourceStatus {
    /// What and where it is, such as `dir:/etc/limpet` or `kube (https://10.0.0.1)`.
    pub place: String,
    /// Whether all of it could be read; while it could not, nothing is removed from the datapath.
    pub complete: bool,
    /// Service objects read.
    pub services: usize,
    /// EndpointSlice objects read.
    pub endpoint_slices: usize,
    /// Node objects read.
    pub nodes: usize,
    /// Age of this view, in seconds: since something was last heard that proves it current.
    pub age_seconds: u64,
    /// Whether changes are followed at the moment.
    #[serde(default)]
    pub connected: bool,
    /// Why not, or what went wrong last.
    #[serde(default)]
    pub error: Option<String>,
    /// How often one of the three lists was read anew since the agent started.
    #[serde(default)]
    pub relists: u64,
    /// How long changes have not been followed, in seconds; none while they are.
    #[serde(default)]
    pub disconnected_seconds: Option<u64>,
}

/// The breaks that the agent can still tell one by one: clients that were given another backend.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct AgentBreaks {
    /// The node's name, as given to the agent.
    pub node: String,
    /// The number that the first break read by this agent has: a greater one than an agent before it gave.
    pub first_sequence: u64,
    /// The number of the next one.
    pub next_sequence: u64,
    /// Those that were asked for, in the order of their numbers.
    pub events: Vec<AgentBreak>,
}

/// A break, and its number.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct AgentBreak {
    /// One more than that of the break before it. Goes on rising over restarts of the agent, with a gap at each.
    pub sequence: u64,
    /// What happened.
    #[serde(flatten)]
    pub told: Break,
}

/// A client was given another backend than the one that it had.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Break {
    /// How long ago.
    pub seconds_ago: u64,
    /// The Service port that it connected to; none when its name was forgotten before the agent read of the break.
    pub service: Option<ServicePortName>,
    /// The client's address; with `/BITS` where the Service holds all clients of a prefix as one.
    pub client: String,
    /// The name of a [`BreakReason`](lb_common::breaks::BreakReason).
    pub reason: String,
    /// The backend that it had: `namespace/name` of the Pod, or its address and port; none as for `service`.
    pub from: Option<String>,
    /// The backend that it got, in the same way.
    pub to: Option<String>,
    /// How long it had had the one before; 0 also where that is not known any more.
    pub held_seconds: u64,
}

/// What is programmed on a node, compared with what should be.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct AgentVerification {
    /// The node's name, as given to the agent.
    pub node: String,
    /// What is different; after a repair, what still is.
    pub differences: Vec<Difference>,
    /// How many differences were put right.
    pub repaired: usize,
    /// What a reader should know of the comparison.
    pub notes: Vec<String>,
}

/// Something that is programmed, and should be otherwise.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Difference {
    /// Whose it is: a Service port, a frontend, a backend, a node, an uplink.
    pub object: String,
    /// What of it.
    pub what: String,
    /// What is programmed.
    pub programmed: String,
    /// What should be.
    pub desired: String,
}
