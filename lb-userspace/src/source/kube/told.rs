//! What an API server may answer, taken in without an API server: for who makes answers up, to see what comes of them.

use std::{fmt, sync::Arc};

use kube::{Client, api::WatchEvent};
use serde_json::Value;

use super::{
    Watcher,
    failure::Failure,
    follow::{Follower, Page},
    incoming::Incoming,
    kind::Kind,
    shared::Shared,
};
use crate::source::{Problem, Snapshot, Standing};

/// What was told of all kinds.
#[doc(hidden)]
pub struct Told {
    shared: Arc<Shared>,
    followers: [Follower; Kind::ALL.len()],
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Told({})", self.shared.place())
    }
}

impl Told {
    /// Nothing yet. To be called within a runtime, which the client asks for that is never used.
    #[must_use]
    pub fn nothing() -> Self {
        let client = Client::new(axum::Router::new(), "default");
        let shared = Arc::new(Shared::new("made up".to_owned()));
        let follower = |kind: Kind| Follower::new(client.clone(), kind, kind.selectors(None), Arc::clone(&shared));
        let followers = Kind::ALL.map(follower);
        Self { shared, followers }
    }

    /// Takes in the body of the answer to a list (one page) of this place in [`Kind::ALL`]; one that is none counts as a
    /// failure. Nothing happens where there is no such kind.
    pub fn list(&mut self, kind: usize, body: &str) {
        let Some((follower, kind)) = self.followers.get_mut(kind).zip(Kind::ALL.get(kind)) else { return };
        let garbled = |what: &dyn fmt::Display| Failure::garbled(*kind, self.shared.place(), what);
        let taken = serde_json::from_str(body).map_err(|error| garbled(&error)).and_then(|page: Page| {
            let version = page.metadata.resource_version.filter(|version| !version.is_empty());
            let version = version.ok_or_else(|| garbled(&"a list without resourceVersion"))?;
            follower.take_all(version, page.items.into_iter().map(|item| Incoming::read(*kind, item)).collect())
        });
        if let Err(failure) = taken {
            follower.note(failure);
        }
    }

    /// Takes in a line of a watch in the same way; a line that is none is left out.
    pub fn event(&mut self, kind: usize, line: &str) {
        let Some(follower) = self.followers.get_mut(kind) else { return };
        let Ok(event) = serde_json::from_str::<WatchEvent<Value>>(line) else { return };
        if let Err(failure) = follower.take(event) {
            follower.note(failure);
        }
    }

    /// How it is with an API server that tells this.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::of(Watcher(Arc::clone(&self.shared)))
    }

    /// All that is known and what is wrong with it; none before all was listed once.
    #[must_use]
    pub fn read(&self) -> Option<(Snapshot, Vec<Problem>)> {
        self.shared.read().map(|(snapshot, problems, _)| (snapshot, problems))
    }
}
