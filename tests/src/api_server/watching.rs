//! Watches: changes told one by one, as JSON lines.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::body::Pieces;
use super::list::{is_in, number};
use super::objects::Objects;
use super::refusal::Refusal;
use super::selector::Selector;
use super::store::{Change, Forgotten, Key, Store, stamped};
use super::target::Target;

/// How long a watch goes on when the client does not say.
const DEFAULT_TIME: Duration = Duration::from_secs(300);
/// Most changes that are looked at before the first of them is sent.
const CHANGES_AT_ONCE: usize = 256;

/// A watch that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    target: Target,
    selector: Selector,
    /// The version that was told last.
    told: u64,
    /// Whether to tell what is there first.
    tells_present: bool,
    wants_bookmarks: bool,
    time: Duration,
}

impl Watch {
    /// Reads what is asked for. After a version that is still to come nothing is told until it has come, as by a real
    /// server whose data were put back.
    pub(super) fn parse(store: &Store, target: Target) -> Result<Self, Refusal> {
        if target.query.is_true("sendInitialEvents") {
            return Err(Refusal::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature \
                 gate is enabled",
            ));
        }
        let selector = Selector::parse(&target.query)?;
        let after = number(&target, "resourceVersion")?.filter(|version| *version != 0);
        let seconds = number(&target, "timeoutSeconds")?.filter(|seconds| *seconds != 0);
        Ok(Self {
            selector,
            told: after.unwrap_or_else(|| store.version()),
            tells_present: after.is_none(),
            wants_bookmarks: target.query.is_true("allowWatchBookmarks"),
            time: seconds.map_or(DEFAULT_TIME, Duration::from_secs),
            target,
        })
    }

    /// Tells changes until the time is over, the history is too short, or nobody listens. Bookmarks come in these intervals.
    pub(super) async fn tell(mut self, objects: Arc<Objects>, bookmarks: Duration, pieces: Pieces) {
        let end = Instant::now() + self.time;
        let mut next_bookmark = Instant::now() + bookmarks;
        let mut changes = objects.changes();
        if self.tells_present {
            let lines = objects.read(|store| self.present(store));
            if !send(&pieces, lines).await {
                return;
            }
        }
        loop {
            changes.mark_unchanged();
            let lines = match objects.read(|store| self.news(store)) {
                Ok(lines) => lines,
                Err(forgotten) => {
                    send(&pieces, vec![gone(self.told, forgotten.oldest)]).await;
                    return;
                }
            };
            let is_quiet = lines.is_empty();
            if !send(&pieces, lines).await {
                return;
            }
            if !is_quiet {
                continue;
            }
            let pause = if self.wants_bookmarks { next_bookmark.min(end) } else { end };
            tokio::select! {
                _ = changes.changed() => {}
                () = pieces.closed() => return,
                () = sleep_until(pause) => {
                    if self.wants_bookmarks && objects.read(|store| self.told <= store.version()) {
                        send(&pieces, vec![self.bookmark()]).await;
                    }
                    next_bookmark = Instant::now() + bookmarks;
                    if Instant::now() >= end {
                        return;
                    }
                }
            }
        }
    }

    fn present(&mut self, store: &Store) -> Vec<String> {
        let matches = |key: &Key, object: &Value| self.is_told(key, object);
        let page = store.page(self.target.kind, self.told, None, usize::MAX, matches);
        // The store's own version is never too old for it.
        let objects = page.map(|page| page.objects).unwrap_or_default();
        objects.iter().map(|object| line("ADDED", object)).collect()
    }

    /// The lines of some changes after the last one told; empty when there is none, or none that matters.
    fn news(&mut self, store: &Store) -> Result<Vec<String>, Forgotten> {
        let mut lines = Vec::new();
        for change in store.changes(self.told)? {
            lines.extend(self.event(change));
            self.told = change.version;
            if lines.len() >= CHANGES_AT_ONCE {
                break;
            }
        }
        Ok(lines)
    }

    /// What a change is to somebody who sees matching objects alone.
    fn event(&self, change: &Change) -> Option<String> {
        if change.key.kind != self.target.kind {
            return None;
        }
        let seen = |object: &&Arc<Value>| self.is_told(&change.key, object);
        match (change.old.as_ref().filter(seen), change.new.as_ref().filter(seen)) {
            (None, None) => None,
            (None, Some(new)) => Some(line("ADDED", new)),
            (Some(_), Some(new)) => Some(line("MODIFIED", new)),
            (Some(old), None) => Some(line("DELETED", &stamped(old.as_ref().clone(), change.version))),
        }
    }

    fn is_told(&self, key: &Key, object: &Value) -> bool {
        is_in(&self.target, key) && self.selector.matches(object)
    }

    fn bookmark(&self) -> String {
        let kind = self.target.kind;
        let metadata = json!({"resourceVersion": self.told.to_string(), "creationTimestamp": null});
        line("BOOKMARK", &json!({"kind": kind.name(), "apiVersion": kind.api_version(), "metadata": metadata}))
    }
}

/// The line that says that a watch cannot go on from where it was.
pub(super) fn gone(version: u64, oldest: u64) -> String {
    line("ERROR", &Refusal::gone(format!("too old resource version: {version} ({oldest})")).status())
}

fn line(event: &str, object: &Value) -> String {
    format!("{{\"type\":\"{event}\",\"object\":{object}}}\n")
}

/// Whether somebody still listens.
async fn send(pieces: &Pieces, lines: Vec<String>) -> bool {
    for line in lines {
        if pieces.send(Ok(Bytes::from(line))).await.is_err() {
            return false;
        }
    }
    true
}
