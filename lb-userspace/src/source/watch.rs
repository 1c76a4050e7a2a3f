//! Tells that something in a directory changed; what, is for the reader to find out.
//!
//! The parent directory is watched as well, so that a directory that is deleted and made again,
//! or a link to it that is swapped, is seen. A slow look at its identity covers what inotify
//! cannot tell (the parent's parent going away).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// A change counts when nothing more has happened for so long: an editor writes, renames, removes.
const QUIET: Duration = Duration::from_millis(50);
/// A change counts after so long even if more keeps happening.
const LONGEST: Duration = Duration::from_millis(500);
/// How often the directory's identity is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The system cannot watch files.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch {path}: {source} (is fs.inotify.max_user_instances used up?)")]
pub struct WatchError {
    path: PathBuf,
    source: notify::Error,
}

/// Watches one directory, whether it is there or not.
///
/// Make it before the first read: then no change is lost.
#[derive(Debug)]
pub struct DirectoryWatch {
    path: PathBuf,
    watcher: RecommendedWatcher,
    events: mpsc::Receiver<()>,
    watched: Option<Identity>,
    /// Set when the directory itself was removed or renamed: its inode number may come back.
    lost: Arc<AtomicBool>,
    /// A change that was seen and not yet told.
    pending_since: Option<Instant>,
}

/// Device and inode.
type Identity = (u64, u64);

impl DirectoryWatch {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the system has no inotify instance left.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, WatchError> {
        let path = path.into();
        // Events carry absolute paths if the watched ones are.
        let path = std::path::absolute(&path).unwrap_or(path);
        let lost = Arc::new(AtomicBool::new(false));
        // One place is enough: a tick that finds it taken is the same tick.
        let (sender, events) = mpsc::channel(1);
        let (own_path, own_lost) = (path.clone(), Arc::clone(&lost));
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Ok(event) = &event {
                if !concerns(event, &own_path) {
                    return;
                }
                if event.paths.contains(&own_path) {
                    own_lost.store(true, Ordering::Release);
                }
            }
            // Full means that a tick is waiting already.
            let _ = sender.try_send(());
        })
        .map_err(|source| WatchError { path: path.clone(), source })?;
        let mut watch = Self { path, watcher, events, watched: None, lost, pending_since: None };
        watch.arm();
        Ok(watch)
    }

    /// Waits until something changed and came to rest.
    ///
    /// May be dropped and called again at any time: a change that was seen is not lost.
    pub async fn changed(&mut self) {
        let since = loop {
            if let Some(since) = self.pending_since {
                break since;
            }
            // An error is the slow look's turn, or a watcher that stopped: then only looking is left.
            match timeout(LOOK, self.events.recv()).await {
                Ok(Some(())) => self.pending_since = Some(Instant::now()),
                Ok(None) => tokio::time::sleep(LOOK).await,
                Err(_) => {}
            }
            if self.arm() {
                self.pending_since = Some(Instant::now());
            }
        };
        let end = since + LONGEST;
        while Instant::now() < end {
            match timeout_at(end.min(Instant::now() + QUIET), self.events.recv()).await {
                Ok(Some(())) => {
                    self.arm();
                }
                Ok(None) | Err(_) => break,
            }
        }
        self.pending_since = None;
    }

    /// Watches the directory that the path names now; true if it is another one than before.
    fn arm(&mut self) -> bool {
        let lost = self.lost.swap(false, Ordering::AcqRel);
        let now = identity(&self.path);
        let changed = now != self.watched;
        if !changed && !lost && now.is_some() {
            return false;
        }
        // Both may fail while things come and go: the slow look tries again.
        let _ = self.watcher.unwatch(&self.path);
        if let Some(parent) = self.path.parent() {
            let _ = self.watcher.watch(parent, RecursiveMode::NonRecursive);
        }
        let armed = self.watcher.watch(&self.path, RecursiveMode::NonRecursive).is_ok();
        self.watched = now.filter(|_| armed);
        changed
    }
}

fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Whether an event can mean other content below `path`: its neighbours in the parent directory are nobody's concern.
/// An event without paths says that others were lost.
fn concerns(event: &notify::Event, path: &Path) -> bool {
    let is_near = event.paths.is_empty() || event.paths.iter().any(|changed| changed.starts_with(path));
    is_near && may_change(event.kind)
}

/// Whether an event can mean other content. Our own reading must not count, or it would never end.
fn may_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Longest that a change may take to be told.
    const DEADLINE: Duration = Duration::from_secs(20);

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
    }

    /// Does something and waits for the tick that says so.
    async fn told(watch: &mut DirectoryWatch, what: &str, act: impl FnOnce()) {
        act();
        timeout(DEADLINE, watch.changed()).await.expect(what);
    }

    #[test]
    fn edits_renames_and_removals_are_told() {
        run(async {
            let home = tempfile::tempdir().expect("a directory");
            let path = home.path();
            let mut watch = DirectoryWatch::new(path).expect("a watch");
            told(&mut watch, "write", || fs::write(path.join("a.yaml"), "a").expect("write")).await;
            told(&mut watch, "rename", || {
                fs::write(path.join(".a.swp"), "b").expect("write");
                fs::rename(path.join(".a.swp"), path.join("a.yaml")).expect("rename");
            })
            .await;
            told(&mut watch, "remove", || fs::remove_file(path.join("a.yaml")).expect("remove")).await;
        });
    }

    #[test]
    fn a_config_map_swap_is_told() {
        run(async {
            let home = tempfile::tempdir().expect("a directory");
            let path = home.path();
            for version in ["..1", "..2"] {
                fs::create_dir(path.join(version)).expect("mkdir");
                fs::write(path.join(version).join("a.yaml"), version).expect("write");
            }
            symlink("..1", path.join("..data")).expect("link");
            symlink("..data/a.yaml", path.join("a.yaml")).expect("link");
            let mut watch = DirectoryWatch::new(path).expect("a watch");
            told(&mut watch, "swap", || {
                symlink("..2", path.join("..data_tmp")).expect("link");
                fs::rename(path.join("..data_tmp"), path.join("..data")).expect("rename");
            })
            .await;
            assert_eq!(fs::read_to_string(path.join("a.yaml")).expect("read"), "..2");
        });
    }

    #[test]
    fn a_directory_deleted_and_made_again_is_told_and_watched() {
        run(async {
            let home = tempfile::tempdir().expect("a directory");
            let path = home.path().join("manifests");
            let mut watch = DirectoryWatch::new(&path).expect("a watch");
            for round in ["first", "second"] {
                told(&mut watch, round, || fs::create_dir(&path).expect("mkdir")).await;
                told(&mut watch, round, || fs::write(path.join("a.yaml"), "a").expect("write")).await;
                told(&mut watch, round, || fs::remove_dir_all(&path).expect("rmdir")).await;
            }
        });
    }

    #[test]
    fn a_link_to_the_directory_that_is_swapped_is_told_and_watched() {
        run(async {
            let home = tempfile::tempdir().expect("a directory");
            let path = home.path().join("manifests");
            for version in ["v1", "v2"] {
                fs::create_dir(home.path().join(version)).expect("mkdir");
            }
            symlink("v1", &path).expect("link");
            let mut watch = DirectoryWatch::new(&path).expect("a watch");
            told(&mut watch, "swap", || {
                symlink("v2", home.path().join("next")).expect("link");
                fs::rename(home.path().join("next"), &path).expect("rename");
            })
            .await;
            told(&mut watch, "write", || fs::write(home.path().join("v2/a.yaml"), "a").expect("write")).await;
        });
    }

    #[test]
    fn what_happens_beside_the_directory_is_not_told() {
        run(async {
            let home = tempfile::tempdir().expect("a directory");
            let path = home.path().join("manifests");
            fs::create_dir(&path).expect("mkdir");
            let mut watch = DirectoryWatch::new(&path).expect("a watch");
            for name in ["busy.log", "manifests.bak", "manifests2"] {
                fs::write(home.path().join(name), "x").expect("write");
                fs::rename(home.path().join(name), home.path().join("other")).expect("rename");
            }
            assert!(timeout(2 * LONGEST, watch.changed()).await.is_err(), "the neighbours were told");
            told(&mut watch, "write", || fs::write(path.join("a.yaml"), "a").expect("write")).await;
        });
    }

    #[test]
    fn only_what_is_in_the_directory_concerns_it() {
        let event = |paths: &[&str]| {
            let event = notify::Event::new(EventKind::Any);
            paths.iter().fold(event, |event, path| event.add_path(PathBuf::from(path)))
        };
        for (description, paths, expected) in [
            ("a file", &["/etc/limpet/a.yaml"][..], true),
            ("the directory", &["/etc/limpet"], true),
            ("a link swapped in its place", &["/etc/next", "/etc/limpet"], true),
            ("a neighbour", &["/etc/hosts"], false),
            ("a neighbour with a longer name", &["/etc/limpet.bak"], false),
            ("the parent", &["/etc"], false),
            ("events that were lost", &[], true),
        ] {
            assert_eq!(concerns(&event(paths), Path::new("/etc/limpet")), expected, "{description}");
        }
    }

    #[test]
    fn reading_is_not_a_change() {
        assert!(!may_change(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!may_change(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(may_change(EventKind::Access(AccessKind::Close(AccessMode::Write))));
    }
}
