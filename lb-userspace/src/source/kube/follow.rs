//! Keeps one kind in step with the API server: lists all of it in pages, then watches from there, for ever.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{
    Client,
    api::{ListParams, Request, WatchEvent, WatchParams},
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::{
    backoff,
    failure::Failure,
    incoming::Incoming,
    kind::{Kind, Selectors},
    newest::{self, Judgement, Newest},
    shared::Shared,
};
use crate::source::MAX_OBJECTS;

/// Objects that are asked for at a time.
const PAGE: u32 = 500;
/// Pages of a list that are asked for. A server that names a next one for ever must not be asked for ever.
const MAX_PAGES: usize = 4_000;
/// How long a page of a list, or the beginning of a watch, may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long a watch is asked to last, in seconds: less than any proxy lets a connection live.
const WATCH_SECONDS: u32 = 290;
/// How long a watch may be silent. API servers send a bookmark every minute; a connection whose other end has vanished
/// never ends by itself.
const SILENCE_LIMIT: Duration = Duration::from_secs(150);
/// A watch that lasted so long was a good one, though it told nothing.
const GOOD_WATCH: Duration = Duration::from_secs(10);
/// Watches that fail in a row before everything is listed anew: the version may be one that this server never had.
const FAILURES_BEFORE_RELIST: u32 = 5;

/// How long things are waited for that may never come; shorter in tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// How long a watch may be silent.
    pub(super) silence: Duration,
    /// How long an older state than the one that was seen must be told until it is believed.
    pub(super) doubt: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self { silence: SILENCE_LIMIT, doubt: newest::PATIENCE }
    }
}

/// Follows a kind; never returns. Everything is told to `shared`.
pub(super) async fn follow(client: Client, kind: Kind, selectors: Selectors, shared: Arc<Shared>, waits: Waits) {
    let mut follower = Follower { waits, ..Follower::new(client, kind, selectors, shared) };
    loop {
        let done = match follower.version.take() {
            // What has changed since is asked for at once, however often it went wrong before.
            None => match follower.list().await {
                Ok(()) => continue,
                Err(failure) => Err(failure),
            },
            Some(version) => follower.watch(version).await,
        };
        let asked_pause = match done {
            Ok(()) => None,
            Err(failure) => follower.note(failure),
        };
        let pause = backoff::pause(follower.failures, backoff::random());
        sleep(asked_pause.map_or(pause, |asked| asked.min(backoff::LONGEST).max(pause))).await;
    }
}

/// One kind, and how far it is known.
pub(super) struct Follower {
    client: Client,
    kind: Kind,
    selectors: Selectors,
    shared: Arc<Shared>,
    /// The version that is known; none while all must be listed.
    version: Option<String>,
    /// What answers are compared with.
    newest: Newest,
    waits: Waits,
    /// How often it has gone wrong since something was heard.
    failures: u32,
}

/// A page of a list. The items are looked at one by one.
#[derive(Deserialize)]
pub(super) struct Page {
    #[serde(default)]
    pub(super) metadata: PageMeta,
    #[serde(deserialize_with = "items")]
    pub(super) items: Vec<Value>,
}

/// An empty list may be `null`. Where there is no such field, it is no list: that everything is gone must be said.
fn items<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Value>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PageMeta {
    pub(super) resource_version: Option<String>,
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl Follower {
    pub(super) fn new(client: Client, kind: Kind, selectors: Selectors, shared: Arc<Shared>) -> Self {
        Self {
            client,
            kind,
            selectors,
            shared,
            version: None,
            newest: Newest::default(),
            waits: Waits::default(),
            failures: 0,
        }
    }

    /// Reads everything; nothing of it counts before all of it is there.
    async fn list(&mut self) -> Result<(), Failure> {
        let garbled = |what: &str| Failure::garbled(self.kind, self.shared.place(), what);
        let mut all = Vec::new();
        let (mut first_version, mut next) = (None, None);
        for _ in 0..MAX_PAGES {
            let Page { metadata, items } = self.page(next.clone()).await?;
            all.extend(items.into_iter().map(|value| Incoming::read(self.kind, value)));
            // The first page's: where others are of later versions, what changed in between is told once more.
            let version = first_version.or(metadata.resource_version).filter(|version| !version.is_empty());
            first_version = Some(version.ok_or_else(|| garbled("a list without resourceVersion"))?);
            let asked = next;
            next = metadata.next.filter(|next| !next.is_empty());
            if next.is_none() || all.len() > 2 * MAX_OBJECTS {
                return self.take_all(first_version.unwrap_or_default(), all);
            }
            if next == asked {
                break;
            }
        }
        Err(garbled("a list that does not end"))
    }

    /// Takes a list in, unless it is older than what was seen.
    pub(super) fn take_all(&mut self, version: String, all: Vec<Incoming>) -> Result<(), Failure> {
        let before = match self.newest.judge(&version, Instant::now(), self.waits.doubt) {
            Judgement::Current => None,
            Judgement::Believed { seen } => Some(seen),
            Judgement::Older { seen } => {
                return Err(Failure::older(self.kind, self.shared.place(), &version, seen));
            }
        };
        if let Some(seen) = before {
            warn!(
                "{} has told an older state of {} for {} s, version {version} after {seen}, as after a restore from a backup: \
                 followed from here on",
                self.shared.place(),
                self.kind.plural(),
                self.waits.doubt.as_secs()
            );
        }
        self.version = Some(version);
        self.shared.replace(self.kind, all);
        Ok(())
    }

    async fn page(&self, next: Option<String>) -> Result<Page, Failure> {
        let params = ListParams {
            label_selector: self.selectors.labels.clone(),
            field_selector: self.selectors.fields.clone(),
            limit: Some(PAGE),
            continue_token: next,
            ..ListParams::default()
        };
        let request = Request::new(self.kind.path()).list(&params).map_err(|error| self.unasked(&error))?;
        let text = match timeout(ANSWER_LIMIT, self.client.request_text(request)).await {
            Ok(answer) => answer.map_err(|error| self.failed(&error))?,
            Err(_) => return Err(self.silent()),
        };
        serde_json::from_str(&text).map_err(|error| Failure::garbled(self.kind, self.shared.place(), error))
    }

    /// Takes in changes from a version on, until the stream ends. Ends well when that was to be expected.
    async fn watch(&mut self, from: String) -> Result<(), Failure> {
        let params = WatchParams {
            label_selector: self.selectors.labels.clone(),
            field_selector: self.selectors.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            send_initial_events: false,
        };
        let request = Request::new(self.kind.path()).watch(&params, &from).map_err(|error| self.unasked(&error))?;
        self.version = Some(from);
        let stream = match timeout(ANSWER_LIMIT, self.client.request_events::<Value>(request)).await {
            Ok(answer) => answer.map_err(|error| self.failed(&error))?,
            Err(_) => return Err(self.silent()),
        };
        self.shared.connected(self.kind);
        let begun = Instant::now();
        let mut stream = pin!(stream);
        loop {
            match timeout(self.waits.silence, stream.next()).await {
                Ok(Some(Ok(event))) => self.take(event)?,
                Ok(Some(Err(error))) => return Err(self.failed(&error)),
                // Nobody is there any more, or the server is one that was put back to an older state, and says nothing before
                // it comes to the version that it was asked for: only a list shows that.
                Err(_) => {
                    self.version = None;
                    self.failures = 0;
                    return Ok(());
                }
                // The server ended it in time.
                Ok(None) if begun.elapsed() >= GOOD_WATCH || self.failures == 0 => {
                    self.failures = u32::from(begun.elapsed() < GOOD_WATCH);
                    return Ok(());
                }
                Ok(None) => {
                    return Err(Failure::new(format!(
                        "{} ends every watch of {} at once; asked again",
                        self.shared.place(),
                        self.kind.plural()
                    )));
                }
            }
        }
    }

    /// Takes an event in.
    pub(super) fn take(&mut self, event: WatchEvent<Value>) -> Result<(), Failure> {
        let version = match event {
            WatchEvent::Added(value) | WatchEvent::Modified(value) => {
                let incoming = Incoming::read(self.kind, value);
                let version = incoming.version.clone();
                self.refuse_older(version.as_deref())?;
                self.shared.apply(self.kind, incoming);
                version
            }
            WatchEvent::Deleted(value) => {
                let (key, version) = Incoming::gone(self.kind, &value);
                self.refuse_older(version.as_deref())?;
                self.shared.remove(self.kind, &key);
                version
            }
            WatchEvent::Bookmark(bookmark) => {
                let version = Some(bookmark.metadata.resource_version).filter(|version| !version.is_empty());
                self.refuse_older(version.as_deref())?;
                self.shared.heard(self.kind);
                version
            }
            WatchEvent::Error(status) => return Err(Failure::refused(&status, self.kind, self.shared.place())),
        };
        // Without one, what was known before is asked from again: nothing is lost by hearing it twice.
        self.version = version.or(self.version.take());
        self.failures = 0;
        Ok(())
    }

    /// A watch begins after what is known. One that tells of something older does not know it: a list shows what it knows.
    fn refuse_older(&mut self, version: Option<&str>) -> Result<(), Failure> {
        match version {
            Some(version) if self.newest.is_older(version) => {
                Err(Failure::older_event(self.kind, self.shared.place(), version, self.newest.seen()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Keeps a failure in mind; returns how long the server asked to be left alone.
    pub(super) fn note(&mut self, failure: Failure) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        if failure.is_gone || self.failures.is_multiple_of(FAILURES_BEFORE_RELIST) {
            self.version = None;
        }
        // That versions are forgotten is part of life; again and again, it is not.
        if failure.is_gone && self.failures == 1 {
            info!("{}", failure.message);
        } else {
            self.shared.failed(self.kind, failure.message);
        }
        failure.retry_after
    }

    fn failed(&self, error: &kube::Error) -> Failure {
        Failure::of(error, self.kind, self.shared.place())
    }

    fn silent(&self) -> Failure {
        Failure::silent(self.kind, self.shared.place(), ANSWER_LIMIT)
    }

    fn unasked(&self, error: &kube::core::request::Error) -> Failure {
        Failure::new(format!("cannot ask {} for {}: {error}", self.shared.place(), self.kind.plural()))
    }
}
