//! The API server as a source: three watches, of Services, EndpointSlices and Nodes, with kube-proxy's selectors.
//!
//! Nothing is known before all three were listed once. From then on what is known stays, whatever happens to the API
//! server: it is brought up to date when there is an answer again, by what has changed or by everything anew.

mod backoff;
mod connect;
mod failure;
mod follow;
mod incoming;
mod kind;
mod newest;
mod shared;
mod store;
#[cfg(test)]
mod tests;
mod told;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use kube::Client;
use tokio::{task::JoinSet, time::sleep_until};

pub use self::{connect::ConnectError, told::Told};
use self::{follow::Waits, kind::Kind, shared::Shared};
use super::{Changes, Problem, Snapshot, SourceState};

/// How long a change waits for others: what belongs together comes within a few milliseconds.
const GATHER: Duration = Duration::from_millis(5);

/// The API server, followed by tasks of its own that end with this value.
pub struct Kube {
    client: Client,
    shared: Arc<Shared>,
    /// A change that was seen and not yet told.
    is_pending: bool,
    _tasks: JoinSet<()>,
}

impl fmt::Debug for Kube {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kube({})", self.shared.place())
    }
}

/// How it is with the API server, to be asked from anywhere.
#[derive(Clone, Debug)]
pub(super) struct Watcher(Arc<Shared>);

impl Watcher {
    pub(super) fn state(&self) -> SourceState {
        self.0.source_state()
    }

    pub(super) fn seen(&self) -> (u64, u64) {
        self.0.seen()
    }
}

impl Kube {
    /// Begins to follow the API server that the kubeconfig names, or the environment. One that does not answer is asked
    /// again and again.
    ///
    /// # Errors
    /// When it is not said where it is, or what is said cannot be used.
    pub async fn connect(kubeconfig: Option<&Path>, service_proxy_name: Option<&str>) -> Result<Self, ConnectError> {
        let (client, place) = connect::connect(kubeconfig).await?;
        Ok(Self::follow(client, place, service_proxy_name))
    }

    /// Begins to follow an API server at `place`.
    fn follow(client: Client, place: String, service_proxy_name: Option<&str>) -> Self {
        Self::follow_with(client, place, service_proxy_name, Waits::default())
    }

    fn follow_with(client: Client, place: String, service_proxy_name: Option<&str>, waits: Waits) -> Self {
        let shared = Arc::new(Shared::new(place));
        let mut tasks = JoinSet::new();
        for kind in Kind::ALL {
            let selectors = kind.selectors(service_proxy_name);
            tasks.spawn(follow::follow(client.clone(), kind, selectors, Arc::clone(&shared), waits));
        }
        Self { client, shared, is_pending: false, _tasks: tasks }
    }

    /// Waits until something has changed and what belongs to it has come: a few milliseconds, however much more comes.
    /// May be dropped and called again at any time.
    pub async fn changed(&mut self) {
        if !self.is_pending {
            self.shared.news().await;
            self.is_pending = true;
        }
        if let Some(since) = self.shared.news_since() {
            sleep_until((since + GATHER).into()).await;
        }
        self.is_pending = false;
    }

    /// All that is known and what is wrong with it; none before all was listed once.
    pub fn read(&mut self) -> Option<(Snapshot, Vec<Problem>, Changes)> {
        self.shared.read()
    }

    /// The client, for other things than reading.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    pub(super) fn watcher(&self) -> Watcher {
        Watcher(Arc::clone(&self.shared))
    }
}
