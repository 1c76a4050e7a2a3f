//! What kind of lab to start.

/// Where agents read what Kubernetes knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a directory of manifests.
    Directory,
    /// At an API server, which listens on the router: see
    /// [`Manifests::api_server`](crate::manifest::Manifests::api_server).
    ApiServer,
}

/// What kind of lab to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether every node runs an agent. Without, only Pods' own addresses can be reached.
    pub agents: bool,
    /// Where agents read what Kubernetes knows.
    pub source: Source,
    /// Flags of every agent beside those that all agents have.
    pub agent_arguments: Vec<String>,
    /// Variables of every agent's environment beside those of this process.
    pub agent_environment: Vec<(String, String)>,
    /// Told what is done next, for people who wait.
    pub progress: fn(&str),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            agents: true,
            source: Source::Directory,
            agent_arguments: Vec::new(),
            agent_environment: Vec::new(),
            progress: |_| {},
        }
    }
}
