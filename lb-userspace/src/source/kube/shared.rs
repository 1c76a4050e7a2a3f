//! What the three watches know together: the objects, how it is with each connection, and what is new since it was read.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use jiff::Timestamp;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{
    incoming::Incoming,
    kind::Kind,
    store::{Changed, Store},
};
use crate::source::{
    Changes, Origin, Problem, Snapshot, SourceState, Sourced,
    document::{Key, Object},
};

/// Most changes between two reads whose time is kept; the oldest go.
const MAX_TRIGGERS: usize = 65_536;

/// What the watches write and the source reads.
#[derive(Debug)]
pub(super) struct Shared {
    place: String,
    /// Changes of before that are none of ours to measure.
    started: Timestamp,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    stores: [Store; 3],
    links: [Link; 3],
    relists: u64,
    /// Since the agent started.
    service_changes: u64,
    endpoint_changes: u64,
    triggers: VecDeque<Timestamp>,
    /// When the first of what has not been read came.
    news_since: Option<Instant>,
    disconnected_since: Option<Instant>,
}

/// How it is with one of the watches.
#[derive(Debug, Default)]
struct Link {
    is_connected: bool,
    /// When something was last heard that proves what is known to be current.
    heard: Option<Instant>,
    failure: Option<String>,
}

impl Shared {
    pub(super) fn new(place: String) -> Self {
        let state = State { disconnected_since: Some(Instant::now()), ..State::default() };
        Self { place, started: Timestamp::now(), state: Mutex::new(state), news: Notify::new() }
    }

    /// The API server's address.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Resolves when something is new since this was last asked.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// When the first of what has not been read came.
    pub(super) fn news_since(&self) -> Option<Instant> {
        self.state().news_since
    }

    /// All objects of a kind came.
    pub(super) fn replace(&self, kind: Kind, all: Vec<Incoming>) {
        let mut state = self.state();
        state.relists += u64::from(state.stores[kind.index()].is_complete());
        let changed = state.stores[kind.index()].replace(all);
        self.take(&mut state, kind, changed);
        self.set_connected(&mut state, kind);
    }

    /// One object came.
    pub(super) fn apply(&self, kind: Kind, incoming: Incoming) {
        let mut state = self.state();
        let changed = state.stores[kind.index()].apply(incoming);
        self.take(&mut state, kind, changed);
        self.set_connected(&mut state, kind);
    }

    /// One object went.
    pub(super) fn remove(&self, kind: Kind, key: &Key) {
        let mut state = self.state();
        let changed = state.stores[kind.index()].remove(key);
        self.take(&mut state, kind, changed);
        self.set_connected(&mut state, kind);
    }

    /// The API server says that nothing has changed.
    pub(super) fn heard(&self, kind: Kind) {
        self.set_connected(&mut self.state(), kind);
    }

    /// The API server answers: changes will come.
    pub(super) fn connected(&self, kind: Kind) {
        self.set_connected(&mut self.state(), kind);
    }

    /// The API server does not answer, or not as it should. Said once, until something else is the matter.
    pub(super) fn failed(&self, kind: Kind, message: String) {
        let mut state = self.state();
        let is_known = state.links.iter().any(|link| link.failure.as_ref() == Some(&message));
        let link = &mut state.links[kind.index()];
        link.is_connected = false;
        link.failure = Some(message.clone());
        state.disconnected_since.get_or_insert_with(Instant::now);
        drop(state);
        if !is_known {
            warn!("{message}; the datapath stays as it is");
        }
    }

    fn set_connected(&self, state: &mut State, kind: Kind) {
        state.links[kind.index()] = Link { is_connected: true, heard: Some(Instant::now()), failure: None };
        if state.links.iter().all(|link| link.is_connected)
            && let Some(since) = state.disconnected_since.take()
        {
            info!(after_seconds = since.elapsed().as_secs(), "following the API server {}", self.place);
        }
    }

    fn take(&self, state: &mut State, kind: Kind, changed: Changed) {
        match kind {
            Kind::Services => state.service_changes += changed.objects,
            Kind::Slices => state.endpoint_changes += changed.objects,
            Kind::Nodes => {}
        }
        state.triggers.extend(changed.triggers.into_iter().filter(|trigger| *trigger > self.started));
        let too_many = state.triggers.len().saturating_sub(MAX_TRIGGERS);
        state.triggers.drain(..too_many);
        // Before all lists are complete there is nothing to do about it.
        if changed.any && state.stores.iter().all(Store::is_complete) {
            state.news_since.get_or_insert_with(Instant::now);
            self.news.notify_one();
        }
    }

    /// Everything, once all three lists were complete.
    pub(super) fn read(&self) -> Option<(Snapshot, Vec<Problem>, Changes)> {
        let mut state = self.state();
        if !state.stores.iter().all(Store::is_complete) {
            return None;
        }
        let mut snapshot = Snapshot { complete: true, ..Snapshot::default() };
        for object in state.stores.iter().flat_map(Store::objects) {
            add(&mut snapshot, object);
        }
        let problems = state.stores.iter().flat_map(Store::problems).collect();
        let changes = Changes {
            service_changes: state.service_changes,
            endpoint_changes: state.endpoint_changes,
            triggers: std::mem::take(&mut state.triggers).into(),
        };
        state.news_since = None;
        Some((snapshot, problems, changes))
    }

    /// Changes that came since the start: of Services, and of slices.
    pub(super) fn seen(&self) -> (u64, u64) {
        let state = self.state();
        (state.service_changes, state.endpoint_changes)
    }

    pub(super) fn source_state(&self) -> SourceState {
        let state = self.state();
        let age = |link: &Link| link.heard.map_or_else(|| self.age_seconds(), |heard| heard.elapsed().as_secs());
        SourceState {
            place: format!("kube ({})", self.place),
            connected: state.links.iter().all(|link| link.is_connected),
            error: state.links.iter().find_map(|link| link.failure.clone()),
            relists: state.relists,
            age_seconds: state.links.iter().map(age).max().unwrap_or_default(),
            disconnected_seconds: state.disconnected_since.map(|since| since.elapsed().as_secs()),
        }
    }

    /// How long this is here.
    fn age_seconds(&self) -> u64 {
        u64::try_from(Timestamp::now().duration_since(self.started).as_secs()).unwrap_or_default()
    }

    /// A panic elsewhere leaves nothing half-written in here that matters.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(snapshot: &mut Snapshot, object: &Object) {
    let origin = Origin::default();
    match object {
        Object::Service(object) => snapshot.services.push(Sourced { object: object.clone(), origin }),
        Object::Slice(object) => snapshot.slices.push(Sourced { object: object.clone(), origin }),
        Object::Node(object) => snapshot.nodes.push(Sourced { object: object.clone(), origin }),
    }
}
