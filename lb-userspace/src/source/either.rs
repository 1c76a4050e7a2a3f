//! Either source behind one face: a directory of manifests, or the API server.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use jiff::Timestamp;

use super::{
    Directory, DirectoryWatch, Problem, Snapshot, WatchError,
    kube::{ConnectError, Kube, Watcher},
};

/// Where Services, EndpointSlices and Nodes come from.
#[derive(Debug)]
pub enum Source {
    /// A directory of manifests.
    Directory(Manifests),
    /// The API server.
    Kube(Kube),
}

/// A directory, and what tells that it has changed.
#[derive(Debug)]
pub struct Manifests {
    directory: Directory,
    watch: DirectoryWatch,
    read: LastRead,
}

/// How it is with a source.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SourceState {
    /// What and where it is, as `dir:/etc/limpet` or `kube (https://10.0.0.1)`.
    pub place: String,
    /// Whether changes are followed at the moment.
    pub connected: bool,
    /// Why not.
    pub error: Option<String>,
    /// How often one of the lists was read anew, because what changed meanwhile was not to be had.
    pub relists: u64,
    /// Since something was last heard that proves what is known to be current, in seconds.
    pub age_seconds: u64,
    /// How long changes have not been followed, in seconds; none while they are.
    pub disconnected_seconds: Option<u64>,
}

/// What has changed in a source.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Changes of Services since the agent started, up to what was read.
    pub service_changes: u64,
    /// Changes of EndpointSlices, in the same way.
    pub endpoint_changes: u64,
    /// When what the changed slices report happened, of those that changed since the last reading and after the agent's
    /// start.
    pub triggers: Vec<Timestamp>,
}

impl Source {
    /// A directory of manifests, which need not be there.
    ///
    /// # Errors
    /// When the system cannot watch files.
    pub fn directory(path: impl Into<PathBuf>) -> Result<Self, WatchError> {
        let path = path.into();
        // The watch first: no change between it and the first reading is lost.
        let watch = DirectoryWatch::new(&path)?;
        let place = format!("dir:{}", path.display());
        let read = LastRead { place: place.into(), since: Instant::now(), at_millis: Arc::default() };
        Ok(Self::Directory(Manifests { directory: Directory::new(path), watch, read }))
    }

    /// The API server that this kubeconfig names; without one, as kubectl or a Pod finds it. Services with the label
    /// `service.kubernetes.io/service-proxy-name` are read if that is the name given, else those without the label.
    ///
    /// # Errors
    /// When it is not said where it is, or what is said cannot be used. Whether it answers is not asked.
    pub async fn kube(
        kubeconfig: Option<&std::path::Path>,
        service_proxy_name: Option<&str>,
    ) -> Result<Self, ConnectError> {
        Kube::connect(kubeconfig, service_proxy_name).await.map(Self::Kube)
    }

    /// Resolves when something may have changed, and what belongs together has had the time to come. May be dropped and
    /// called again at any time.
    pub async fn changed(&mut self) {
        match self {
            Self::Directory(manifests) => manifests.watch.changed().await,
            Self::Kube(kube) => kube.changed().await,
        }
    }

    /// All that is known, what is wrong with it, and what has changed. None as long as not everything was read once:
    /// then nothing may be concluded. May take long for a directory.
    pub fn read(&mut self) -> Option<(Snapshot, Vec<Problem>, Changes)> {
        match self {
            Self::Directory(manifests) => {
                let (snapshot, problems) = manifests.directory.read();
                manifests.read.now();
                Some((snapshot, problems, Changes::default()))
            }
            Self::Kube(kube) => kube.read(),
        }
    }

    /// What tells from anywhere how it is with this source.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self {
            Self::Directory(manifests) => Standing(Kind::Directory(manifests.read.clone())),
            Self::Kube(kube) => Standing::of(kube.watcher()),
        }
    }

    /// The API server's client, for other things than reading; none for a directory.
    #[must_use]
    pub fn client(&self) -> Option<::kube::Client> {
        match self {
            Self::Directory(_) => None,
            Self::Kube(kube) => Some(kube.client()),
        }
    }
}

/// How it is with a source, to be asked from anywhere.
#[derive(Clone, Debug)]
pub struct Standing(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Directory(LastRead),
    Kube(Watcher),
}

impl Standing {
    /// That of an API server.
    pub(super) fn of(watcher: Watcher) -> Self {
        Self(Kind::Kube(watcher))
    }

    /// How it is now.
    #[must_use]
    pub fn state(&self) -> SourceState {
        match &self.0 {
            Kind::Directory(read) => read.state(),
            Kind::Kube(watcher) => watcher.state(),
        }
    }

    /// Changes that came since the agent started, of Services and of EndpointSlices, read or not. A directory does not
    /// know them.
    #[must_use]
    pub fn seen(&self) -> (u64, u64) {
        match &self.0 {
            Kind::Directory(_) => (0, 0),
            Kind::Kube(watcher) => watcher.seen(),
        }
    }
}

/// When a directory was last read.
#[derive(Clone, Debug)]
struct LastRead {
    place: Arc<str>,
    since: Instant,
    /// After `since`.
    at_millis: Arc<AtomicU64>,
}

impl LastRead {
    fn now(&self) {
        self.at_millis.store(self.elapsed_millis(), Ordering::Relaxed);
    }

    fn elapsed_millis(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> SourceState {
        let age_millis = self.elapsed_millis().saturating_sub(self.at_millis.load(Ordering::Relaxed));
        SourceState {
            place: self.place.to_string(),
            connected: true,
            age_seconds: age_millis / 1000,
            ..SourceState::default()
        }
    }
}
